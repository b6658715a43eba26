"""Dead letters: what could not be processed, kept whole with its reason. SQL in queries/letters.sql."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from posthouse.storage.db import Database, Session


@dataclass(frozen=True, slots=True)
class DeadLetter:
    source: str
    reason: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Headline:
    """A dead letter without its payload. Fields in the order of the query's columns."""

    dead_letter_id: int
    source: str
    reason: str
    created_at: datetime
    payload_bytes: int


async def bury(session: Database | Session, letters: Sequence[DeadLetter]) -> None:
    """Keep letters for the operator. Raises NotNow."""
    if letters:
        await session.execute(
            "bury",
            [letter.source for letter in letters],
            # PostgreSQL's text holds every character but this one.
            [letter.reason.replace("\0", "\N{SYMBOL FOR NULL}") for letter in letters],
            [letter.payload for letter in letters],
        )


async def by_source(session: Database | Session) -> dict[str, int]:
    """How many dead letters each source has. Raises NotNow."""
    return dict(await session.fetch_into(_counted, "dead_letters_by_source"))


async def newest(session: Database | Session, limit: int) -> list[Headline]:
    """The newest dead letters, newest first. Raises NotNow."""
    return await session.fetch_into(Headline, "newest_dead_letters", limit)


def _counted(source: str, letters: int) -> tuple[str, int]:
    return source, letters
