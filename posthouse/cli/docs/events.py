"""Every event and reason as a page: the kinds we have, and each table by which a relay's words become one.

The tables are TOML beside their adapters. They differ from vendor to vendor, so they are shown as they are:
what a row asks for, what it comes to, and the comment that stands at it.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final, TypeAlias

import posthouse
from posthouse.domain.event import BounceClass, EventType
from posthouse.domain.suppression import SuppressionReason, SuppressionScope

_PACKAGE: Final = Path(posthouse.__file__).parent
_PAGE: Final = Path(__file__).with_name("events.md")

MEANINGS: Final[Mapping[EventType, str]] = {
    EventType.ACCEPTED: "Posthouse took it, durably.",
    EventType.SENT: "A relay took it: its promise, not yet the recipient's server's.",
    EventType.DELIVERED: "The recipient's server took it.",
    EventType.DEFERRED: "Not for now. Said by our hand-over we try again, said by the relay it does.",
    EventType.BOUNCED: "Refused, with a class (below).",
    EventType.COMPLAINED: "The recipient called it spam.",
    EventType.OPENED: "Its pixel was loaded; `machine` when not by a person.",
    EventType.CLICKED: "A link was followed; `machine` when not by a person.",
    EventType.UNSUBSCRIBED: "The recipient wants no more marketing mail.",
    EventType.REJECTED: "The relay does not take this mail as it is, or does not try its address.",
    EventType.SUPPRESSED: "Not sent: the address is suppressed here.",
    EventType.CANCELLED: "Called off before it was handed over.",
    EventType.EXPIRED: "Its time was over before it could be sent.",
    EventType.OUTCOME_UNKNOWN: "Handed over, and the answer never came. Another event settles it.",
    EventType.FAILED: "It cannot be sent: template, data, or a mail that workers died of.",
    EventType.UNKNOWN: "A relay's word that changes nothing, or that no table knows; kept with its raw body.",
}
CLASSES: Final[Mapping[BounceClass, str]] = {
    BounceClass.HARD: "The address is dead. Suppresses it at once, for all mail.",
    BounceClass.SOFT: "It may work later. Three more tries within a day; the last failure suppresses it.",
    BounceClass.BLOCK: "Policy, reputation or content: our fault, never the address's. Suppresses nothing.",
}
REASONS: Final[Mapping[SuppressionReason, tuple[SuppressionScope, str]]] = {
    SuppressionReason.BOUNCE: (SuppressionScope.ALL, "A hard bounce, or the last soft one."),
    SuppressionReason.SPAM: (SuppressionScope.ALL, "A complaint. Never expires; removing it needs force."),
    SuppressionReason.UNSUBSCRIBE: (SuppressionScope.MARKETING, "The recipient asked for it."),
    SuppressionReason.MANUAL: (SuppressionScope.ALL, "Somebody of the house put it there."),
}

#: How an end is called that would not be understood by itself.
_ALSO: Final = {
    "mirrored": "suppressed as",
    "mirrors": "suppressed as",
    "retry_after": "again after (s)",
    "wait": "again after (s)",
}
#: Keys of a row by what they are; every other one is a condition.
_ENDS: Final = ("event", "class", "mirrored", "mirrors", "means", "retry_after", "wait")
_WORDS: Final = ("meaning", "source", "provider")
_HIDDEN: Final = ("example", "name")

_HEADER: Final = re.compile(r"^\[\[(\w+)\]\]")
_COMMENT: Final = re.compile(r"""^(?:[^"#]|"[^"]*")*#\s*(.*)$""")
_URL: Final = re.compile(r"https?://[^\s)]+")

Row: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Block:
    """The lines of one row or table, for the comments in them."""

    name: str
    comments: Mapping[str, str]  # by key; "" for the heading's


def reference() -> str:
    """The whole page."""
    return Template(_PAGE.read_text(encoding="utf-8")).substitute(
        kinds=_table(("event", "what happened"), ((f"`{kind}`", MEANINGS[kind]) for kind in EventType)),
        classes=_table(("class", "what it means"), ((f"`{one}`", CLASSES[one]) for one in BounceClass)),
        suppressions=_table(
            ("reason", "stops", "how an address comes to it"),
            ((f"`{one}`", REASONS[one][0], REASONS[one][1]) for one in SuppressionReason),
        ),
        relays="\n".join(map(_file, sorted((_PACKAGE / "relays").glob("*/*.toml")))),
        servers=_file(_PACKAGE / "replies" / "smtp_replies.toml"),
    )


def _file(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    blocks = list(_blocks(text))
    name = str(path.relative_to(_PACKAGE.parent))
    parts = [f"### {path.parent.name}: {path.stem.replace('_', ' ')}", f"`{name}`{_sources(text)}"]
    for key, value in tables.items():
        comments = [block.comments for block in blocks if block.name == key]
        if isinstance(value, dict):
            parts.append(_words_table(key, value, comments[0] if comments else {}))
        elif isinstance(value, list):
            parts.append(_rows_table(key, value, comments))
    return "\n\n".join(parts) + "\n"


def _sources(text: str) -> str:
    """Where the tables come from, as their own comments say; a row's own source stands in the row."""
    lines = [line for line in text.splitlines() if line.startswith("#")]
    found = list(dict.fromkeys(url.rstrip(".,;") for line in lines for url in _URL.findall(line)))
    return f", after {', '.join(f'<{url}>' for url in found)}" if found else ""


def _blocks(text: str) -> Iterator[_Block]:
    name, comments = "", dict[str, str]()
    for line in text.splitlines():
        found = _HEADER.match(line) or re.match(r"^\[(\w+)\]", line)
        if found:
            if name:
                yield _Block(name, comments)
            name, comments = found[1], {}
        comment = _COMMENT.match(line)
        if comment and not line.startswith("#"):
            key = "" if found else line.partition("=")[0].strip().strip('"')
            comments[key] = comment[1].strip()
    if name:
        yield _Block(name, comments)


def _words_table(name: str, words: Row, comments: Mapping[str, str]) -> str:
    rows = (
        (f"`{word}`", _value(meaning), _escaped(comments.get(word, ""))) for word, meaning in words.items()
    )
    return f"#### {name}\n\n" + _table((name, "means", "why"), rows)


def _rows_table(name: str, rows: Sequence[Row], comments: Sequence[Mapping[str, str]]) -> str:
    said = [*comments, *({} for _ in range(len(rows) - len(comments)))]
    lines = ((_conditions(row), _end(row), _why(row, note)) for row, note in zip(rows, said, strict=True))
    return f"#### {name}\n\n" + _table(("when", "then", "why"), lines)


def _conditions(row: Row) -> str:
    asked = [f"{key} {_value(value)}" for key, value in row.items() if key not in (*_ENDS, *_WORDS, *_HIDDEN)]
    return "; ".join(asked) or "anything else"


def _end(row: Row) -> str:
    """A row that names no event is about a bounce's class, or a reply's."""
    return ", ".join(f"{_ALSO.get(key, '')} {_value(row[key])}".strip() for key in _ENDS if key in row)


def _why(row: Row, comments: Mapping[str, str]) -> str:
    said = [str(row[key]) for key in _WORDS if key in row]
    said += [comment for comment in comments.values() if comment not in said]
    return _escaped("; ".join(f"<{one}>" if _URL.fullmatch(one) else one for one in said))


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if isinstance(value, dict):
        return "; ".join(f"{key} {_value(item)}" for key, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{_escaped(str(value))}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])
