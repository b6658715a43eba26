"""How far a taker looks in the queue: how far back in time, and into which days."""

from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from posthouse.clock import Clock
from posthouse.domain.ids import JobId, day_of, first_of_day
from posthouse.storage.spans import EVERYTHING, WIDE, Look, Spans, last_of_day

#: Takers look no further back than this below the last due_at they took: under it lie dead index entries.
FLOOR_MARGIN: Final = timedelta(seconds=30)
#: One look in this time is at everything, so that nothing is ever left behind. Seconds.
WIDE_EVERY: Final = 1.0
#: The same for who found nothing and has nothing else to do.
WIDE_WHEN_IDLE: Final = 0.25
#: Jobs of today may carry yesterday's date or tomorrow's: midnight passes, and clocks differ.
AROUND_NOW: Final = timedelta(hours=1)


class Outlook:
    """Where one taker looks next: at today's jobs, and where its last wide look found older ones.

    Retries and scheduled mails fall due days after they were accepted. The first of a day is found by a wide
    look, and its day is looked into until a wide look finds nothing there any more.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._floor: datetime | None = None
        self._wide_at = 0.0
        self._found_nothing = False
        self._older: tuple[date, date] | None = None
        self._spans = EVERYTHING
        self._spans_for: tuple[date, date, tuple[date, date] | None] | None = None

    def next(self) -> Look:
        now = self._clock.monotonic()
        every = WIDE_WHEN_IDLE if self._found_nothing else WIDE_EVERY
        if self._floor is None or now - self._wide_at >= every:
            self._wide_at = now
            return WIDE
        return Look(self._floor, self._narrow())

    def saw(self, look: Look, reached: datetime | None, jobs: Collection[JobId]) -> None:
        """What the look found: the latest due_at of it, None when nothing was due, and whose jobs."""
        self._found_nothing = reached is None
        if reached is not None:
            self._floor = reached - FLOOR_MARGIN
        if look is WIDE:
            self._older = self._beside_recent(jobs)

    def _beside_recent(self, jobs: Collection[JobId]) -> tuple[date, date] | None:
        first, last = self._recent()
        days = {day for job in jobs if not first <= (day := day_of(job)) <= last}
        return (min(days), max(days)) if days else None

    def _recent(self) -> tuple[date, date]:
        now = self._clock.now()
        return (now - AROUND_NOW).date(), (now + AROUND_NOW).date()

    def _narrow(self) -> Spans:
        recent = self._recent()
        if self._spans_for != (*recent, self._older):
            first, last = self._older or recent
            self._spans = Spans(*_bounds(*recent), *_bounds(first, last))
            self._spans_for = (*recent, self._older)
        return self._spans


def _bounds(first: date, last: date) -> tuple[UUID, UUID]:
    return first_of_day(first), last_of_day(last)
