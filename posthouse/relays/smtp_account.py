"""What the operator says of one account at one SMTP server."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.relays.base import Capabilities
from posthouse.relays.smtp_line import Timeouts

_HOST = re.compile(r"[A-Za-z0-9._:-]{1,255}")
_HELO = re.compile(r"[A-Za-z0-9._-]{1,255}|\[[0-9A-Za-z:.]{2,64}\]")


class Tls(StrEnum):
    """How the connection is secured. STARTTLS is required once chosen: there is no silent clear text."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"  # what RFC 8314 prefers, usually port 465


#: A relay that takes RFC 5322 bytes, one at a time, and tells of nothing by itself.
SMTP_CAPABILITIES = Capabilities(
    takes_raw=True,
    max_message_bytes=25_000_000,
    batch=64,
    shows_other_recipients=True,
    keeps_message_id=True,
    reports_acceptance=False,
    can_be_asked=False,
    own_return_path=True,
)


@dataclass(frozen=True, slots=True)
class SmtpAccount:
    """Settings of one SMTP relay. Times are in seconds. Raises Misconfigured."""

    account: RelayAccount
    host: str
    port: int
    helo_name: str  # our own name, as the server will see it
    tls: Tls = Tls.STARTTLS
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    max_connections: int = 8
    mails_per_connection: int = 1_000
    idle_seconds: float = 30.0  # servers close idle connections after 30 s to 5 min
    begin_within: float = 1.0  # a mail that has not begun by then goes back to the queue
    timeouts: Timeouts = field(default_factory=Timeouts)
    verify_certificates: bool = True
    ca_file: str | None = None  # beside the system's authorities; for servers with a private one
    allow_clear_text_auth: bool = False  # for a server on this machine
    capabilities: Capabilities = SMTP_CAPABILITIES

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host) or not 0 < self.port < 65_536:
            raise Misconfigured(f"{self.account}: {self.host!r} port {self.port} is not a server's address.")
        if not _HELO.fullmatch(self.helo_name):
            raise Misconfigured(f"{self.account}: helo_name {self.helo_name!r} is not a host name.")
        if (self.user is None) != (self.password is None):
            raise Misconfigured(f"{self.account}: give both user and password, or neither.")
        if "\0" in (self.user or "") + (self.password or ""):
            raise Misconfigured(f"{self.account}: user and password cannot have a NUL character.")
        if min(self.max_connections, self.mails_per_connection) < 1:
            raise Misconfigured(f"{self.account}: max_connections and mails_per_connection start at 1.")
