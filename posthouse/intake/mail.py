"""A mail that has been found good: what validation makes and what is stored."""

from dataclasses import dataclass, field
from datetime import datetime

from posthouse.domain.ids import AddressKey, TemplateId
from posthouse.domain.job import JsonObject
from posthouse.domain.message import Addressing
from posthouse.domain.stream import Stream


@dataclass(frozen=True, slots=True)
class Recipient:
    """One job: the address that goes into RCPT TO, and the key that suppressions know it by."""

    address: str
    key: AddressKey


@dataclass(frozen=True, slots=True)
class KnownTemplate:
    """The stored template that a mail names, and the variables that its version of now cannot do without."""

    template_id: TemplateId
    required: frozenset[str]


@dataclass(frozen=True, slots=True)
class OwnContent:
    """Bodies that the client brings. At least one is there."""

    html: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class TemplateChoice:
    """A stored template. `version` None: the newest published one when the mail is sent."""

    template_id: TemplateId
    version: int | None
    variables: JsonObject


@dataclass(frozen=True, slots=True)
class NewMail:
    """One post: a job for each recipient. `body` says where the words come from."""

    stream: Stream
    sender: str  # as the From header shows it: an address, or a name and an address
    recipients: tuple[Recipient, ...]  # in the order posted, each address once
    addressing: Addressing | None  # None: To shows the recipient and nothing else
    subject: str | None
    body: OwnContent | TemplateChoice
    expires_at: datetime
    expiry_given: bool
    scheduled_at: datetime | None = None  # None: at once
    tags: tuple[tuple[str, str], ...] = ()
    metadata: JsonObject | None = None
    headers: tuple[tuple[str, str], ...] = field(default=())
    tracked: bool = True
    sandbox: bool = False  # it never reaches a relay
