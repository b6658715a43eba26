"""Servers' replies quoted in a text: "550 5.1.1 <a@b.example>: user unknown"."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_REPLIES: Final = 40
_MAX_LENGTH: Final = 600

_REPLY = re.compile(
    r"(?<![\w.:/@-])([45][0-5]\d)(?:[ \-]|: )[ \t]{0,3}"
    r"(?:\(?#?([45]\.\d{1,3}\.\d{1,3})\)?[ :-]{0,3})?(?=[^\s\d]|\d{1,3}\.\d)"
    r"|(?<![\w.])(?:#< ?)?#?([45]\.\d{1,3}\.\d{1,3})(?![\d.])[ :#>)-]{0,3}"
)
_ENHANCED = re.compile(r"(?<![\d.])([45]\.\d{1,3}\.\d{1,3})(?![\d.])")
_CODE = re.compile(r"(?<![\w.:/@-])([45][0-5]\d)(?=[ \-\])]|$)")


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    code: str  # "550", "" where only an enhanced code is quoted
    status: str


def replies_in(text: str) -> Iterator[Reply]:
    """Each, up to the next one or a blank line."""
    found = list(zip(range(MAX_REPLIES), _REPLY.finditer(text), strict=False))
    for n, one in found:
        limit = min(one.start() + _MAX_LENGTH, len(text))
        following = next((m.start() for _, m in found[n + 1 :] if not _continues(one, m)), limit)
        words = text[_begin(text, one) : min(limit, following)]
        yield Reply(words.partition("\n\n")[0].strip(), one[1] or "", one[2] or one[3] or "")


def _begin(text: str, one: re.Match[str]) -> int:
    """At its code; with its line where only an enhanced code ends it, as qmail writes."""
    if one[1] is not None:
        return one.start()
    return max(text.rfind("\n", 0, one.start()) + 1, one.start() - _MAX_LENGTH // 2)


def _continues(first: re.Match[str], later: re.Match[str]) -> bool:
    """Whether a match is a further line of the same reply, or its enhanced code."""
    return later[1] is None or (later[1] == first[1] and later.start() - first.start() < _MAX_LENGTH)


def enhanced_in(text: str) -> str:
    """The first enhanced code in a text; "" if there is none."""
    found = _ENHANCED.search(text)
    return found[1] if found is not None else ""


def code_in(text: str) -> str:
    """The first reply code."""
    found = _CODE.search(text)
    return found[1] if found is not None else ""
