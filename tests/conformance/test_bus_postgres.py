"""The embedded bus keeps the laws of both ports, and the promises of its own: floor, quarantine, hints."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from event_log_laws import EventLogLaws, callback, drained, failing, numbers, rest
from job_source_laws import TRANSACTIONAL, JobSourceHarness, JobSourceLaws, ids_of, take
from stored_jobs import (
    Eyes,
    Letter,
    Stored,
    StoredEvent,
    accept,
    cancel,
    enlisted,
    make_days,
    new_worker,
    open_eyes,
    reschedule,
    residual,
)

from posthouse.bus.port import EventLog, JobSource
from posthouse.bus.postgres import PostgresCallbacks, PostgresHints, PostgresJobs, QuarantinedJobs
from posthouse.clock import ManualClock
from posthouse.domain.errors import NotNow
from posthouse.domain.ids import InstanceId, JobId
from posthouse.domain.job import ClaimedJob, Status
from posthouse.domain.stream import Stream
from posthouse.storage.db import Database, PoolKind, open_pool
from posthouse.storage.hints import Hinter, Listener
from posthouse.storage.sql import Queries


class Jobs:
    """JobSourceHarness: each source as a process of its own would have it, on one pool."""

    one_order = True

    def __init__(self, db: Database, listener: Listener, hints: PostgresHints, eyes: Eyes) -> None:
        self.db = db
        self.clock = ManualClock()
        self.eyes = eyes
        self._listener = listener
        self._hints = hints

    async def source(self, stream: Stream = TRANSACTIONAL) -> tuple[JobSource, InstanceId]:
        worker = await enlisted(self.db, stream)
        return PostgresJobs(self.db, self._listener, self.clock, stream, worker), worker

    async def unlucky_source(self) -> tuple[JobSource, InstanceId]:
        worker = await enlisted(self.db)
        return _AnswerLost(self.db, self._listener, self.clock, TRANSACTIONAL, worker), worker

    async def end(self, source: JobSource) -> None:
        """It has nothing but its connections."""

    async def accept(self, letters: Sequence[Letter]) -> list[JobId]:
        ids = await accept(self.db, letters)
        for stream in sorted({letter.stream for letter in letters}):
            self._hints.jobs_due(stream)
        return ids

    async def suppress(self, address: str, *, scope: str, expires_in: timedelta | None) -> None:
        ends = "NULL" if expires_in is None else f"now() + interval '{expires_in.total_seconds()} s'"
        await self.eyes.run(f"""
            INSERT INTO email_suppression (address_key, scope, reason, source, expires_at)
            VALUES ('{address}', '{scope}', 'BOUNCE', 'event', {ends})""")

    async def standing(self, ids: Sequence[JobId]) -> list[Stored]:
        return await self.eyes.standing(ids)

    async def events(self, job_id: JobId) -> list[StoredEvent]:
        return await self.eyes.events(job_id)

    async def cancel(self, ids: Sequence[JobId]) -> None:
        await cancel(self.db, ids)

    async def reschedule(self, ids: Sequence[JobId], wait: timedelta) -> None:
        await reschedule(self.db, ids, wait)

    async def residual(self) -> list[str]:
        return await residual(self.db)


class _AnswerLost(PostgresJobs):
    """The connection breaks after the commit of the first claim that took something."""

    _lost = False

    async def take(self, limit: int) -> list[ClaimedJob]:
        answer = await super().take(limit)
        if answer and not self._lost:
            self._lost = True
            raise NotNow("The database is not available: the connection was lost.")
        return answer


@asynccontextmanager
async def jobs_harness(db: Database) -> AsyncIterator[Jobs]:
    rng = random.Random(1)
    async with (
        Hinter(db.dsn, rng=rng).running() as hinter,
        Listener(db.dsn, rng=rng).running() as listener,
        AsyncExitStack() as stack,
    ):
        eyes = await open_eyes(db.dsn)
        stack.push_async_callback(eyes.close)
        yield Jobs(db, listener, PostgresHints(hinter), eyes)


class TestPostgresJobs(JobSourceLaws):
    @pytest.fixture
    async def harness(self, queue_database: Database) -> AsyncIterator[JobSourceHarness]:
        async with jobs_harness(queue_database) as harness:
            yield harness


class Callbacks:
    """EventLogHarness."""

    parts = 1

    def __init__(self, dsn: str, queries: Queries, eyes: Eyes) -> None:
        self._dsn = dsn
        self._queries = queries
        self._eyes = eyes
        self._processes = AsyncExitStack()
        self._db: Database | None = None

    async def log(self) -> EventLog:
        if self._db is None:
            rng = random.Random(1)
            self._db = await open_pool(self._dsn, PoolKind.GENERAL, self._queries)
            self._processes.push_async_callback(self._db.close)
            self._hinter = await self._processes.enter_async_context(Hinter(self._dsn, rng=rng).running())
            self._listener = await self._processes.enter_async_context(Listener(self._dsn, rng=rng).running())
        return PostgresCallbacks(self._db, self._listener, PostgresHints(self._hinter).callbacks_waiting)

    async def end(self, log: EventLog) -> None:
        """What it held it gave back when its transaction ended."""

    async def dead_letters(self) -> list[tuple[str, str, bytes]]:
        return await self._eyes.dead_letters()

    async def let_pass(self, time: timedelta) -> None:
        await self._eyes.run(
            f"UPDATE relay_inbox SET not_before = not_before - interval '{time.total_seconds()} s'"
        )

    async def restart(self) -> None:
        await self._processes.aclose()
        self._processes, self._db = AsyncExitStack(), None

    async def cut_readers(self) -> None:
        """The server ends every connection that holds records, as a fail-over does."""
        await self._eyes.run("""
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND state = 'idle in transaction'""")

    async def close(self) -> None:
        await self._processes.aclose()


class TestPostgresCallbacks(EventLogLaws):
    @pytest.fixture
    async def harness(self, pg_dsn: str, queries: Queries) -> AsyncIterator[Callbacks]:
        eyes = await open_eyes(pg_dsn)
        harness = Callbacks(pg_dsn, queries, eyes)
        yield harness
        await harness.close()
        await eyes.close()

    async def test_one_reader_goes_on_while_another_holds(self, harness: Callbacks) -> None:
        first, second = await harness.log(), await harness.log()
        await first.append([callback(n) for n in range(4)])
        async with failing(first, 2) as batch:
            assert numbers(batch.callbacks) == [0, 1]
            assert await drained(second, 2) == [2, 3]
        assert await rest(harness, second) == [0, 1]

    async def test_a_lost_connection_gives_back_what_was_held(self, harness: Callbacks) -> None:
        log = await harness.log()
        await log.append([callback(1)])

        async def read_and_be_cut() -> None:
            async with log.read(10) as batch:
                assert len(batch.callbacks) == 1
                await harness.cut_readers()

        with pytest.raises(NotNow):
            await read_and_be_cut()
        assert await drained(await harness.log(), 1) == [1]


@pytest.fixture
async def jobs(queue_database: Database) -> AsyncIterator[Jobs]:
    async with jobs_harness(queue_database) as harness:
        yield harness


async def test_the_floor_never_leaves_an_older_job_behind(jobs: Jobs) -> None:
    source, _ = await jobs.source()
    await jobs.accept([Letter()])
    assert len(await source.take(10)) == 1
    # Accepted an hour ago by its due_at: a retry, or a host whose clock is behind.
    (older,) = await jobs.accept([Letter(due_in=timedelta(hours=-1))])
    jobs.clock.advance(0.9)
    assert await source.take(10) == []
    jobs.clock.advance(0.1)
    assert ids_of(await source.take(10)) == [older]


async def test_a_job_just_below_the_newest_is_above_the_floor(jobs: Jobs) -> None:
    source, _ = await jobs.source()
    await jobs.accept([Letter()])
    assert len(await source.take(10)) == 1
    (recent,) = await jobs.accept([Letter(due_in=timedelta(seconds=-20))])
    assert ids_of(await source.take(10)) == [recent]


async def test_claims_that_only_end_jobs_move_the_floor_too(jobs: Jobs) -> None:
    source, _ = await jobs.source()
    await jobs.accept([Letter(expires_in=timedelta(seconds=-1))])
    assert await source.take(10) == []
    (older,) = await jobs.accept([Letter(due_in=timedelta(hours=-1))])
    assert await source.take(10) == []
    jobs.clock.advance(1.0)
    assert ids_of(await source.take(10)) == [older]


async def test_jobs_of_another_day_are_taken_at_full_speed_once_one_is_seen(jobs: Jobs) -> None:
    """A scheduled campaign: accepted three days ago, due now."""
    await make_days(jobs.db, [datetime.now(UTC).date() - timedelta(days=3)])
    source, _ = await jobs.source()
    await jobs.accept([Letter()])
    assert len(await source.take(10)) == 1
    scheduled = await accept(
        jobs.db, [Letter(due_in=timedelta(days=3), expires_in=timedelta(days=4))] * 30, days_ago=3
    )
    assert await source.take(10) == []
    jobs.clock.advance(0.25)  # the next look of who has nothing to do
    taken = [job for _ in range(3) for job in await source.take(10)]
    assert sorted(ids_of(taken)) == scheduled


async def test_the_oldest_due_come_first(jobs: Jobs) -> None:
    ids = await jobs.accept([Letter(due_in=timedelta(seconds=-n)) for n in range(20)])
    source, _ = await jobs.source()
    taken = [job for _ in range(2) for job in await source.take(10)]
    assert ids_of(taken) == ids[::-1]


@pytest.fixture
def emptied() -> list[str]:
    """One entry for each time that the quarantine was found empty."""
    return []


@pytest.fixture
def quarantine(jobs: Jobs, emptied: list[str]) -> JobSource:
    return QuarantinedJobs(jobs.db, TRANSACTIONAL, new_worker(), lambda: emptied.append("empty"))


async def kill_twice(jobs: Jobs, ids: Sequence[JobId]) -> None:
    listed = ", ".join(f"'{job_id}'" for job_id in ids)
    await jobs.eyes.run(f"UPDATE email_job SET deaths = 2 WHERE job_id IN ({listed})")


async def test_a_mail_that_two_workers_died_of_is_taken_only_in_quarantine(
    jobs: Jobs, quarantine: JobSource, emptied: list[str]
) -> None:
    deadly, harmless = await jobs.accept([Letter(), Letter()])
    await kill_twice(jobs, [deadly])
    source, _ = await jobs.source()
    assert ids_of(await source.take(10)) == [harmless]
    (job,) = await quarantine.take(10)
    assert (job.job_id, job.attempt, job.deaths) == (deadly, 1, 2)
    assert emptied == []
    assert await quarantine.take(10) == []
    assert emptied == ["empty"]
    assert await quarantine.release([job.held], None) == 1
    assert len(await take(quarantine, 1)) == 1
    assert await residual(jobs.db) == []


async def test_quarantine_takes_one_at_a_time(jobs: Jobs, quarantine: JobSource) -> None:
    ids = await jobs.accept([Letter(), Letter()])
    await kill_twice(jobs, ids)
    assert await quarantine.take(0) == []
    quarantine.pause()
    assert await quarantine.take(1) == []
    quarantine.resume()
    assert ids_of(await quarantine.take(100)) == ids[:1]
    assert await quarantine.disown(set()) == 1


async def test_quarantine_checks_suppression_and_expiry_too(
    jobs: Jobs, quarantine: JobSource, emptied: list[str]
) -> None:
    await jobs.suppress("dead@inbox.test", scope="all", expires_in=None)
    ids = await jobs.accept(
        [
            Letter("dead@inbox.test"),
            Letter(expires_in=timedelta(seconds=-1)),
            Letter(),
            Letter(stream=Stream.MARKETING),
        ]
    )
    await kill_twice(jobs, ids)
    assert ids_of(await take(quarantine, 1)) == ids[2:3]
    assert emptied == []
    ends = [stored.status for stored in await jobs.standing(ids)]
    assert ends == [Status.SUPPRESSED, Status.EXPIRED, Status.SENDING, Status.PENDING]
    assert [event.type for event in await jobs.events(ids[0])] == ["suppressed"]
    assert await residual(jobs.db) == []


async def test_a_job_that_changed_hands_meanwhile_is_claimed_at_its_newest(jobs: Jobs) -> None:
    """Claimed and given back by others between a taker's snapshot and its lock: attempts still only rise."""
    ids = await jobs.accept([Letter()] * 40)
    sources = [(await jobs.source())[0] for _ in range(4)]
    attempts: dict[UUID, list[int]] = {job_id: [] for job_id in ids}

    async def juggle(source: JobSource, turns: int) -> None:
        for _ in range(turns):
            taken = await source.take(10)
            for job in taken:
                attempts[job.job_id].append(job.attempt)
            assert await source.release([job.held for job in taken], None) == len(taken)

    async with asyncio.TaskGroup() as all_at_once:
        for source in sources:
            all_at_once.create_task(juggle(source, 40))
    for seen in attempts.values():
        assert sorted(seen) == list(range(1, len(seen) + 1))
    assert await residual(jobs.db) == []
