"""Postmark's `POST /email`: what a mail may be, and the words in which Postmark refuses one.

https://postmarkapp.com/developer/api/email-api, https://postmarkapp.com/developer/api/overview.
"""

import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Literal

import msgspec

MAX_MAIL_BYTES = 10_000_000
MAX_BATCH_BYTES = 50_000_000
MAX_BATCH = 500

_BODY_BYTES = 5_000_000
_RECIPIENTS = 50
_METADATA = 10
_KEY_CHARS = 20
_VALUE_CHARS = 80
_SUBJECT_CHARS = 2000
_FROM_CHARS = 255
_TAG_CHARS = 1000
_ADDRESS = re.compile(r"[^\s@<>,;\"\x00-\x1f]{1,64}@[^\s@<>,;\"\x00-\x1f.]+(?:\.[^\s@<>,;\"\x00-\x1f.]+)+")
_NAMED = re.compile(r'\s*(?:"[^"]*"|[^"<>,]*?)\s*<([^<>]*)>\s*')
_FORBIDDEN_FILES = frozenset(
    {"vbs", "exe", "bin", "bat", "chm", "com", "cpl", "crt", "hlp", "hta", "inf", "ins", "isp", "jse", "lnk",
     "mdb", "pcd", "pif", "reg", "scr", "sct", "shs", "vbe", "vba", "wsf", "wsh", "wsl", "msc", "msi", "msp",
     "mst"}
)  # fmt: skip


class RefusedError(Exception):
    """A mail, or a whole request, in Postmark's words."""

    def __init__(self, code: int, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class Header(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    value: str


class File(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    content: str
    content_type: str
    content_id: str | None = msgspec.field(name="ContentID", default=None)


class Mail(msgspec.Struct, frozen=True, rename="pascal"):
    """What the simulator looks at; other documented fields are taken and ignored."""

    sender: str = msgspec.field(name="From", default="")
    to: str = ""
    cc: str = ""
    bcc: str = ""
    reply_to: str = ""
    subject: str = ""
    tag: str = ""
    html_body: str | None = None
    text_body: str | None = None
    headers: tuple[Header, ...] = ()
    attachments: tuple[File, ...] = ()
    metadata: dict[str, str] = {}
    message_stream: str = "outbound"
    track_opens: bool = False
    track_links: Literal["None", "HtmlAndText", "HtmlOnly", "TextOnly"] = "None"

    def header(self, name: str) -> str:
        return next((h.value for h in self.headers if h.name.lower() == name), "")

    def everybody(self) -> list[str]:
        """Addresses of To, Cc and Bcc. Raises RefusedError."""
        return [
            address
            for field, text in (("To", self.to), ("Cc", self.cc), ("Bcc", self.bcc))
            for address in addresses(field, text)
        ]


_DECODER = msgspec.json.Decoder(Mail)
_BATCH = msgspec.json.Decoder(list[msgspec.Raw])
_FIELD = re.compile(r"`\$\.(\w+)")


def parse_mail(body: bytes, streams: Collection[str]) -> Mail:
    """A mail that would be taken. Raises RefusedError."""
    try:
        mail = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        field = _FIELD.search(str(error))
        raise RefusedError(403, f"Invalid request field(s): '{field[1] if field else '?'}'.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(402, "Invalid JSON.") from error
    if len(body) > MAX_MAIL_BYTES:
        raise RefusedError(300, "The message is larger than 10 MB.")
    if mail.message_stream not in streams:
        raise RefusedError(
            1235, f"The stream provided: '{mail.message_stream}' does not exist on this server."
        )
    _check(mail)
    return mail


def parse_batch(body: bytes) -> list[bytes]:
    """The mails of a batch, each still JSON. Raises RefusedError."""
    try:
        items = [bytes(raw) for raw in _BATCH.decode(body)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(402, "Invalid JSON.") from error
    if len(items) > MAX_BATCH:
        raise RefusedError(410, "You may only send up to 500 messages in a single batched request.")
    return items


def addresses(field: str, text: str) -> list[str]:
    """Postmark takes a list of addresses apart at commas outside of quotes. Raises RefusedError."""
    return [_address(field, part) for part in _parts(text) if part.strip()]


def _parts(text: str) -> list[str]:
    parts, quoted = [""], False
    for letter in text:
        if letter == '"':
            quoted = not quoted
        if letter == "," and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _address(field: str, text: str) -> str:
    named = _NAMED.fullmatch(text)
    address = named[1] if named else text.strip()
    if not _ADDRESS.fullmatch(address):
        raise RefusedError(300, f"Invalid '{field}' address: '{text.strip()[:100]}'.")
    return address


def _check(mail: Mail) -> None:
    if len(addresses("From", mail.sender)) != 1:
        raise RefusedError(300, f"Invalid 'From' address: '{mail.sender[:100]}'.")
    if not addresses("To", mail.to):
        raise RefusedError(300, "Invalid 'To' address: ''.")
    addresses("ReplyTo", mail.reply_to)
    if len(mail.everybody()) > _RECIPIENTS:
        raise RefusedError(300, f"Exceeded the maximum of {_RECIPIENTS} recipients per message.")
    bodies = (mail.html_body or "", mail.text_body or "")
    if not any(bodies):
        raise RefusedError(300, "Provide either email TextBody or HtmlBody or both.")
    if any(len(body.encode("utf-8", "replace")) > _BODY_BYTES for body in bodies):
        raise RefusedError(300, "A body is larger than 5 MB.")
    _check_lengths(mail)
    _check_metadata(mail.metadata)
    for file in mail.attachments:
        if PurePosixPath(file.name).suffix.removeprefix(".").lower() in _FORBIDDEN_FILES:
            raise RefusedError(411, "Attachment file type not allowed.")
        if file.content_id and not file.content_id.startswith("cid:"):
            raise RefusedError(300, "ContentID of an inline image begins with 'cid:'.")


def _check_lengths(mail: Mail) -> None:
    limits = (
        ("From", mail.sender, _FROM_CHARS),
        ("Subject", mail.subject, _SUBJECT_CHARS),
        ("Tag", mail.tag, _TAG_CHARS),
    )
    for field, text, most in limits:
        if len(text.encode("utf-16-le", "replace")) // 2 > most:
            raise RefusedError(300, f"The '{field}' field exceeds the maximum length of {most} characters.")
    for header in mail.headers:
        if not header.name or "\n" in header.name + header.value or "\r" in header.name + header.value:
            raise RefusedError(300, "A header has an invalid name or value.")


def _check_metadata(metadata: dict[str, str]) -> None:
    if len(metadata) > _METADATA or len({key.lower() for key in metadata}) < len(metadata):
        raise RefusedError(300, "Metadata may contain at most 10 fields, each once.")
    for key, value in metadata.items():
        if len(key) > _KEY_CHARS or len(value) > _VALUE_CHARS:
            raise RefusedError(
                300, f"Metadata field '{key[:40]}' is longer than 20, or its value than 80 characters."
            )
