"""Two spans of ids: the day partitions that a statement has to do with.

A statement opens every partition that its plan names before it reads the first row: with 45 days, a third of
what a claim of 32 mails cost. `job_id BETWEEN $3 AND $4 OR job_id BETWEEN $5 AND $6` takes the other days out
as the statement starts (before PostgreSQL 18 only of what is read, not of what an UPDATE may write). One span
would be taken for something to read (`move_jobs` read all of it for each row); no index serves the OR of two,
once bitmap scans are off (docs/adr/0001).

Who locks or updates rows within spans names them by `= ANY`, never by a join. When another transaction has
changed one of them after the statement began, PostgreSQL 18.6 looks at that row once more, and where a join
takes days out too, it applies the spans twice: the rows that follow are not found. A join will do where an
earlier statement has locked the rows (`move_jobs`).
"""

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple
from uuid import UUID

from posthouse.domain.ids import first_of_day

_DAY: Final = first_of_day(date(1970, 1, 2)).int
_NONE: Final = UUID(int=0)
_LAST: Final = UUID(int=(1 << 128) - 1)


class Spans(NamedTuple):
    """Both ends of a span belong to it. In the order in which statements take them."""

    low: UUID
    high: UUID
    other_low: UUID
    other_high: UUID


EVERYTHING: Final = Spans(_NONE, _LAST, _NONE, _NONE)


class Look(NamedTuple):
    """What one look at the queue takes in."""

    floor: datetime  # nothing that was due earlier
    spans: Spans  # nothing that was accepted on other days


WIDE: Final = Look(datetime(1970, 1, 1, tzinfo=UTC), EVERYTHING)


def spans_of(ids: Collection[UUID]) -> Spans:
    """What holds these ids, without most of the days between them: cut at the widest gap."""
    if not ids:
        return Spans(_NONE, _NONE, _NONE, _NONE)
    numbers = [one.int for one in ids]
    low, high = min(numbers), max(numbers)
    if high - low < _DAY:
        return Spans(UUID(int=low), UUID(int=high), _NONE, _NONE)
    numbers.sort()
    _, before, after = max((b - a, a, b) for a, b in pairwise(numbers))
    return Spans(UUID(int=low), UUID(int=before), UUID(int=after), UUID(int=high))


def last_of_day(day: date) -> UUID:
    """The largest value of a day's partition. Only a bound."""
    return UUID(int=first_of_day(day + timedelta(days=1)).int - 1)
