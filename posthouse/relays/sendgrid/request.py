"""A rendered mail as the JSON of SendGrid's mail/send, or the reason why it cannot be one."""

import re
from typing import Final

import msgspec

from posthouse.domain.message import Attachment, Mailbox, Rendered
from posthouse.relays.entries import ATTEMPT_KEY, JOB_KEY

#: Documented for the whole request.
MAX_REQUEST_BYTES: Final = 30_000_000

_FORBIDDEN_HEADERS = frozenset(
    {"x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding",
     "to", "from", "subject", "reply-to", "cc", "bcc"}
)  # fmt: skip
_HEADER_NAME = re.compile(r"[!-9;-~]+")
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")

#: SendGrid joins the names of `to` into a header unquoted: "Roe, Ann" was mailed to a stranger called "Roe".
_SPLITS_RECIPIENTS = re.compile(r'[,;<>"]')

#: We track ourselves: SendGrid would wrap each link a second time and add its own unsubscribe headers.
_NO_TRACKING = msgspec.Raw(
    b'{"click_tracking":{"enable":false,"enable_text":false},"open_tracking":{"enable":false},'
    b'"subscription_tracking":{"enable":false},"ganalytics":{"enable":false}}'
)


class CannotExpress(Exception):
    """SendGrid has no way to say this, so the mail is refused instead of sent without it."""


class _Person(msgspec.Struct, omit_defaults=True):
    email: str
    name: str = ""


class _Content(msgspec.Struct):
    type: str
    value: str


class _File(msgspec.Struct, omit_defaults=True):
    content: bytes  # msgspec writes bytes as base64
    filename: str
    type: str
    disposition: str
    content_id: str = ""


class _Personalization(msgspec.Struct):
    to: list[_Person]
    custom_args: dict[str, str]


class _Request(msgspec.Struct, omit_defaults=True, rename={"sender": "from"}):
    personalizations: list[_Personalization]
    sender: _Person
    subject: str
    content: list[_Content]
    headers: dict[str, str]
    tracking_settings: msgspec.Raw
    reply_to_list: list[_Person] = []
    attachments: list[_File] = []


_ENCODER = msgspec.json.Encoder()


def request_body(mail: Rendered) -> bytes:
    """The request for one mail to its one recipient. Raises CannotExpress."""
    request = _Request(
        personalizations=[_Personalization([_shown_recipient(mail)], _custom_args(mail))],
        sender=_person(mail.sender),
        reply_to_list=[_person(mailbox) for mailbox in mail.addressing.reply_to],
        subject=_one_line(mail.subject, "the subject"),
        content=_contents(mail),
        headers=_headers(mail),
        attachments=[_file(attachment) for attachment in mail.attachments],
        tracking_settings=_NO_TRACKING,
    )
    try:
        body = _ENCODER.encode(request)
    except UnicodeEncodeError as error:
        raise CannotExpress("the mail holds a lone surrogate, which no UTF-8 can express") from error
    if len(body) > MAX_REQUEST_BYTES:
        raise CannotExpress(f"the request has {len(body)} bytes; SendGrid takes {MAX_REQUEST_BYTES}")
    return body


def _custom_args(mail: Rendered) -> dict[str, str]:
    # They stand at the top level of each event, where SendGrid's own words win: hence the names' prefix.
    return {JOB_KEY: str(mail.job_id), ATTEMPT_KEY: str(mail.attempt)}


def _shown_recipient(mail: Rendered) -> _Person:
    """SendGrid mails everybody it shows, so a copy can show nobody but the recipient it is for."""
    others = [
        shown
        for shown in (*mail.addressing.to, *mail.addressing.cc)
        if shown.address.lower() != mail.recipient.lower()
    ]
    if others or mail.addressing.cc:
        raise CannotExpress(
            "SendGrid cannot show recipients in To or Cc without mailing them; send one mail to each, or use "
            "a relay that takes raw mail"
        )
    if not mail.recipient:
        raise CannotExpress("the mail has no recipient")
    shown_as = next((shown.name for shown in mail.addressing.to), "")
    name = " ".join(_SPLITS_RECIPIENTS.sub(" ", _one_line(shown_as, "the recipient's name")).split())
    return _Person(_ascii_address(mail.recipient), name)


def _person(mailbox: Mailbox) -> _Person:
    return _Person(_ascii_address(mailbox.address), _one_line(mailbox.name, "a display name"))


def _ascii_address(address: str) -> str:
    _one_line(address, "an address")
    if not address.isascii():
        # Domains arrive as A-labels, so it is the local part.
        raise CannotExpress("SendGrid takes no address whose local part is not ASCII (RFC 6531)")
    return address


def _contents(mail: Rendered) -> list[_Content]:
    """Plain text first: the order in which SendGrid requires the parts."""
    contents = [
        _Content(kind, value)
        for kind, value in (("text/plain", mail.text), ("text/html", mail.html))
        if value
    ]
    if not contents:
        raise CannotExpress("SendGrid takes no mail without content")
    return contents


def _headers(mail: Rendered) -> dict[str, str]:
    headers = {"Message-ID": _one_line(mail.message_id, "the Message-ID")}
    seen = {"message-id"}
    for name, value in mail.headers:
        key = name.lower()
        if key in _FORBIDDEN_HEADERS or not _HEADER_NAME.fullmatch(name):
            raise CannotExpress(f"SendGrid does not take the header {name[:80]!r}")
        if key in seen:
            raise CannotExpress(f"SendGrid takes the header {name[:80]!r} only once")
        seen.add(key)
        headers[name] = _one_line(value, f"the header {name[:80]!r}")
    return headers


def _file(attachment: Attachment) -> _File:
    return _File(
        content=attachment.content,
        filename=_one_line(attachment.filename, "a file name"),
        type=_one_line(attachment.content_type, "a content type"),
        disposition=attachment.disposition.value,
        content_id=_one_line(attachment.content_id or "", "a content id").strip("<>"),
    )


def _one_line(text: str, what: str) -> str:
    """What becomes a header on SendGrid's side is one line here."""
    if _CONTROL.search(text):
        raise CannotExpress(f"{what} has a line break or a control character")
    return text
