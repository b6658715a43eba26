"""Jobs between the table and a topic: queued in sets, claimed by id, due again when a topic loses them."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from stored_jobs import PATIENCE, Eyes, Letter, accept, enlisted, open_eyes, residual

from posthouse.bus.dispatcher import Dispatcher, JobTopic, Span, TopicState
from posthouse.clock import SystemClock
from posthouse.domain.errors import NotNow
from posthouse.domain.ids import DispatchId, InstanceId, JobId
from posthouse.domain.job import Held, Status
from posthouse.domain.stream import Stream
from posthouse.status.apply import Policy
from posthouse.status.changes import Changes
from posthouse.storage import dispatch, doctor, jobs
from posthouse.storage.db import Database
from posthouse.storage.dispatch import Flow, Place, Queued
from posthouse.storage.hints import Subscription
from posthouse.storage.spans import WIDE
from posthouse.telemetry import Metrics

TRANSACTIONAL, MARKETING = Stream.TRANSACTIONAL, Stream.MARKETING


@pytest.fixture
async def db(queue_database: Database) -> Database:
    return queue_database


@pytest.fixture
async def eyes(pg_dsn: str) -> AsyncIterator[Eyes]:
    opened = await open_eyes(pg_dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def worker(db: Database) -> InstanceId:
    return await enlisted(db)


async def queue(db: Database, limit: int = 100, stream: Stream = TRANSACTIONAL) -> Queued | None:
    return await dispatch.queue(db, stream, DispatchId(uuid4()), limit, WIDE)


async def queued(db: Database, letters: Sequence[Letter]) -> Queued:
    """These letters, accepted and queued."""
    ids = await accept(db, letters)
    found = await queue(db)
    assert found is not None
    assert sorted(job.job_id for job in found.jobs) == sorted(ids)
    return found


async def statuses(eyes: Eyes, ids: Sequence[JobId]) -> list[Status]:
    return [stored.status for stored in await eyes.standing(ids)]


def ids_of(found: Queued) -> list[JobId]:
    return [job.job_id for job in found.jobs]


# -- queueing -----------------------------------------------------------------------------------------------


async def test_due_jobs_are_queued_oldest_first_and_booked(db: Database, eyes: Eyes) -> None:
    ids = await accept(db, [Letter()] * 15)
    await accept(db, [Letter(due_in=timedelta(hours=1)), Letter(stream=MARKETING)])
    found = await queue(db, limit=10)
    assert found is not None
    assert found.jobs == [Held(job_id, 0) for job_id in ids[:10]]
    assert found.reached == (await eyes.job(ids[9])).due_at
    assert {stored.claimed_by for stored in await eyes.standing(ids[:10])} == {found.dispatch_id}
    assert await statuses(eyes, ids) == [Status.QUEUED] * 10 + [Status.PENDING] * 5
    assert await dispatch.flow(db, TRANSACTIONAL) == Flow(queued=10, taken=0)
    assert await residual(db) == []


async def test_nothing_due_makes_no_dispatch(db: Database) -> None:
    await accept(db, [Letter(due_in=timedelta(hours=1))])
    assert await queue(db) is None
    assert await dispatch.every(db) == []


async def test_mails_that_workers_died_of_stay_for_quarantine(db: Database, eyes: Eyes) -> None:
    (deadly,) = await accept(db, [Letter()])
    await eyes.run(f"UPDATE email_job SET deaths = 2 WHERE job_id = '{deadly}'")
    assert await queue(db) is None


async def test_dispatchers_at_the_same_time_never_queue_one_job_twice(db: Database) -> None:
    ids = await accept(db, [Letter()] * 1000)
    found: list[JobId] = []

    async def one() -> None:
        while len(found) < len(ids):
            if (part := await queue(db, limit=10)) is not None:
                found.extend(ids_of(part))

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as all_at_once:
        for _ in range(4):
            all_at_once.create_task(one())
    assert sorted(found) == sorted(ids)
    assert await residual(db) == []


# -- claiming by id -----------------------------------------------------------------------------------------


async def test_a_record_claims_its_job_once(db: Database, eyes: Eyes, worker: InstanceId) -> None:
    found = await queued(db, [Letter(f"{n}@inbox.test") for n in range(3)])
    claimed, decided = await jobs.claim_queued(db, TRANSACTIONAL, worker, found.jobs)
    assert [job.job_id for job in claimed] == ids_of(found)
    assert decided == set(ids_of(found))
    assert {job.attempt for job in claimed} == {1}
    for stored in await eyes.standing(ids_of(found)):
        assert (stored.status, stored.attempt, stored.claimed_by) == (Status.SENDING, 1, worker)
    assert await jobs.claim_queued(db, TRANSACTIONAL, worker, found.jobs) == ([], set())
    assert await dispatch.flow(db, TRANSACTIONAL) == Flow(queued=0, taken=3)
    assert await residual(db) == []


async def test_a_record_of_another_attempt_claims_nothing(db: Database, worker: InstanceId) -> None:
    found = await queued(db, [Letter()])
    (job,) = found.jobs
    for attempt in (job.attempt + 1, job.attempt - 1):
        other = Held(job.job_id, attempt)
        assert await jobs.claim_queued(db, TRANSACTIONAL, worker, [other]) == ([], set())


async def test_a_record_in_the_other_streams_topic_claims_nothing(db: Database, worker: InstanceId) -> None:
    found = await queued(db, [Letter()])
    assert await jobs.claim_queued(db, MARKETING, worker, found.jobs) == ([], set())
    (standing,) = (await jobs.standing_of(db, ids_of(found))).values()
    assert (standing.stream, standing.status, standing.attempt) == (TRANSACTIONAL, Status.QUEUED, 0)


async def test_a_job_that_is_not_due_is_left_queued(db: Database, eyes: Eyes, worker: InstanceId) -> None:
    found = await queued(db, [Letter()])
    await eyes.run("UPDATE email_job SET due_at = now() + interval '1 hour'")
    assert await jobs.claim_queued(db, TRANSACTIONAL, worker, found.jobs) == ([], set())
    assert await statuses(eyes, ids_of(found)) == [Status.QUEUED]


async def test_suppression_and_expiry_are_looked_up_in_the_claim(
    db: Database, eyes: Eyes, worker: InstanceId
) -> None:
    found = await queued(db, [Letter("dead@inbox.test"), Letter(), Letter("late@inbox.test")])
    gone, free, late = ids_of(found)
    await eyes.run(f"""
        INSERT INTO email_suppression (address_key, scope, reason, source)
        VALUES ('dead@inbox.test', 'all', 'BOUNCE', 'event');
        UPDATE email_job SET expires_at = now() WHERE job_id = '{late}'""")
    claimed, decided = await jobs.claim_queued(db, TRANSACTIONAL, worker, found.jobs)
    assert [job.job_id for job in claimed] == [free]
    assert decided == {gone, free, late}
    assert await statuses(eyes, [gone, late]) == [Status.SUPPRESSED, Status.EXPIRED]
    assert [event.type for event in await eyes.events(gone)] == ["suppressed"]
    assert await residual(db) == []


async def test_a_locked_job_is_passed_over_and_still_queued(db: Database, worker: InstanceId) -> None:
    found = await queued(db, [Letter(), Letter()])
    locked, free = ids_of(found)
    async with db.transaction() as tx:
        await tx.execute("lock_jobs", [locked], locked, locked)
        _, decided = await jobs.claim_queued(db, TRANSACTIONAL, worker, found.jobs)
        assert decided == {free}
        assert (await jobs.standing_of(db, [locked]))[locked].status is Status.QUEUED
    _, decided = await jobs.claim_queued(db, TRANSACTIONAL, worker, found.jobs)
    assert decided == {locked}


# -- what is changed while it is queued ---------------------------------------------------------------------


@pytest.fixture
def changes(db: Database) -> Changes:
    return Changes(db, Policy((), {}), random.Random(1))


async def test_a_cancelled_job_is_not_claimed(
    db: Database, eyes: Eyes, worker: InstanceId, changes: Changes
) -> None:
    found = await queued(db, [Letter()])
    (changed,) = (await changes.cancel(ids_of(found), "asked", datetime.now(UTC))).values()
    assert changed.done
    assert await jobs.claim_queued(db, TRANSACTIONAL, worker, found.jobs) == ([], set())
    assert await statuses(eyes, ids_of(found)) == [Status.CANCELLED]
    assert await residual(db) == []


async def test_an_old_record_finds_a_rescheduled_job_pending(
    db: Database, eyes: Eyes, worker: InstanceId, changes: Changes
) -> None:
    found = await queued(db, [Letter()])
    later = datetime.now(UTC) + timedelta(hours=1)
    await changes.reschedule(ids_of(found), later, later)
    assert await jobs.claim_queued(db, TRANSACTIONAL, worker, found.jobs) == ([], set())
    assert await statuses(eyes, ids_of(found)) == [Status.PENDING]
    # Closing what it was dispatched with takes nothing back that is not its own.
    assert await dispatch.close(db, [found.dispatch_id]) == 0
    assert await residual(db) == []


async def test_a_job_queued_again_belongs_to_its_new_dispatch(
    db: Database, eyes: Eyes, changes: Changes
) -> None:
    first = await queued(db, [Letter()])
    now = datetime.now(UTC)
    await changes.reschedule(ids_of(first), now, now)
    second = await queue(db)
    assert second is not None
    assert await dispatch.close(db, [first.dispatch_id]) == 0
    assert await statuses(eyes, ids_of(first)) == [Status.QUEUED]
    assert await dispatch.close(db, [second.dispatch_id]) == 1
    assert await statuses(eyes, ids_of(first)) == [Status.PENDING]
    assert await residual(db) == []


# -- dispatches ---------------------------------------------------------------------------------------------


async def test_a_closed_dispatch_gives_back_what_was_not_claimed(
    db: Database, eyes: Eyes, worker: InstanceId
) -> None:
    found = await queued(db, [Letter()] * 5)
    await jobs.claim_queued(db, TRANSACTIONAL, worker, found.jobs[:2])
    assert await dispatch.close(db, [found.dispatch_id]) == 3
    assert await statuses(eyes, ids_of(found)) == [Status.SENDING] * 2 + [Status.PENDING] * 3
    assert await dispatch.close(db, [found.dispatch_id]) == 0
    assert await dispatch.every(db) == []
    assert await residual(db) == []


async def test_a_dispatch_is_abandoned_only_unplaced_and_old(db: Database, eyes: Eyes) -> None:
    waiting = await queued(db, [Letter()])
    assert await dispatch.unplaced(db, TRANSACTIONAL, timedelta(seconds=10)) == []
    await eyes.run("UPDATE dispatch SET queued_at = queued_at - interval '10 s'")
    assert await dispatch.unplaced(db, TRANSACTIONAL, timedelta(seconds=10)) == [waiting.dispatch_id]
    assert await dispatch.unplaced(db, MARKETING, timedelta(seconds=10)) == []
    place = Place("topic", {0: 7, 3: 4})
    await dispatch.place(db, waiting.dispatch_id, place)
    assert await dispatch.unplaced(db, TRANSACTIONAL, timedelta(seconds=10)) == []
    (placed,) = await dispatch.placed(db, TRANSACTIONAL)
    assert (placed.dispatch_id, placed.place) == (waiting.dispatch_id, place)


async def test_what_waits_in_a_topic_is_seen_to_wait(db: Database, eyes: Eyes, worker: InstanceId) -> None:
    """The alert on transactional mail that waits goes by it."""
    found = await queued(db, [Letter(), Letter()])
    await eyes.run(f"""
        UPDATE email_job SET due_at = due_at - interval '1 minute' WHERE job_id = '{found.jobs[0].job_id}'""")
    symptoms = await doctor.examine(db, lease=timedelta(seconds=10))
    assert 60 <= symptoms.longest_due[TRANSACTIONAL] < 90
    await jobs.claim_queued(db, TRANSACTIONAL, worker, found.jobs)
    symptoms = await doctor.examine(db, lease=timedelta(seconds=10))
    assert symptoms.longest_due == {TRANSACTIONAL: 0.0, MARKETING: 0.0}


# -- the dispatcher, on a topic that does what a test wants --------------------------------------------------


class Shelf:
    """JobTopic: one partition; keeps what it takes, unless it is broken."""

    def __init__(self) -> None:
        self.records: list[Held] = []
        self.committed = 0
        self.topic_id = "first"
        self.broken = False
        self.looks = 0

    async def produce(self, jobs: Sequence[Held]) -> Place:
        if self.broken:
            raise NotNow("The topic does not take records now.")
        self.records += jobs
        return Place(self.topic_id, {0: len(self.records) - 1})

    async def look(self) -> TopicState:
        self.looks += 1
        return TopicState(self.topic_id, {0: Span(0, len(self.records), self.committed)})


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def dispatcher(db: Database, topic: JobTopic) -> Dispatcher:
    return Dispatcher(
        db,
        TRANSACTIONAL,
        topic,
        Subscription(),
        SystemClock(),
        random.Random(1),
        lambda: DispatchId(uuid4()),
        Metrics(),
    )


class Running:
    """A dispatcher that runs until it is told to stop."""

    def __init__(self, db: Database, topic: JobTopic) -> None:
        self._stop = asyncio.Event()
        self.dispatcher = dispatcher(db, topic)
        self._running = asyncio.create_task(self.dispatcher.run(self._stop))

    async def stop(self) -> None:
        self._stop.set()
        await self._running


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  # what another task does
            await asyncio.sleep(0.01)


async def test_what_is_due_gets_a_record_with_its_attempt(db: Database, shelf: Shelf) -> None:
    ids = await accept(db, [Letter()] * 250)
    running = Running(db, shelf)
    await until(lambda: len(shelf.records) >= len(ids))
    await running.stop()
    assert sorted(shelf.records, key=lambda record: record.job_id) == [Held(job_id, 0) for job_id in ids]
    assert await dispatch.unplaced(db, TRANSACTIONAL, timedelta(0)) == []
    assert await residual(db) == []


async def test_what_a_topic_does_not_take_is_due_again(db: Database, eyes: Eyes, shelf: Shelf) -> None:
    ids = await accept(db, [Letter()] * 5)
    shelf.broken = True
    running = Running(db, shelf)
    await until(lambda: running.dispatcher.trouble is not None)  # so it is not ready
    shelf.broken = False
    await until(lambda: len(shelf.records) >= len(ids))
    await running.stop()
    assert await statuses(eyes, ids) == [Status.QUEUED] * 5
    assert await residual(db) == []


async def test_no_more_is_queued_than_the_workers_pace_allows(db: Database, shelf: Shelf) -> None:
    await accept(db, [Letter()] * 1500)
    running = Running(db, shelf)
    await until(lambda: len(shelf.records) >= 1000)
    looks = shelf.looks
    await until(lambda: shelf.looks > looks + 1)  # the sweep has come around, the table was looked at often
    await running.stop()
    assert len(shelf.records) <= 1010


async def test_the_sweep_brings_back_what_was_never_produced(db: Database, eyes: Eyes, shelf: Shelf) -> None:
    lost = await queued(db, [Letter()] * 3)
    assert await dispatcher(db, shelf).sweep() == 0
    await eyes.run("UPDATE dispatch SET queued_at = queued_at - interval '11 s'")
    assert await dispatcher(db, shelf).sweep() == 3
    assert await statuses(eyes, ids_of(lost)) == [Status.PENDING] * 3


async def test_the_sweep_leaves_the_backlog_of_a_lagging_group(
    db: Database, eyes: Eyes, shelf: Shelf
) -> None:
    waiting = await queued(db, [Letter()] * 3)
    await dispatch.place(db, waiting.dispatch_id, await shelf.produce(waiting.jobs))
    await eyes.run("UPDATE dispatch SET queued_at = queued_at - interval '1 hour'")
    shelf.committed = 2
    assert await dispatcher(db, shelf).sweep() == 0
    assert await statuses(eyes, ids_of(waiting)) == [Status.QUEUED] * 3
    shelf.committed = 3
    assert await dispatcher(db, shelf).sweep() == 3
    assert await dispatch.every(db) == []


async def test_the_sweep_brings_back_what_went_with_its_topic(db: Database, eyes: Eyes, shelf: Shelf) -> None:
    waiting = await queued(db, [Letter()] * 3)
    await dispatch.place(db, waiting.dispatch_id, await shelf.produce(waiting.jobs))
    shelf.topic_id, shelf.records = "second", []
    assert await dispatcher(db, shelf).sweep() == 3
    assert await statuses(eyes, ids_of(waiting)) == [Status.PENDING] * 3
    assert await residual(db) == []
