"""A message on its way out: mailboxes, what compose made of a job, and raw mail for relays that take it.

What is made for every mail is a struct: making one takes a fifth of a frozen dataclass's time.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from posthouse.domain.ids import AttachmentId, JobId
from posthouse.domain.stream import Stream


class Mailbox(Struct, frozen=True, gc=False):
    """A display name and a bare address (RFC 5322 section 3.4). The name is text, not yet encoded."""

    address: str
    name: str = ""


class Addressing(Struct, frozen=True, gc=False):
    """What the To, Cc and Reply-To headers show: what was posted. Bcc never shows."""

    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()


class Disposition(StrEnum):
    """Where a mailbox shows a file (RFC 2183): in a list beside the mail, or where the HTML refers to it."""

    ATTACHMENT = "attachment"
    INLINE = "inline"


@dataclass(frozen=True, slots=True)
class Attachment:
    """`content_id` is what the HTML refers to with cid:, without brackets; inline files have one."""

    filename: str
    content_type: str
    content: bytes
    content_id: str | None = None
    disposition: Disposition = Disposition.ATTACHMENT


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An attachment whose bytes stay in the database until its mail is handed over."""

    filename: str
    content_type: str
    attachment_id: AttachmentId
    size: int
    content_id: str | None = None
    disposition: Disposition = Disposition.ATTACHMENT

    def with_content(self, content: bytes) -> Attachment:
        return Attachment(self.filename, self.content_type, content, self.content_id, self.disposition)


class Rendered(Struct, frozen=True):
    """One mail to one recipient, ready for a relay that takes structured mail."""

    job_id: JobId
    attempt: int
    stream: Stream
    return_path: str  # envelope sender
    recipient: str  # envelope recipient; may be absent from `addressing` (Bcc)
    sender: Mailbox
    addressing: Addressing
    subject: str
    text: str
    html: str | None
    message_id: str  # with its angle brackets; the same for every attempt of a job
    date: datetime
    headers: tuple[tuple[str, str], ...] = ()  # beside those that have a field here
    attachments: tuple[Attachment, ...] = ()
    files: tuple[StoredFile, ...] = ()  # become attachments when they are loaded
    template_version: int | None = None

    @property
    def files_size(self) -> int:
        """Bytes of its files, which go into each mail however many share them."""
        return sum(file.size for file in self.files)


class RawMail(Struct, frozen=True):
    """The same mail as RFC 5322 bytes (CRLF, not dot-stuffed) for relays that take raw mail."""

    job_id: JobId
    attempt: int
    return_path: str
    recipient: str
    data: bytes
    smtputf8: bool  # an address or header in it needs RFC 6531
