"""Which mails report something: the words of `bounce_notices.toml`, ready to be looked for."""

from collections import defaultdict
from enum import StrEnum
from importlib import resources
from typing import Final, TypeAlias

import msgspec

from posthouse.replies.phrases import PhraseBook


class Says(StrEnum):
    FAILED = "failed"
    DELAYED = "delayed"
    GAVE_UP = "gave_up"
    AUTO_REPLY = "auto_reply"
    OTHER = "other"
    RETURNED = "returned"


class Place(StrEnum):
    TEXT = "text"
    SUBJECT = "subject"
    SENDER = "sender"


class Notice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row. `sure`: its words decide alone."""

    name: str
    says: Says
    place: Place
    phrases: tuple[str, ...]
    source: str
    example: str
    sure: bool = False


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    notice: tuple[Notice, ...]


def _rows() -> tuple[Notice, ...]:
    data = (resources.files("posthouse.replies") / "bounce_notices.toml").read_bytes()
    return msgspec.toml.decode(data, type=_Table).notice


#: What is said, and whether the words decide alone.
Said: TypeAlias = tuple[Says, bool]

NOTICES: Final = _rows()

#: The words of a returned mail's marker, longest first: the earliest place of any of them counts.
RETURNED: Final = tuple(
    phrase for notice in NOTICES if notice.says is Says.RETURNED for phrase in notice.phrases
)


def _by_place(place: Place) -> tuple[PhraseBook, dict[str, frozenset[Said]]]:
    said: dict[str, set[Said]] = defaultdict(set)
    for notice in NOTICES:
        if notice.place is place and notice.says is not Says.RETURNED:
            for phrase in notice.phrases:
                said[phrase].add((notice.says, notice.sure))
    return PhraseBook(said), {phrase: frozenset(meant) for phrase, meant in said.items()}


_BOOKS: Final = {place: _by_place(place) for place in Place}


def statements(place: Place, text: str) -> frozenset[Said]:
    """What a text says there. It is in lower case and has single spaces."""
    book, said = _BOOKS[place]
    return frozenset(one for phrase in book.found_in(text) for one in said[phrase])
