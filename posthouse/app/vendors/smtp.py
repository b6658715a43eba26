"""SMTP accounts."""

import random
import socket
from dataclasses import dataclass, replace
from typing import Final

from posthouse.app.vendors.base import Relief, SimulatedAccount
from posthouse.clock import Clock
from posthouse.config import SmtpAccountSettings, secret
from posthouse.domain.ids import RelayAccount
from posthouse.relays.base import (
    CallbackReader,
    CallbackSource,
    Capabilities,
    Inquirer,
    Relay,
    SuppressionList,
)
from posthouse.relays.smtp import SmtpAccount, SmtpRelay, Timeouts, Tls
from posthouse.relays.smtp_account import SMTP_CAPABILITIES
from posthouse.simulator.settings import SmtpAccount as SimulatedSmtp

#: Up to its final dot a mail may be taken back and given to the other relay, so the five minutes of RFC 5321
#: are not waited for: transactional mail is to be handed over within 30 seconds. After the dot they are.
HURRIED: Final = Timeouts(connect=10.0, greeting=10.0, command=10.0, data=10.0, block=10.0)


@dataclass(frozen=True, slots=True)
class SmtpVendor:
    name: RelayAccount
    table: SmtpAccountSettings

    @property
    def kind(self) -> str:
        return "smtp"

    @property
    def capabilities(self) -> Capabilities:
        return SMTP_CAPABILITIES

    @property
    def server(self) -> str:
        return f"{self.table.host}:{self.table.port}"

    def relay(self, clock: Clock, rng: random.Random, relief: Relief = Relief.NONE) -> Relay:
        account = self.account()
        if relief is Relief.AT_HAND:
            account = replace(account, timeouts=HURRIED)
        return SmtpRelay(account, clock=clock, rng=rng)

    def account(self) -> SmtpAccount:
        """Raises Misconfigured."""
        table = self.table
        password = secret("", table.password_env, table.password_file)
        return SmtpAccount(
            account=self.name,
            host=table.host,
            port=table.port,
            helo_name=socket.getfqdn(),
            tls=Tls(table.tls),
            user=table.user or None,
            password=password or None,
            max_connections=table.max_connections,
            allow_clear_text_auth=table.simulator,
        )

    def reader(self, clock: Clock) -> CallbackReader | None:
        return None

    def inquirer(self, clock: Clock) -> Inquirer | None:
        return None

    def source(self, clock: Clock) -> CallbackSource | None:
        return None

    def suppression_list(self, clock: Clock) -> SuppressionList | None:
        return None

    def simulated(self, hook_url: str) -> SimulatedAccount:
        return SimulatedSmtp(name=self.name, port=self.table.port)

    def make_simulator_keys(self) -> None:
        """It has none."""

    def lacks_simulator_keys(self) -> bool:
        return False
