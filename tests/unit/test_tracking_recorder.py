"""The way of a reader's event to a database that comes and goes, without waiting for real time to pass."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from posthouse.clock import SystemClock
from posthouse.domain.errors import NotNow
from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import EventId, JobId
from posthouse.telemetry import Metrics
from posthouse.web.recorder import BATCH, Pace, Recorder
from posthouse.web.spool import Spool

FAST = Pace(flush_every=0.001, give_up_after=0.05, look_again_after=0.005, in_memory=3_000)


def event(number: int) -> Event:
    return Event(
        JobId(UUID(int=1)),
        EventId(UUID(int=number)),
        0,
        EventType.OPENED,
        Origin.READER,
        datetime(2026, 3, 4, tzinfo=UTC),
    )


@dataclass
class Store:
    """A database that can be away, hang, or refuse one event, and that keeps each event once."""

    away: bool = False
    hangs: bool = False
    poison: Event | None = None
    recorded: dict[EventId, Event] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def record(self, events: Sequence[Event]) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise NotNow("away")
        if self.poison in events:
            raise ValueError("a bug")
        self.batches.append(len(events))
        self.recorded |= {e.event_id: e for e in events}
        async with self.changed:
            self.changed.notify_all()

    async def has(self, count: int) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: len(self.recorded) >= count)


@dataclass
class Setting:
    store: Store
    spool: Spool
    metrics: Metrics
    folder: Path

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Recorder]:
        recorder = Recorder(
            self.store.record, self.spool, clock=SystemClock(), metrics=self.metrics, pace=FAST
        )
        async with recorder.running():
            yield recorder

    def dropped(self) -> float:
        value = self.metrics.registry.get_sample_value("posthouse_tracking_dropped_total")
        assert value is not None
        return value

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110 -- nothing tells of a file
                await asyncio.sleep(0)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(Store(), Spool(tmp_path, max_bytes=1_000_000), Metrics(), tmp_path)


async def test_events_are_joined_into_batches(setting: Setting) -> None:
    async with setting.running() as recorder:
        for number in range(BATCH + 10):
            recorder.offer(event(number))
        await setting.store.has(BATCH + 10)
    assert setting.store.batches == [BATCH, 10]
    assert list(setting.folder.iterdir()) == []


async def test_what_waits_at_the_end_is_recorded(setting: Setting) -> None:
    async with setting.running() as recorder:
        recorder.offer(event(1))
    assert list(setting.store.recorded) == [event(1).event_id]


async def test_an_outage_goes_through_the_spool(setting: Setting) -> None:
    setting.store.away = True
    async with setting.running() as recorder:
        for number in range(10):
            recorder.offer(event(number))
        await setting.until(lambda: setting.spool.size() > 0)
        recorder.offer(event(10))
        setting.store.away = False
        await setting.store.has(11)
        await setting.until(lambda: setting.spool.size() == 0)
    assert setting.dropped() == 0


async def test_a_database_that_hangs_is_away(setting: Setting) -> None:
    setting.store.hangs = True
    async with setting.running() as recorder:
        recorder.offer(event(1))
        await setting.until(lambda: setting.spool.size() > 0)
        setting.store.hangs = False
        await setting.store.has(1)


async def test_the_next_start_records_what_this_one_could_not(setting: Setting) -> None:
    setting.store.away = True
    async with setting.running() as recorder:
        recorder.offer(event(1))
    setting.store.away = False
    async with setting.running():
        await setting.store.has(1)


async def test_a_replay_that_breaks_off_doubles_nothing(setting: Setting) -> None:
    setting.spool.append([event(n) for n in range(2 * BATCH)])
    record = setting.store.record

    async def breaks_off(events: Sequence[Event]) -> None:
        if len(setting.store.recorded) == BATCH and setting.store.batches.count(BATCH) < 2:
            setting.store.batches.append(BATCH)
            raise NotNow("away")
        await record(events)

    recorder = Recorder(breaks_off, setting.spool, clock=SystemClock(), metrics=setting.metrics, pace=FAST)
    async with recorder.running():
        await setting.store.has(2 * BATCH)
        await setting.until(lambda: setting.spool.size() == 0)
    assert len(setting.store.recorded) == 2 * BATCH


async def test_an_event_that_cannot_be_recorded_holds_up_no_other(setting: Setting) -> None:
    setting.store.poison = event(3)
    async with setting.running() as recorder:
        for number in range(10):
            recorder.offer(event(number))
        await setting.store.has(9)
    assert event(3).event_id not in setting.store.recorded
    assert setting.dropped() == 1


async def test_a_full_memory_drops_and_counts(setting: Setting) -> None:
    setting.store.hangs = True
    async with setting.running() as recorder:
        for number in range(FAST.in_memory + 7):
            recorder.offer(event(number))
        assert setting.dropped() == 7
        setting.store.hangs = False
    assert len(setting.store.recorded) == FAST.in_memory


async def test_a_full_spool_drops_and_counts(tmp_path: Path) -> None:
    setting = Setting(Store(away=True), Spool(tmp_path, max_bytes=1_000), Metrics(), tmp_path)
    async with setting.running() as recorder:
        for number in range(20):
            recorder.offer(event(number))
        await setting.until(lambda: setting.dropped() > 0)
        setting.store.away = False
        await setting.until(lambda: len(setting.store.recorded) + setting.dropped() == 20)
    assert setting.store.recorded
