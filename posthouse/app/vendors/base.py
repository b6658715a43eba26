"""One account of the configuration, with everything that its vendor's adapter makes of it."""

import random
from dataclasses import replace
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from posthouse.clock import Clock
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import CallbackReader, Capabilities, Inquirer, Relay, SuppressionList
from posthouse.simulator.settings import HttpAccount, SmtpAccount

#: A claimed mail waits no longer than a second for a connection: then it goes back, to be checked again.
LIMITS: Final = ClientLimits(connect=1.0)

#: The pretend side of an account.
SimulatedAccount: TypeAlias = HttpAccount | SmtpAccount


class VendorAccount(Protocol):
    """Building raises Misconfigured; what is only asked for does not."""

    @property
    def kind(self) -> str:
        """As in `kind = "..."`, and in /hooks/{kind}/{account}."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """Known without building the adapter."""
        ...

    @property
    def server(self) -> str:
        """Where its server is, for people: a URL, or host:port."""
        ...

    def relay(self, clock: Clock, rng: random.Random) -> Relay: ...

    def reader(self, clock: Clock) -> CallbackReader | None:
        """Who reads the account's callbacks; None where nobody calls back, as with SMTP."""
        ...

    def inquirer(self, clock: Clock) -> Inquirer | None:
        """Who asks about mail in doubt; None where the relay cannot be asked."""
        ...

    def suppression_list(self, clock: Clock) -> SuppressionList | None:
        """The relay's own list of addresses that it does not try; None where it has none that can be read."""
        ...

    def simulated(self, hook_url: str) -> SimulatedAccount:
        """What the simulator must pretend. `hook_url`: where the house takes this account's callbacks."""
        ...

    def make_simulator_keys(self) -> None:
        """The keys that a simulated account needs and nobody can give it, once."""
        ...

    def lacks_simulator_keys(self) -> bool:
        """Whether it is a simulator's account whose keys `posthouse up` has not made yet."""
        ...


def http_client(
    base_url: str,
    *,
    simulated: bool,
    reply_bytes: int = LIMITS.reply_bytes,
    total: float = LIMITS.total,
) -> HttpClient:
    """A client for one vendor's API. Only a simulated one may be at a private address. `total`: seconds that
    a request may take."""
    parts = urlsplit(base_url)
    allowed = frozenset({f"{parts.hostname}:{parts.port}"}) if simulated else frozenset()
    return HttpClient(EgressPolicy(allowed), replace(LIMITS, reply_bytes=reply_bytes, total=total))


def port_of(base_url: str) -> int:
    """Where the simulator must listen."""
    return urlsplit(base_url).port or 80
