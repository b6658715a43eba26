"""A mail as a tree of parts, read within bounds. Never raises, whatever the bytes.

The parser of the standard library raises on some inputs, is quadratic in others and builds every part of
10,000; a report is found in the first few. What is over a bound is not read.
"""

import re
from base64 import b64decode
from binascii import Error as BinasciiError
from binascii import a2b_qp
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from posthouse.ingest.bounces.words import decoded_words, text_of

MAX_MAIL: Final = 1_048_576  # bytes; the report comes before the mail that it is about
MAX_PARTS: Final = 60
MAX_DEPTH: Final = 6
MAX_HEAD: Final = 131_072  # bytes of one header section
MAX_FIELDS: Final = 400
MAX_VALUE: Final = 8_192  # bytes of one field
MAX_UNINDENTED: Final = 100  # lines of a header section that are neither a field nor indented
MAX_LOOK: Final = 2_048  # bytes after such a line in which a field must follow
MAX_BODY: Final = 262_144  # bytes of one part that are decoded

_FIELD = re.compile(rb"([A-Za-z][!-9;-~]{0,99})[ \t]{0,8}:[ \t]*")
_FOLDED = ("received", "authentication-results", "arc-", "dkim-", "x-", "content-")
_AFTER_FOLDED = re.compile(
    rb"(?i:(?:Received|ARC|DKIM|X|Content|MIME|Message|Authentication)[!-9;-~]{0,100}|From|To|Date|Subject|Return-Path|Delivered-To|Thread-[a-z]{1,9}|Accept-Language):"
)
_PARAMETER = re.compile(r"""([\w!#$%&'*+.^`|~-]{1,60})\s{0,8}=\s{0,8}(?:"([^"]{0,200})"|([^\s;"]{1,200}))""")
_TYPE = re.compile(r"\s*([\w.+-]{1,80})\s{0,8}/\s{0,8}([\w.+-]{1,80})")


@dataclass(frozen=True, slots=True)
class Head:
    """Header fields: names in lower case, values unfolded and not yet decoded."""

    fields: Mapping[str, tuple[bytes, ...]]

    def get(self, name: str) -> str:
        """The first field of this name in words; "" if there is none."""
        return next(iter(self.all(name)), "")

    def all(self, name: str) -> Iterator[str]:
        return (decoded_words(value) for value in self.fields.get(name, ()))

    def __contains__(self, name: str) -> bool:
        return name in self.fields


@dataclass(frozen=True, slots=True)
class Part:
    """One part. `body` is as it came; a multipart has its parts as well."""

    head: Head
    content_type: str  # "text/plain"
    parameters: Mapping[str, str]
    body: bytes = field(repr=False)
    parts: tuple["Part", ...] = ()

    def content(self) -> bytes:
        """The body without its transfer encoding."""
        body = self.body[:MAX_BODY]
        match self.head.get("content-transfer-encoding").strip().lower():
            case "base64":
                return _from_base64(body)
            case "quoted-printable":
                return a2b_qp(body)
            case _:
                return body

    def text(self) -> str:
        return text_of(self.content(), self.parameters.get("charset", ""))


class _Budget:
    """How many parts may still be read of this mail."""

    def __init__(self) -> None:
        self.left = MAX_PARTS

    def take(self) -> bool:
        self.left -= 1
        return self.left >= 0


def read_mail(raw: bytes) -> Part:
    """The mail, with line ends as LF. A leading line of an mbox file is left out."""
    text = raw[:MAX_MAIL].replace(b"\r\n", b"\n").replace(b"\r", b"\n").lstrip()
    if text.startswith((b"From ", b">From ")):
        text = text.partition(b"\n")[2]
    return _part(text, _Budget(), MAX_DEPTH, default="text/plain")


def read_head(raw: bytes) -> tuple[Head, bytes]:
    """A header section and what follows it.

    A line that is no field ends it, for blank lines get lost; unless it goes on with the field before, for
    the spaces that a folded line begins with get lost as well.
    """
    fields: dict[str, list[bytes]] = {}
    place, count, unindented, name = 0, 0, 0, ""
    while place < min(len(raw), MAX_HEAD):
        end = raw.find(b"\n", place)
        end = len(raw) if end < 0 else end
        line = raw[place : min(end, place + MAX_VALUE)]
        if not line.strip():
            place = end + 1
            break
        found = _FIELD.match(line)
        if found is not None:
            name = found[1].decode("ascii", "replace").lower()
            count += 1
            if count <= MAX_FIELDS:
                fields.setdefault(name, []).append(line[found.end() :].strip())
            else:
                fields.setdefault(name, [b""])
        elif name and line[:1] in b" \t":
            _unfold(fields[name], line)
        elif name and unindented < MAX_UNINDENTED and _goes_on(name, fields[name][-1], raw, end):
            unindented += 1
            _unfold(fields[name], line)
        else:
            break
        place = end + 1
    return Head({name: tuple(values) for name, values in fields.items()}), raw[place:]


def _goes_on(name: str, value: bytes, raw: bytes, place: int) -> bool:
    """Whether a line that is not indented belongs to this field: one often folded, with a field after it."""
    if value.endswith(b";"):
        return True
    if not name.startswith(_FOLDED):
        return False
    for line in raw[place + 1 : place + 1 + MAX_LOOK].split(b"\n", 20)[:20]:
        if not line.strip():
            return False
        if _AFTER_FOLDED.match(line):
            return True
    return False


def _unfold(values: list[bytes], line: bytes) -> None:
    if len(values[-1]) < MAX_VALUE:
        values[-1] += b" " + line.strip()


def _part(raw: bytes, budget: _Budget, depth: int, *, default: str) -> Part:
    head, body = read_head(raw)
    content_type, parameters = _content_type(head.get("content-type"), default)
    parts: tuple[Part, ...] = ()
    if content_type.startswith("multipart/") and depth > 0:
        inner = "message/rfc822" if content_type == "multipart/digest" else "text/plain"
        pieces = _split(body, parameters.get("boundary", "").encode("latin-1", "replace"))
        parts = tuple(_part(piece, budget, depth - 1, default=inner) for piece in pieces if budget.take())
    return Part(head, content_type, parameters, body, parts)


def _split(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """What stands between the boundaries, at most as many pieces as may be read of one mail."""
    mark = b"\n--" + boundary
    body = b"\n" + body
    start = body.find(mark) if boundary else -1
    for _ in range(MAX_PARTS):
        if start < 0:
            return
        line_end = body.find(b"\n", start + 1)
        if line_end < 0 or body[start + len(mark) : start + len(mark) + 2] == b"--":
            return
        end = body.find(mark, line_end)
        yield body[line_end + 1 : end if end >= 0 else len(body)]
        start = end


def _content_type(value: str, default: str) -> tuple[str, Mapping[str, str]]:
    found = _TYPE.match(value)
    if found is None:
        return default, {}
    parameters = {
        one[1].lower().rstrip("*"): (one[2] if one[2] is not None else one[3])
        for one in _PARAMETER.finditer(value, found.end())
    }
    return f"{found[1]}/{found[2]}".lower(), parameters


_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")


def _from_base64(body: bytes) -> bytes:
    """What can be read of it: strays are left out, and a cut end is filled up."""
    letters = _NOT_BASE64.sub(b"", body)
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    try:
        return b64decode(letters + b"=" * (-len(letters) % 4))
    except BinasciiError:
        return b""
