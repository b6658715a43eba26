"""Bytes to text: character sets, encoded words (RFC 2047), HTML. Never raises; a wrong label is survived."""

import codecs
import html
import re
from binascii import Error as BinasciiError
from binascii import a2b_base64, a2b_qp
from typing import Final

MAX_CHARACTERS: Final = 131_072  # of one text

_ENCODED_WORD = re.compile(rb"=\?([\w.:+-]{1,40})(?:\*[\w-]{0,20})?\?([bBqQ])\?([^?\s]{0,1000})\?=")
_BETWEEN_WORDS = re.compile(rb"(\?=)[ \t\n]{1,20}(=\?)")
_ISO_2022: Final = b"\x1b$"
#: Labels whose bytes are commonly of a larger set: what browsers do (https://encoding.spec.whatwg.org/#names-and-labels).
_LARGER: Final = {
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "ansi_x3.4-1968": "utf-8",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "unknown-8bit": "",
    "8bit": "",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "x-sjis": "cp932",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "big5": "big5hkscs",
}
#: Codecs of Python that are no character sets, or take longer than their input is long.
_REFUSED: Final = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "utf-7"})


def text_of(raw: bytes, charset: str) -> str:
    """As labelled where that fits, else as what it looks like. NULs are left out."""
    return _decoded(raw, charset)[:MAX_CHARACTERS].replace("\x00", "")


def _decoded(raw: bytes, charset: str) -> str:
    if _ISO_2022 in raw:  # Japanese in seven bits needs no label, and its escapes mean nothing else
        return raw.decode("iso2022_jp_2", "replace")
    label = charset.strip().lower()
    name = _LARGER.get(label, label)
    return _tried(raw, name) or _tried(raw, "utf-8") or raw.decode("cp1252", "replace")


def _tried(raw: bytes, name: str) -> str | None:
    """None where the label is no character set, or not that of these bytes."""
    try:
        if not name or codecs.lookup(name).name in _REFUSED:
            return None
        return raw.decode(name)
    except (LookupError, ValueError):
        return None


def decoded_words(value: bytes) -> str:
    """A header value in words."""
    if b"=?" not in value:
        return text_of(value, "")
    joined = _BETWEEN_WORDS.sub(rb"\1\2", value)
    out: list[str] = []
    place = 0
    for word in _ENCODED_WORD.finditer(joined):
        out.append(text_of(joined[place : word.start()], ""))
        out.append(_word(word[1].decode("ascii"), word[2], word[3]))
        place = word.end()
    out.append(text_of(joined[place:], ""))
    return "".join(out)


def _word(charset: str, encoding: bytes, text: bytes) -> str:
    if encoding in b"qQ":
        return text_of(a2b_qp(text, header=True), charset)
    try:
        return text_of(a2b_base64(text + b"=="), charset)
    except BinasciiError:
        return ""


_DROPPED = re.compile(r"<(style|script|title)\b[^<>]{0,500}>", re.IGNORECASE)
_BREAK = re.compile(
    r"<(?:br|/?p|/?div|/?tr|/?li|/?h\d|/?table|/?blockquote|/?pre|hr)\b[^<>]{0,2000}>", re.IGNORECASE
)
_LONG_REFERENCE = re.compile(r"&#\w{9,}")  # Python refuses to read numbers of 4,300 digits
_TAG = re.compile(r"</?[a-z!?][^<>]{0,4000}>", re.IGNORECASE)


def text_of_html(page: str) -> str:
    """The words of a page, a line for each block. Not for showing: it is read for what it says."""
    page = _without_dropped(page.replace("\n", " "))
    return html.unescape(_LONG_REFERENCE.sub("", _TAG.sub("", _BREAK.sub("\n", page))))


def _without_dropped(page: str) -> str:
    """Without what browsers do not show."""
    kept: list[str] = []
    place = 0
    lowered = page.lower() if page.isascii() else page
    for _ in range(100):
        found = _DROPPED.search(page, place)
        if found is None:
            break
        kept.append(page[place : found.start()])
        end = lowered.find(f"</{found[1].lower()}", found.end())
        place = end if end >= 0 else len(page)
    kept.append(page[place:])
    return " ".join(kept)
