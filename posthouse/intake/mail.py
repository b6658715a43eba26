"""A mail that has been found good: what validation makes and what is stored.

Structs, since several are made for each accepted mail: a frozen dataclass takes three times as long.
"""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from posthouse.domain.ids import AddressKey, TemplateId
from posthouse.domain.job import JsonObject
from posthouse.domain.message import Addressing, Disposition, StoredFile
from posthouse.domain.stream import Stream


class Recipient(msgspec.Struct, frozen=True, gc=False):
    """One job: the address that goes into RCPT TO, and the key that suppressions know it by."""

    address: str
    key: AddressKey


@dataclass(frozen=True, slots=True)
class KnownTemplate:
    """The stored template that a mail names, and the variables that its version of now cannot do without."""

    template_id: TemplateId
    required: frozenset[str]


class OwnContent(msgspec.Struct, frozen=True):
    """Bodies that the client brings. At least one is there."""

    html: str | None
    text: str | None


class TemplateChoice(msgspec.Struct, frozen=True, gc=False):
    """A stored template. `version` None: the newest published one when the mail is sent."""

    template_id: TemplateId
    version: int | None
    variables: JsonObject


class NewFile(msgspec.Struct, frozen=True, gc=False):
    """A file that goes with a mail."""

    filename: str
    content_type: str
    content: bytes
    content_id: str | None
    disposition: Disposition


class NewMail(msgspec.Struct, frozen=True):
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
    headers: tuple[tuple[str, str], ...] = ()
    tracked: bool = True
    files: tuple[NewFile, ...] = ()  # until their bytes are stored
    stored_files: tuple[StoredFile, ...] = ()
    sandbox: bool = False  # it never reaches a relay
