"""A Rendered mail as bytes (RFC 5322, RFC 2045-2047): 7-bit but for SMTPUTF8 addresses, CRLF only.

mixed( alternative( plain, related( html, inline... ) ), attachments ), each level only where it is needed.
The same mail gives the same bytes.
"""

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final, NamedTuple

from posthouse.compose.mime_headers import (
    file_name,
    header_address,
    is_token,
    mailboxes,
    refuse_controls,
    structured,
    unstructured,
)
from posthouse.domain.errors import InvalidHeader
from posthouse.domain.message import Attachment, Disposition, RawMail, Rendered

_LONGEST_LINE: Final = 990  # of the 998 that RFC 5322 allows
#: After a line that ends in a space some server drops; at a line that mailboxes rewrite, or one too long.
_UNSAFE_LINE = re.compile(rb"\n(?:(?<=[ \t]\n)|From |[^\n]{%d})" % (_LONGEST_LINE + 1))
_BASE64_LINE: Final = 57  # bytes in, 76 characters out
_OCTET_STREAM: Final = "application/octet-stream"
_NON_ASCII: Final = bytes(range(128, 256))
#: Changes the controls that text should not hold, and nothing else.
_WITHOUT_CONTROLS: Final = bytes(
    int(b == 0) if b in {*range(9), *range(11, 32), 127} else b for b in range(256)
)
#: Headers that relays compare or parse: emitted as they are, folded only where the grammar allows it.
_STRUCTURED_HEADERS: Final = frozenset({"List-Unsubscribe"})
#: Headers with few values in a stream.
_OFTEN_THE_SAME: Final = frozenset(
    {"Auto-Submitted", "Feedback-ID", "List-Id", "List-Unsubscribe-Post", "Precedence"}
)


class _Part(NamedTuple):
    """A MIME entity: its header lines, each with CRLF, and its body, to the byte."""

    head: bytes
    body: bytes


def to_raw(rendered: Rendered) -> RawMail:
    """The mail as bytes. Raises InvalidHeader for what cannot stand in a header.

    `smtputf8` is set only when an address has a local part that is not ASCII; such a mail's headers are
    UTF-8.
    """
    return_path = header_address(rendered.return_path) if rendered.return_path else ""
    recipient = header_address(rendered.recipient)
    head = "\r\n".join(_head_lines(rendered)).encode()
    smtputf8 = not (head.isascii() and recipient.isascii() and return_path.isascii())
    body = _body(rendered)
    last_line_end = b"" if body.body.endswith(b"\r\n") else b"\r\n"
    return RawMail(
        job_id=rendered.job_id,
        attempt=rendered.attempt,
        return_path=return_path,
        recipient=recipient,
        data=b"".join((head, b"\r\n", body.head, b"\r\n", body.body, last_line_end)),
        smtputf8=smtputf8,
    )


def _head_lines(rendered: Rendered) -> list[str]:
    to, cc, reply_to = rendered.addressing.to, rendered.addressing.cc, rendered.addressing.reply_to
    lines = [mailboxes("From", (rendered.sender,))]
    if to:
        lines.append(mailboxes("To", to))
    if cc:
        lines.append(mailboxes("Cc", cc))
    if not to and not cc:
        lines.append("To: undisclosed-recipients:;")
    if reply_to:
        lines.append(mailboxes("Reply-To", reply_to))
    lines += (
        unstructured("Subject", rendered.subject),
        f"Date: {_date(int(rendered.date.timestamp()))}",
        f"Message-ID: {rendered.message_id}",
        f"X-Posthouse-Id: {rendered.job_id}.{rendered.attempt}",
        "MIME-Version: 1.0",
    )
    lines += [_extra_header(name, value) for name, value in rendered.headers]
    return lines


def _extra_header(name: str, value: str) -> str:
    if name in _OFTEN_THE_SAME:
        return _remembered_header(name, value)
    if not is_token(name):
        raise InvalidHeader("A header of this mail has a name that is none.")
    if name in _STRUCTURED_HEADERS:
        refuse_controls(name, value)
        return structured(name, value.split(", "))
    return unstructured(name, value)


@lru_cache(maxsize=256)
def _remembered_header(name: str, value: str) -> str:
    return unstructured(name, value)


@lru_cache(maxsize=64)
def _date(unix: int) -> str:
    return format_datetime(datetime.fromtimestamp(unix, UTC))


def _body(rendered: Rendered) -> _Part:
    boundaries = _Boundaries(f"{rendered.job_id.hex}.{rendered.attempt}")
    # Without HTML nothing refers to a picture: it is shown beside the text then.
    shown = None if rendered.html is None else Disposition.INLINE
    inline = [a for a in rendered.attachments if a.disposition is shown]
    attached = [a for a in rendered.attachments if a.disposition is not shown]
    body = _text_part("plain", rendered.text)
    if rendered.html is not None:
        html = _text_part("html", rendered.html)
        if inline:
            html = boundaries.multipart(
                'related; type="text/html"', [html, *(_attachment(a, "inline") for a in inline)]
            )
        body = boundaries.multipart("alternative", [body, html])
    if attached:
        body = boundaries.multipart("mixed", [body, *(_attachment(a, "attachment") for a in attached)])
    return body


def _text_part(subtype: str, text: str) -> _Part:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    encoding, body = _encoded_text(text.encode("utf-8", "replace"))
    return _Part(_text_head(subtype, encoding), body)


@lru_cache(maxsize=16)
def _text_head(subtype: str, encoding: str) -> bytes:
    head = f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n"
    return head.encode("ascii")


def _encoded_text(data: bytes) -> tuple[str, bytes]:
    """The plainest encoding that every server passes on unchanged; the shorter one where it must be
    encoded."""
    if data.isascii() and data.translate(_WITHOUT_CONTROLS) == data and _has_plain_lines(data):
        return "7bit", data.replace(b"\n", b"\r\n")
    escaped = len(data) - len(data.translate(None, _NON_ASCII)) + data.count(b"=")
    if escaped * 6 > len(data):
        return "base64", _base64(data.replace(b"\n", b"\r\n"))
    quoted = b2a_qp(data, istext=True)
    if quoted.startswith(b"From "):
        quoted = b"=46" + quoted[1:]
    return "quoted-printable", quoted.replace(b"\nFrom ", b"\n=46rom ").replace(b"\n", b"\r\n")


def _has_plain_lines(data: bytes) -> bool:
    """Whether every line passes every server and mailbox unchanged. Linear."""
    if data.startswith(b"From ") or data.endswith((b" ", b"\t")):
        return False
    if len(data) > _LONGEST_LINE and not 0 <= data.find(b"\n") <= _LONGEST_LINE:
        return False
    return _UNSAFE_LINE.search(data) is None


def _base64(data: bytes) -> bytes:
    return b"".join(
        b2a_base64(data[start : start + _BASE64_LINE], newline=False) + b"\r\n"
        for start in range(0, len(data), _BASE64_LINE)
    )


def _attachment(attachment: Attachment, disposition: str) -> _Part:
    of_type, of_disposition = file_name(attachment.filename)
    lines = [
        ";\r\n ".join([f"Content-Type: {_content_type(attachment.content_type)}", *of_type]),
        ";\r\n ".join([f"Content-Disposition: {disposition}", *of_disposition]),
        "Content-Transfer-Encoding: base64",
    ]
    if attachment.content_id is not None:
        lines.append(f"Content-ID: <{_content_id(attachment.content_id)}>")
    return _Part(("\r\n".join(lines) + "\r\n").encode("ascii"), _base64(attachment.content))


def _content_type(written: str) -> str:
    """The type without parameters. What base64 must not wrap (RFC 2046 sections 5.1, 5.2) and what is no type
    travels as bytes."""
    kind, _, subtype = written.partition(";")[0].strip().lower().partition("/")
    if not (is_token(kind) and is_token(subtype)) or kind in ("multipart", "message"):
        return _OCTET_STREAM
    if len(kind) + len(subtype) > 60:
        return _OCTET_STREAM
    return f"{kind}/{subtype}"


def _content_id(value: str) -> str:
    bare = value.strip("<>")
    if (
        not bare
        or len(bare) > 200
        or not bare.isascii()
        or any(c in ' <>()"\\' or not c.isprintable() for c in bare)
    ):
        raise InvalidHeader("An attachment's content id must be printable ASCII without spaces and brackets.")
    return bare


class _Boundaries:
    """Boundaries of one mail: the same for the same mail, and found in none of its parts.

    "=_" cannot occur in quoted-printable or base64 (RFC 2045 section 6.7); a 7-bit part is looked through.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._made = 0

    def multipart(self, kind: str, parts: Sequence[_Part]) -> _Part:
        """`kind` is what stands after `multipart/`, with its parameters."""
        boundary = self._next()
        while any(boundary in part.body for part in parts):
            boundary = self._next()
        head = b'Content-Type: multipart/%b;\r\n boundary="%b"\r\n' % (kind.encode("ascii"), boundary)
        pieces: list[bytes] = []
        for part in parts:
            pieces += (b"--", boundary, b"\r\n", part.head, b"\r\n", part.body, b"\r\n")
        pieces += (b"--", boundary, b"--\r\n")
        return _Part(head, b"".join(pieces))

    def _next(self) -> bytes:
        self._made += 1
        return f"=_{self._seed}.{self._made}".encode("ascii")
