"""Whom a text for people is about, and what it says of each."""

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from posthouse.ingest.bounces.addresses import Found, find_addresses

MAX_RECIPIENTS: Final = 200
_MAX_SEGMENT: Final = 6_000

_ROBOTS: Final = (
    "mailer-daemon", "postmaster", "mailerdaemon", "mailer_daemon", "mail-daemon", "abuse", "hostmaster",
    "noreply", "no-reply", "double-bounce", "support", "helpdesk", "webmaster", "microsoftexchange",
)  # fmt: skip
_OPENS: Final = " \t<'\"*>-•[(:「・"
_LEAD = re.compile(
    r"(?:"
    r"rcpt to:|(?:original|final|failed|intended)[- ]recipient:|recipient(?:'s)?(?: address)?:|recipients?|"
    r"to:|for|to|user:?|unknown user:?|address:|addressee:|"
    r"(?:email|e-mail)(?: address)?:?|mailbox:?|account:?|smtp[=:]|"
    r"reached?:|delivered to:?|undeliverable to:?|generated from|"
    r"an|für|empfänger|pour|destinataire|para|destinatario|あて先:?|宛先:?|收件人:?"
    r")\W{0,12}$",
    re.IGNORECASE,
)


class _Strength(IntEnum):
    """How surely an address in a text is one that did not get the mail."""

    NAMED = 1  # it occurs
    INTRODUCED = 2  # words before it say that it is a recipient, or its line has a reply code
    LISTED = 3  # it begins a line, as reports list them


@dataclass(frozen=True, slots=True)
class Named:
    """One recipient and what the text says after it."""

    address: str
    words: str


def recipients_in(text: str, not_these: Set[str]) -> list[Named]:
    """Those that the text is about, by the surest sign that any of its addresses has."""
    found = [
        (one, _strength(text, one))
        for one in find_addresses(text)
        if one.address.lower() not in not_these
        and not _is_robot(one.address)
        and not _AUTHOR.search(text[max(0, one.start - 30) : one.start])
    ]
    if not found:
        return []
    best = max(strength for _, strength in found)
    chosen = dict.fromkeys(one.address.lower() for one, strength in found if strength == best)
    names = list(chosen)[: 1 if best is _Strength.NAMED else MAX_RECIPIENTS]
    places = [one for one, _ in found if one.address.lower() in chosen]
    if len(names) == 1:
        return [Named(places[0].address, text[:_MAX_SEGMENT])]
    return [_named(text, name, places) for name in names]


def _named(text: str, name: str, places: Sequence[Found]) -> Named:
    mine = [one for one in places if one.address.lower() == name]
    return Named(mine[0].address, "\n\n".join(_segments(text, name, places))[:_MAX_SEGMENT])


def _segments(text: str, name: str, places: Sequence[Found]) -> Iterator[str]:
    """The stretches from each mention of a recipient to the next mention of another."""
    begin = -1
    for one in places:
        if one.address.lower() == name:
            begin = one.start if begin < 0 else begin
        elif begin >= 0:
            yield text[begin : one.start]
            begin = -1
    if begin >= 0:
        yield text[begin : begin + _MAX_SEGMENT]


#: Lines in which a report quotes the returned mail: their words are its author's, in whatever language.
_QUOTED_LINE = re.compile(
    r"^[ \t>]{0,12}(?:"
    r"(?:the )?(?:message )?subject(?: of the message is| was)?|betreff|objet|oggetto|asunto|assunto|"
    r"onderwerp|temat|ämne|emne|тема|件名|主题|主旨|제목|thread-topic|sent|date|message-id"
    r")[ \t]{0,4}[:：][^\n]{0,2000}(?:\n[ \t]{4,}[^\s<@:][^@:\n]{0,500}$)?",
    re.IGNORECASE | re.MULTILINE,
)


def without_quoted_lines(text: str) -> str:
    """What the reporter says itself."""
    return _QUOTED_LINE.sub("", text)


def _is_robot(address: str) -> bool:
    return address.lower().startswith(_ROBOTS)


def _strength(text: str, one: Found) -> _Strength:
    line_start = text.rfind("\n", max(0, one.start - 200), one.start) + 1
    before = text[max(line_start, one.start - 200) : one.start]
    if line_start <= one.start and not before.strip(_OPENS):
        return _Strength.LISTED
    if _HEADER_TO.match(before):
        return _Strength.NAMED
    if _LEAD.search(before[-60:]) or _has_code(before):
        return _Strength.INTRODUCED
    return _Strength.NAMED


_HEADER_TO = re.compile(r"[ \t>]{0,12}(?:to|cc|an|à|para|a):[ \t]", re.IGNORECASE)  # the returned mail's own
_CODE = re.compile(r"(?<![\w.])[45]\d\d[ -]")
_AUTHOR = re.compile(r"(?:(?<!generated )from|by|sender|contact|von|de|da)\W{1,12}$", re.IGNORECASE)


def _has_code(before: str) -> bool:
    return _CODE.search(before) is not None
