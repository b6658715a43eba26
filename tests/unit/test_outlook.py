"""Where takers look: no further than they must, and never past a job for longer than a second."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from posthouse.bus.outlook import WIDE_EVERY, WIDE_WHEN_IDLE, Outlook
from posthouse.clock import ManualClock
from posthouse.domain.ids import JobId, first_of_day, first_of_moment
from posthouse.storage.spans import WIDE, Look, Spans, last_of_day

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
TODAY = NOON.date()
DUE = NOON - timedelta(minutes=1)


def job_of(day: date) -> JobId:
    return JobId(UUID(int=first_of_day(day).int + 7))


def whole(first: date, last: date) -> tuple[UUID, UUID]:
    return first_of_day(first), last_of_day(last)


def an_outlook(at: datetime = NOON) -> tuple[Outlook, ManualClock]:
    clock = ManualClock(at)
    clock.advance(100.0)
    return Outlook(clock), clock


def look(outlook: Outlook, reached: datetime | None, *jobs: JobId) -> Look:
    """One look, and what it found."""
    at = outlook.next()
    outlook.saw(at, reached, jobs)
    return at


def test_the_first_look_is_at_everything() -> None:
    outlook, _ = an_outlook()
    assert look(outlook, None) == WIDE
    assert look(outlook, None) == WIDE  # nothing is known as long as nothing was found


def test_the_next_is_at_today_and_half_a_minute_back() -> None:
    outlook, _ = an_outlook()
    look(outlook, DUE, job_of(TODAY))
    assert outlook.next() == Look(
        DUE - timedelta(seconds=30), Spans(*whole(TODAY, TODAY), *whole(TODAY, TODAY))
    )


def test_around_midnight_both_days_are_today() -> None:
    for moment in (datetime(2026, 11, 24, 0, 30, tzinfo=UTC), datetime(2026, 11, 23, 23, 20, tzinfo=UTC)):
        outlook, _ = an_outlook(moment)
        look(outlook, moment, job_of(moment.date()))
        assert outlook.next().spans[:2] == whole(TODAY - timedelta(days=1), TODAY)


def test_a_day_in_which_a_wide_look_found_something_is_looked_into() -> None:
    outlook, clock = an_outlook()
    old = TODAY - timedelta(days=20)
    look(outlook, DUE, job_of(TODAY), job_of(old), job_of(old + timedelta(days=2)))
    found = Spans(*whole(TODAY, TODAY), *whole(old, old + timedelta(days=2)))
    assert look(outlook, DUE, job_of(old)).spans == found
    assert look(outlook, DUE, job_of(TODAY)).spans == found  # until the next wide look
    clock.advance(WIDE_EVERY)
    assert look(outlook, DUE, job_of(TODAY)) == WIDE
    assert outlook.next().spans == Spans(*whole(TODAY, TODAY), *whole(TODAY, TODAY))


def test_a_taker_that_is_busy_looks_wide_once_a_second_and_an_idle_one_more_often() -> None:
    outlook, clock = an_outlook()
    look(outlook, DUE, job_of(TODAY))
    clock.advance(WIDE_WHEN_IDLE)
    assert look(outlook, None) != WIDE
    assert look(outlook, None) == WIDE
    assert look(outlook, None) != WIDE
    clock.advance(WIDE_WHEN_IDLE)
    assert look(outlook, DUE, job_of(TODAY)) == WIDE
    clock.advance(WIDE_EVERY - 0.1)
    assert look(outlook, DUE, job_of(TODAY)) != WIDE
    clock.advance(0.1)
    assert outlook.next() == WIDE


def test_what_is_today_follows_the_clock() -> None:
    outlook, clock = an_outlook()
    look(outlook, DUE, job_of(TODAY))
    look(outlook, DUE, job_of(TODAY))
    clock.advance(timedelta(days=1).total_seconds())
    look(outlook, DUE, job_of(TODAY))  # wide, after so long
    tomorrow = TODAY + timedelta(days=1)
    assert outlook.next().spans == Spans(*whole(tomorrow, tomorrow), *whole(TODAY, TODAY))


def test_the_bounds_of_a_day_are_its_own() -> None:
    assert last_of_day(TODAY) < first_of_moment(datetime(2026, 11, 25, tzinfo=UTC))
    assert last_of_day(TODAY).int + 1 == first_of_day(TODAY + timedelta(days=1)).int
