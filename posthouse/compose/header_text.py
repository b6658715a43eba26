"""What may stand in a header. Everything here is refused or made harmless before a byte is written.

The standard library of a supported Python turns the subject `=?utf-8?q?hi=0A?=Bcc: x@evil.test` into a real
Bcc header (CVE-2024-6923), so line breaks are refused in their encoded forms too.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, a2b_qp

from posthouse.domain.errors import InvalidHeader

#: RFC 2047 section 2, read generously: what any reader might take for an encoded word.
_ENCODED_WORD = re.compile(r"=\?[^?\s]*+\?([bBqQ])\?([^?]*+)(?:\?=|$)")
_BREAKS = re.compile("[\r\n\x00]")
_ENCODED_BREAK = re.compile(rb"[\r\n\x00]")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def refuse_breaks(value: str, what: str) -> None:
    """Raises InvalidHeader when `value` holds CR, LF or NUL, plain or in an encoded word, or half a
    character.

    `what` names the value in the message. Linear in the value.
    """
    if _BREAKS.search(value) is not None:
        raise InvalidHeader(f"{what} holds a line break or a NUL character.")
    if "=?" in value:
        for word in _ENCODED_WORD.finditer(value):
            if _ENCODED_BREAK.search(_decoded(word[1], word[2])) is not None:
                raise InvalidHeader(f"{what} holds an encoded line break or NUL character.")
    if not value.isascii():
        _refuse_surrogates(value, what)


def one_line(value: str, what: str) -> str:
    """The value as header text: trimmed, with tabs and other controls as spaces. Raises InvalidHeader as
    `refuse_breaks` does."""
    refuse_breaks(value, what)
    if value.isprintable():
        return value.strip()
    return _CONTROLS.sub(" ", value).strip()


def _refuse_surrogates(value: str, what: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidHeader(f"{what} holds half a character (a lone surrogate).") from error


def _decoded(encoding: str, text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    if encoding in "qQ":
        return a2b_qp(data, header=True)
    try:
        return a2b_base64(data + b"==")
    except Base64Error:
        return b""
