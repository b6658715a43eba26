"""Header fields as bytes: folding (RFC 5322), encoded words (RFC 2047), parameters (RFC 2231).

Text that could be taken for an encoded word is encoded itself, so that a reader shows what was written.
"""

import re
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from posthouse.domain.address import parse_domain
from posthouse.domain.errors import InvalidHeader
from posthouse.domain.message import Mailbox

LINE: Final = 76  # recommended most octets in a line, without its CRLF (RFC 5322 section 2.1.1 allows 78)
#: UTF-8 in one encoded word: with 12 of frame and a name like "Subject: " before it the line stays under 76,
#: the limit of lines with encoded words (RFC 2047 section 2).
_WORD_BYTES: Final = 39
_WORD_CHARACTERS: Final = 52
_LONGEST_WORD: Final = 900  # what cannot be folded must still fit a line of 998
_PARAMETER_PIECE: Final = 50
_CHARSET: Final = "UTF-8''"
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+(?: [A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+)*")
_NOT_IN_ADDRESS = re.compile(r"[\x00-\x20\x7f<>(),;:\"\\\[\]\ud800-\udfff]")
_Q_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q_BYTES: Final = tuple(
    chr(byte) if byte in _Q_SAFE else "_" if byte == 0x20 else f"={byte:02X}" for byte in range(256)
)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def unstructured(name: str, value: str) -> str:
    """`Name: value` of free text, folded, without a final CRLF. Raises InvalidHeader for line breaks."""
    if len(name) + 2 + len(value) <= LINE and _is_plain(value):
        return f"{name}: {value}"
    refuse_controls(name, value)
    if _is_plain(value) and _can_fold(value):
        return _folded(name, value.split(" "), " ")
    return _folded(name, list(encoded_words(value)), " ")


def structured(name: str, items: Sequence[str], separator: str = ", ") -> str:
    """`Name: items`, folded only between items. The items are ASCII and in their final form."""
    return _folded(name, items, separator)


def mailboxes(name: str, values: Sequence[Mailbox]) -> str:
    """An address list (RFC 5322 section 3.4)."""
    return _folded(name, [mailbox(value) for value in values], ", ")


@lru_cache(maxsize=1024)
def mailbox(value: Mailbox) -> str:
    """A name and an address as they stand in a header."""
    address = header_address(value.address)
    if not value.name:
        return address
    return f"{_phrase(value.name)} <{address}>"


def header_address(address: str) -> str:
    """The address with its domain as A-labels. Raises InvalidHeader for what no header could hold."""
    local, _, domain = address.rpartition("@")
    if not local or _NOT_IN_ADDRESS.search(address) is not None:
        raise InvalidHeader("An address of this mail cannot stand in a header.")
    if domain.isascii():
        return address
    return f"{local}@{parse_domain(domain)}"


def _phrase(name: str) -> str:
    refuse_controls("A name", name)
    if not _is_plain(name) or len(name) > LINE:
        return "\r\n ".join(encoded_words(name))
    if _ATOMS.fullmatch(name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def file_name(value: str) -> tuple[list[str], list[str]]:
    """A file name as parameters of Content-Type and of Content-Disposition, each piece for a line of its own.

    What is not short ASCII stands in the latter as RFC 2231 has it, and in the former as an ASCII fallback:
    both in one header would be a parameter given twice.
    """
    plain = _fallback(value)
    if plain == value and len(value) <= _PARAMETER_PIECE:
        return [f'name="{plain}"'], [f'filename="{plain}"']
    return [f'name="{plain[-_PARAMETER_PIECE:]}"'], _rfc2231("filename", quote(value, safe=""))


def _rfc2231(name: str, encoded: str) -> list[str]:
    if len(encoded) <= _PARAMETER_PIECE:
        return [f"{name}*={_CHARSET}{encoded}"]
    pieces = list(_percent_pieces(encoded))
    return [f"{name}*{number}*={'' if number else _CHARSET}{piece}" for number, piece in enumerate(pieces)]


def _percent_pieces(encoded: str) -> Iterator[str]:
    """Pieces that never split a percent sequence."""
    start = 0
    while start < len(encoded):
        end = start + _PARAMETER_PIECE
        cut = encoded.rfind("%", end - 2, end)
        if cut >= 0 and end < len(encoded):
            end = cut
        yield encoded[start:end]
        start = end


def _fallback(value: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in value)


def encoded_words(value: str) -> Iterator[str]:
    """Encoded words of at most 75 characters that split no character; the shorter of B and Q (RFC 2047)."""
    quoted_size = sum(len(_Q_BYTES[byte]) for byte in value.encode())
    if quoted_size * 3 <= len(value.encode()) * 4:
        return (f"=?utf-8?q?{piece}?=" for piece in _q_pieces(value))
    return (f"=?utf-8?b?{b2a_base64(piece, newline=False).decode()}?=" for piece in _b_pieces(value))


def _q_pieces(value: str) -> Iterator[str]:
    piece = ""
    for character in value:
        encoded = "".join(_Q_BYTES[byte] for byte in character.encode())
        if len(piece) + len(encoded) > _WORD_CHARACTERS:
            yield piece
            piece = ""
        piece += encoded
    yield piece


def _b_pieces(value: str) -> Iterator[bytes]:
    piece = b""
    for character in value:
        encoded = character.encode()
        if len(piece) + len(encoded) > _WORD_BYTES:
            yield piece
            piece = b""
        piece += encoded
    yield piece


def _is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable() and "=?" not in value and value == value.strip()


def _can_fold(value: str) -> bool:
    return "  " not in value and max(map(len, value.split(" "))) <= _LONGEST_WORD


def _folded(name: str, items: Sequence[str], separator: str) -> str:
    """Items joined on lines of at most `LINE` where they fit. The separator ends in the space it folds at."""
    if len(items) == 1:
        return f"{name}: {items[0]}"
    lines = []
    line = f"{name}:"
    mark = separator.rstrip(" ")
    for number, item in enumerate(items):
        written = item + mark if number + 1 < len(items) else item
        if len(line) + 1 + len(written) > LINE and number > 0:
            lines.append(line)
            line = ""
        line += " " + written
    lines.append(line)
    return "\r\n".join(lines)


def refuse_controls(what: str, value: str) -> None:
    """Nothing but text may come near a header's bytes, whoever made it."""
    if "\r" in value or "\n" in value or "\x00" in value:
        raise InvalidHeader(f"{what} holds a line break or a NUL character.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidHeader(f"{what} holds half a character (a lone surrogate).") from error


def is_token(value: str) -> bool:
    """Whether it may be a header's name or one half of a content type."""
    return _TOKEN.fullmatch(value) is not None
