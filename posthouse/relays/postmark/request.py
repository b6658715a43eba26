"""A rendered mail as the JSON of Postmark's /email, or the reason why it cannot be one.

Source of fields and limits: https://postmarkapp.com/developer/api/email-api.
"""

import re
from typing import Final

import msgspec

from posthouse.domain.address import format_mailbox
from posthouse.domain.message import Attachment, Mailbox, Rendered
from posthouse.relays.entries import ATTEMPT_KEY, JOB_KEY

#: Of one mail with its attachments, after base64.
MAX_MESSAGE_BYTES: Final = 10_000_000
MAX_BATCH: Final = 500
MAX_BATCH_BYTES: Final = 50_000_000

_FORBIDDEN_HEADERS = frozenset(
    {"received", "dkim-signature", "content-type", "content-transfer-encoding", "mime-version", "return-path",
     "message-id", "date", "to", "from", "subject", "reply-to", "cc", "bcc"}
)  # fmt: skip
#: Headers by which Postmark is told what to do, with a mail or with its address.
_ORDERS = "x-pm-"
_HEADER_NAME = re.compile(r"[!-9;-~]+")
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
#: The lists of addresses are texts that Postmark takes apart: whether it knows an escaped quote is not
#: documented, so a name has none with which it could end early and bring an address of its own.
_ENDS_A_NAME = re.compile(r'["\\]')


class CannotExpress(Exception):
    """Postmark has no way to say this, so the mail is refused instead of sent without it."""


class _Header(msgspec.Struct, rename="pascal"):
    name: str
    value: str


class _File(msgspec.Struct, omit_defaults=True, rename="pascal"):
    name: str
    content: bytes  # msgspec writes bytes as base64
    content_type: str
    content_id: str = msgspec.field(name="ContentID", default="")


class _Request(msgspec.Struct, omit_defaults=True, rename="pascal"):
    sender: str = msgspec.field(name="From")
    to: str
    subject: str
    metadata: dict[str, str]
    headers: list[_Header]
    message_stream: str
    track_links: str
    track_opens: bool
    reply_to: str = ""
    html_body: str = ""
    text_body: str = ""
    attachments: list[_File] = []


_ENCODER = msgspec.json.Encoder()


def request_body(mail: Rendered, message_stream: str) -> bytes:
    """The request for one mail to its one recipient; batches are lists of these. Raises CannotExpress."""
    if not mail.text and not mail.html:
        raise CannotExpress("Postmark takes no mail without content")
    request = _Request(
        sender=_person(mail.sender),
        to=_shown_recipient(mail),
        subject=_one_line(mail.subject, "the subject"),
        # They come back in every webhook. Names have at most 20 characters, values 80.
        metadata={JOB_KEY: str(mail.job_id), ATTEMPT_KEY: str(mail.attempt)},
        headers=_headers(mail),
        message_stream=message_stream,
        # We track ourselves. Opens stay off unless the server's own setting turns them on for all.
        track_links="None",
        track_opens=False,
        reply_to=", ".join(map(_person, mail.addressing.reply_to)),
        html_body=mail.html or "",
        text_body=mail.text,
        attachments=[_file(attachment) for attachment in mail.attachments],
    )
    try:
        body = _ENCODER.encode(request)
    except UnicodeEncodeError as error:
        raise CannotExpress("the mail holds a lone surrogate, which no UTF-8 can express") from error
    if len(body) > MAX_MESSAGE_BYTES:
        raise CannotExpress(
            f"the mail has {len(body)} bytes with its attachments; Postmark takes {MAX_MESSAGE_BYTES}"
        )
    return body


def _shown_recipient(mail: Rendered) -> str:
    """Postmark mails everybody it shows, so a copy can show nobody but the recipient it is for."""
    others = [
        shown
        for shown in (*mail.addressing.to, *mail.addressing.cc)
        if shown.address.lower() != mail.recipient.lower()
    ]
    if others or mail.addressing.cc:
        raise CannotExpress(
            "Postmark cannot show recipients in To or Cc without mailing them; send one mail to each, or use "
            "a relay that takes raw mail"
        )
    if not mail.recipient:
        raise CannotExpress("the mail has no recipient")
    return _person(Mailbox(mail.recipient, next((shown.name for shown in mail.addressing.to), "")))


def _person(mailbox: Mailbox) -> str:
    _one_line(mailbox.address, "an address")
    if not mailbox.address.isascii():
        # Domains arrive as A-labels, so it is the local part.
        raise CannotExpress("Postmark takes no address whose local part is not ASCII (RFC 6531)")
    if "," in mailbox.address or _ENDS_A_NAME.search(mailbox.address):
        raise CannotExpress("Postmark would read this address as several")
    name = _ENDS_A_NAME.sub("'", _one_line(mailbox.name, "a display name"))
    return format_mailbox(Mailbox(mailbox.address, " ".join(name.split())))


def _headers(mail: Rendered) -> list[_Header]:
    # Without X-PM-KeepID Postmark writes a Message-ID of its own.
    headers = [
        _Header("Message-ID", _one_line(mail.message_id, "the Message-ID")),
        _Header("X-PM-KeepID", "true"),
    ]
    seen: set[str] = set()
    for name, value in mail.headers:
        key = name.lower()
        if key in _FORBIDDEN_HEADERS or key.startswith(_ORDERS) or not _HEADER_NAME.fullmatch(name):
            raise CannotExpress(f"Postmark does not take the header {name[:80]!r}")
        if key in seen:
            raise CannotExpress(f"Postmark promises nothing for a header that comes twice, as {name[:80]!r}")
        seen.add(key)
        headers.append(_Header(name, _one_line(value, f"the header {name[:80]!r}")))
    return headers


def _file(attachment: Attachment) -> _File:
    content_id = _one_line(attachment.content_id or "", "a content id").strip("<>")
    return _File(
        name=_one_line(attachment.filename, "a file name"),
        content=attachment.content,
        content_type=_one_line(attachment.content_type, "a content type"),
        content_id=f"cid:{content_id}" if content_id else "",
    )


def _one_line(text: str, what: str) -> str:
    """What becomes a header on Postmark's side is one line here."""
    if _CONTROL.search(text):
        raise CannotExpress(f"{what} has a line break or a control character")
    return text
