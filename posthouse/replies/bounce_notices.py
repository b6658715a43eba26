"""Which mails report something: the words of `bounce_notices.toml`, ready to be looked for."""

from collections.abc import Iterator
from enum import StrEnum
from importlib import resources
from typing import Final

import msgspec

from posthouse.replies.bounce_rules import Phrases, any_within, phrases_of


class Says(StrEnum):
    FAILED = "failed"
    DELAYED = "delayed"
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


NOTICES: Final = _rows()

#: The words of a returned mail's marker, longest first: the earliest place of any of them counts.
RETURNED: Final = tuple(
    phrase for notice in NOTICES if notice.says is Says.RETURNED for phrase in notice.phrases
)


def _gathered() -> Iterator[tuple[tuple[Says, Place, bool], Phrases]]:
    for key in {(notice.says, notice.place, notice.sure) for notice in NOTICES}:
        rows = [notice for notice in NOTICES if (notice.says, notice.place, notice.sure) == key]
        yield key, phrases_of([phrase for notice in rows for phrase in notice.phrases])


_PHRASES: Final = dict(_gathered())


def says(what: Says, place: Place, text: str, *, sure: bool) -> bool:
    """Whether `text`, in lower case and with single spaces, has words that say so."""
    return any_within(_PHRASES.get((what, place, sure), ()), text)
