"""A message on its way out: mailboxes, what compose made of a job, and raw mail for relays that take it."""

from dataclasses import dataclass
from datetime import datetime

from posthouse.domain.ids import JobId
from posthouse.domain.stream import Stream


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A display name and a bare address (RFC 5322 section 3.4). The name is text, not yet encoded."""

    address: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Addressing:
    """What the To, Cc and Reply-To headers show: what was posted. Bcc never shows."""

    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()


@dataclass(frozen=True, slots=True)
class Attachment:
    filename: str
    content_type: str
    content: bytes
    content_id: str | None = None  # set: inline, referred to by cid: from the HTML


@dataclass(frozen=True, slots=True)
class Rendered:
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
    template_version: int | None = None


@dataclass(frozen=True, slots=True)
class RawMail:
    """The same mail as RFC 5322 bytes (CRLF, not dot-stuffed) for relays that take raw mail."""

    job_id: JobId
    attempt: int
    return_path: str
    recipient: str
    data: bytes
    smtputf8: bool  # an address or header in it needs RFC 6531
