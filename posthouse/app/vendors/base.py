"""One account of the configuration, with everything that its vendor's adapter makes of it."""

import random
from enum import Enum
from typing import Protocol, TypeAlias

from posthouse.clock import Clock
from posthouse.relays.base import (
    CallbackReader,
    CallbackSource,
    Capabilities,
    Inquirer,
    Relay,
    SuppressionList,
)
from posthouse.simulator.settings import HttpAccount, SmtpAccount

#: The pretend side of an account.
SimulatedAccount: TypeAlias = HttpAccount | SmtpAccount


class Relief(Enum):
    """Whether another relay of the stream can take what this one leaves unanswered."""

    NONE = "none"
    AT_HAND = "at hand"


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

    def relay(self, clock: Clock, rng: random.Random, relief: Relief = Relief.NONE) -> Relay: ...

    def reader(self, clock: Clock) -> CallbackReader | None:
        """Who reads the account's callbacks; None where nobody calls back, as with SMTP."""
        ...

    def inquirer(self, clock: Clock) -> Inquirer | None:
        """Who asks about mail in doubt; None where the relay cannot be asked."""
        ...

    def source(self, clock: Clock) -> CallbackSource | None:
        """The queue that the account's callbacks are pulled from; None where there is none. Raises
        Misconfigured."""
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
