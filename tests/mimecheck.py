"""A strict reader of our own mail: every rule here is one that some server or filter enforces."""

import re
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import getaddresses

from posthouse.domain.message import Mailbox

_ENCODED_WORD = re.compile(rb"=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=")
_UNFOLD = re.compile(r"\r?\n(?=[ \t])")
_FIELD = re.compile(rb"([!-9;-~]+):(?: |\r\n[ \t]|$)")


def violations(data: bytes) -> list[str]:
    """What is wrong with the bytes of a whole mail; [] for nothing (RFC 5322, 2045, 2047)."""
    wrong = []
    if b"\x00" in data:
        wrong.append("NUL")
    if re.search(rb"\r(?!\n)|(?<!\r)\n", data):
        wrong.append("bare CR or LF")
    if not data.endswith(b"\r\n"):
        wrong.append("no final CRLF")
    lines = data.split(b"\r\n")
    if max(map(len, lines)) > 998:
        wrong.append("line over 998")
    head = data.split(b"\r\n\r\n", 1)[0]
    return wrong + _wrong_in_head(head)


def _wrong_in_head(head: bytes) -> list[str]:
    wrong = []
    names = []
    for line in head.split(b"\r\n"):
        if line[:1] in b" \t":
            if not line.strip():
                wrong.append("a folded line of white space only")
            continue
        field = _FIELD.match(line)
        if field is None:
            wrong.append(f"no header field: {line[:40]!r}")
            continue
        names.append(field[1].lower())
    wrong += [f"{name!r} twice" for name in set(names) if names.count(name) > 1]
    wrong += [f"{name!r} is missing" for name in (b"from", b"date", b"message-id") if name not in names]
    for word in _ENCODED_WORD.findall(head):
        if len(word) > 75:
            wrong.append("encoded word over 75")
    wrong += [
        "line with an encoded word over 76"
        for line in head.split(b"\r\n")
        if _ENCODED_WORD.search(line) and len(line) > 76 and b"<" not in line
    ]
    return wrong


def parse(data: bytes) -> EmailMessage:
    """The mail as the standard library reads it, after the strict reader found nothing."""
    assert violations(data) == []
    message = message_from_bytes(data, policy=SMTP)
    assert isinstance(message, EmailMessage)
    for part in message.walk():
        assert part.defects == []
    return message


def text_of(message: EmailMessage, kind: str) -> str:
    """The body of a kind ("plain", "html"), with LF as its line end."""
    part = message.get_body((kind,))
    assert part is not None
    content = part.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


def mailboxes_of(message: EmailMessage, name: str) -> list[Mailbox]:
    """The mailboxes of an address header. Read from the bytes: the standard library's own address parser
    leaves the space between two encoded words of a name, which RFC 2047 section 6.2 says is none."""
    raw = next(value for field, value in message.raw_items() if field.lower() == name.lower())
    pairs = getaddresses([_UNFOLD.sub("", str(raw))])
    return [Mailbox(address, str(make_header(decode_header(shown)))) for shown, address in pairs]


def header_names(data: bytes) -> list[str]:
    """The names of the header fields, in order, read from the bytes alone."""
    head = data.split(b"\r\n\r\n", 1)[0]
    return [line.split(b":", 1)[0].decode() for line in head.split(b"\r\n") if line[:1] not in b" \t"]
