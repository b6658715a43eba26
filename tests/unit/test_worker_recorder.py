"""Results are committed in groups, in order, and nobody is told before they are."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from posthouse.domain.errors import NotNow
from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import JobId, own_event_id, uuid7
from posthouse.worker import recorder as recorder_module
from posthouse.worker.recorder import GROUP, Recorder, RecorderEnded

PATIENCE = 10.0


def events(first: int, n: int = 1) -> list[Event]:
    return [_event(JobId(uuid7(number, number))) for number in range(first, first + n)]


def _event(job_id: JobId) -> Event:
    return Event(
        job_id=job_id,
        event_id=own_event_id(job_id, 1, "sent"),
        attempt=1,
        type=EventType.SENT,
        origin=Origin.HANDOVER,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


class Book:
    """Records what it is told, one group at a time, as the test allows."""

    def __init__(self) -> None:
        self.groups: list[Sequence[Event]] = []
        self.begun = asyncio.Semaphore(0)
        self.allowed = asyncio.Semaphore(0)
        self.troubles: list[Exception] = []

    async def record(self, group: Sequence[Event]) -> None:
        self.begun.release()
        await self.allowed.acquire()
        if self.troubles:
            raise self.troubles.pop(0)
        self.groups.append(group)


@asynccontextmanager
async def running(recorder: Recorder) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(recorder.run())
    try:
        async with asyncio.timeout(PATIENCE):
            yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def told(recorder: Recorder, *parts: list[Event]) -> list[asyncio.Task[None]]:
    """Callers that wait for their part, in this order."""
    tasks = [asyncio.create_task(recorder.recorded(part)) for part in parts]
    await asyncio.sleep(0)
    return tasks


async def test_what_arrives_while_a_group_commits_forms_the_next_in_order() -> None:
    book = Book()
    recorder = Recorder(book.record)
    async with running(recorder):
        (first,) = await told(recorder, events(0))
        await book.begun.acquire()
        later = await told(recorder, events(1, 2), events(3), events(4, 3))
        book.allowed.release()
        await first
        await book.begun.acquire()
        assert not any(task.done() for task in later)
        book.allowed.release()
        await asyncio.gather(*later)
    assert book.groups == [events(0), events(1, 6)]


async def test_a_group_has_a_bound_but_no_part_is_split() -> None:
    book = Book()
    recorder = Recorder(book.record)
    parts = [events(0, GROUP - 1), events(1000, 2), events(2000, GROUP + 50), events(3000)]
    tasks = await told(recorder, *parts)
    for _ in parts:
        book.allowed.release()
    async with running(recorder):
        await asyncio.gather(*tasks)
    assert [len(group) for group in book.groups] == [GROUP - 1, 2, GROUP + 50, 1]


async def test_nothing_to_record_waits_for_nothing() -> None:
    async with asyncio.timeout(PATIENCE):
        await Recorder(Book().record).recorded([])


async def test_a_database_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "RETRY_EVERY", 0.0)
    book = Book()
    book.troubles = [NotNow("away"), NotNow("away")]
    recorder = Recorder(book.record)
    async with running(recorder):
        (task,) = await told(recorder, events(0))
        for _ in range(3):
            await book.begun.acquire()
            assert not task.done()
            book.allowed.release()
        await task
    assert book.groups == [events(0)]


async def test_a_bug_ends_the_recorder_for_everybody_who_waits_then_and_later() -> None:
    book = Book()
    book.troubles = [ZeroDivisionError("a bug")]
    recorder = Recorder(book.record)
    async with running(recorder) as run:
        (first,) = await told(recorder, events(0))
        await book.begun.acquire()
        (second,) = await told(recorder, events(1))
        book.allowed.release()
        for task in (run, first, second):
            with pytest.raises(ZeroDivisionError):
                await task
        with pytest.raises(RecorderEnded):
            await recorder.recorded(events(2))
    assert book.groups == []


async def test_who_waits_when_the_recorder_is_stopped_is_not_told_that_it_is_done() -> None:
    book = Book()
    recorder = Recorder(book.record)
    async with running(recorder) as run:
        (first,) = await told(recorder, events(0))
        await book.begun.acquire()
        (second,) = await told(recorder, events(1))
        run.cancel()
        done, _ = await asyncio.wait({first, second})
        assert {task.cancelled() for task in done} == {True}


async def test_a_caller_that_gives_up_does_not_disturb_the_others() -> None:
    book = Book()
    recorder = Recorder(book.record)
    tasks = await told(recorder, events(0), events(1))
    tasks[0].cancel()
    book.allowed.release()
    async with running(recorder):
        await tasks[1]
    assert book.groups == [events(0, 2)]
