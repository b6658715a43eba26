"""The sweeper and the lease: who is dead, what becomes of his mails, and how a doubt ends."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from recorded_events import POLICY, Desk, open_desk, sent
from stored_jobs import (
    PATIENCE,
    Letter,
    accept,
    enlisted,
    new_worker,
    open_eyes,
    residual,
)

from posthouse.clock import ManualClock
from posthouse.domain.errors import NotNow
from posthouse.domain.event import EventType
from posthouse.domain.ids import InstanceId
from posthouse.domain.job import Held, Status
from posthouse.domain.stream import Stream
from posthouse.status.apply import apply
from posthouse.status.changes import Changes
from posthouse.status.doubts import DoubtRule, resolved_by_operator, settle_doubts
from posthouse.status.sweeper import Watch, new_watch, sweep_dead
from posthouse.storage import jobs, leases
from posthouse.storage.db import Database, PoolKind, Session, open_pool
from posthouse.worker.lease import Lease, LeaseLost, LeaseTerms

DEAD_AFTER = timedelta(seconds=10)
TRANSACTIONAL, MARKETING = Stream.TRANSACTIONAL, Stream.MARKETING

REPORTED = DoubtRule(silence_means_not_taken=True, repeat=False)
REPEAT = DoubtRule(silence_means_not_taken=False, repeat=True)
HOLD = DoubtRule(silence_means_not_taken=False, repeat=False)


class Sweeper:
    """A sweeper on one connection, whose own time the test moves."""

    def __init__(self, desk: Desk, session: Session) -> None:
        self.desk = desk
        # Wall time is the database's; only the monotonic one is the test's.
        self.clock = ManualClock(datetime.now(UTC))
        self.watch = new_watch(DEAD_AFTER)
        self._session = session

    async def sweep(self) -> int:
        return await sweep_dead(self.desk.db, self._session, self.watch, POLICY, self.clock)

    async def watch_for(self, seconds: float) -> int:
        """One look each second; how many jobs were swept."""
        swept = 0
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            swept += await self.sweep()
        return swept

    async def settle(self, rule: DoubtRule) -> int:
        return await settle_doubts(self.desk.db, dict.fromkeys(Stream, rule), POLICY, self.clock)


@pytest.fixture
async def desk(queue_database: Database) -> AsyncIterator[Desk]:
    eyes = await open_eyes(queue_database.dsn)
    yield await open_desk(queue_database, eyes)
    await eyes.close()


@pytest.fixture
async def sweeper(desk: Desk) -> AsyncIterator[Sweeper]:
    async with desk.db.session() as session:
        sweeper = Sweeper(desk, session)
        assert await sweeper.sweep() == 0
        yield sweeper


async def alive(desk: Desk, worker: InstanceId) -> bool:
    async with desk.db.session() as session:
        return worker in {one.instance for one in await leases.living(session)}


# -- who is dead --------------------------------------------------------------------------------------------


async def test_a_worker_is_dead_once_its_beat_stood_still_for_ten_seconds(
    desk: Desk, sweeper: Sweeper
) -> None:
    held = await desk.sending()
    assert await sweeper.watch_for(9) == 0
    assert await alive(desk, desk.worker)
    assert await sweeper.watch_for(1) == 1
    assert not await alive(desk, desk.worker)
    job = await desk.job(held)
    assert (job.status, job.deaths) == (Status.UNKNOWN, 1)
    (event,) = await desk.eyes.events(held.job_id)
    assert (event.type, event.attempt, event.origin) == ("outcome_unknown", 1, "house")
    assert event.reason == "the worker died with this mail in hand"
    assert await residual(desk.db) == []


async def test_a_beat_begins_the_watch_anew(desk: Desk, sweeper: Sweeper) -> None:
    await desk.sending()
    await sweeper.watch_for(9)
    assert await leases.beat(desk.db, desk.worker)
    assert await sweeper.watch_for(10) == 0
    assert await sweeper.watch_for(1) == 1


async def test_a_new_watch_after_an_outage_takes_nobody_for_dead(desk: Desk, sweeper: Sweeper) -> None:
    await desk.sending()
    await sweeper.watch_for(9)
    sweeper.watch = new_watch(DEAD_AFTER)
    sweeper.clock.advance(60.0)
    assert await sweeper.sweep() == 0
    assert await sweeper.watch_for(9) == 0
    assert await sweeper.watch_for(1) == 1


async def test_a_sweeper_that_did_not_look_has_not_watched(desk: Desk, sweeper: Sweeper) -> None:
    """The server or the sweeper itself stood still: the connection holds, and every beat looks old."""
    await desk.sending()
    await sweeper.watch_for(3)
    sweeper.clock.advance(30.0)
    assert await sweeper.sweep() == 0
    assert await sweeper.watch_for(9) == 0
    assert await sweeper.watch_for(1) == 1


def test_a_watch_forgets_those_that_are_gone_and_times_each_by_itself() -> None:
    watch = new_watch(DEAD_AFTER)
    beat = datetime(2026, 1, 1, tzinfo=UTC)
    first, second = (leases.Living(InstanceId(UUID(int=n)), beat) for n in (1, 2))
    for second_of_day in range(13):
        looked_at = [first] if second_of_day < 3 else [first, second]
        dead = watch.still(looked_at, float(second_of_day))
        assert dead == ([first] if second_of_day >= 10 else [])
    assert watch.still([second], 13.0) == [second]
    assert set(watch.seen) == {second.instance}


async def test_a_worker_that_beat_since_it_was_looked_at_is_not_buried(desk: Desk) -> None:
    held = await desk.sending()
    async with desk.db.transaction() as tx:
        (seen,) = await leases.living(tx)
    assert await leases.beat(desk.db, desk.worker)
    async with desk.db.transaction() as tx:
        assert not await leases.bury(tx, seen)
    assert (await desk.job(held)).status is Status.SENDING


async def test_burying_is_one_transaction(
    desk: Desk, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await desk.sending()
    await sweeper.watch_for(9)

    def fall(name: str) -> None:
        if name == "sweeper.before_commit":
            raise NotNow("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr("posthouse.status.sweeper.failpoint", fall)
        with pytest.raises(NotNow):
            await sweeper.watch_for(1)
    assert await alive(desk, desk.worker)
    assert (await desk.job(held)).status is Status.SENDING
    assert await sweeper.watch_for(1) == 1
    job = await desk.job(held)
    assert (job.status, job.deaths) == (Status.UNKNOWN, 1)


async def test_the_living_keep_what_they_hold(desk: Desk, sweeper: Sweeper) -> None:
    dead_ones = await desk.sending()
    other = await enlisted(desk.db)
    (job_id,) = await accept(desk.db, [Letter()])
    await desk.claim(worker=other)
    for _ in range(12):
        assert await leases.beat(desk.db, other)
        await sweeper.watch_for(1)
    assert (await desk.job(dead_ones)).status is Status.UNKNOWN
    assert (await desk.eyes.job(job_id)).status is Status.SENDING


async def test_sweepers_at_once_bury_a_worker_once(desk: Desk, sweeper: Sweeper) -> None:
    await accept(desk.db, [Letter()] * 50)
    assert len(await desk.claim()) == 50
    await sweeper.watch_for(9)
    sweeper.clock.advance(1.0)

    async def another() -> int:
        async with desk.db.session() as session:
            watch = Watch(DEAD_AFTER, dict(sweeper.watch.seen), sweeper.watch.looked_at)
            return await sweep_dead(desk.db, session, watch, POLICY, sweeper.clock)

    swept = await asyncio.gather(another(), another(), sweeper.sweep())
    assert sorted(swept) == [0, 0, 50]
    assert await residual(desk.db) == []


async def test_what_was_claimed_for_a_worker_after_its_end_is_found(desk: Desk, sweeper: Sweeper) -> None:
    """A worker that was stopped claims once more before it learns that it is dead; one that ends claims
    while the answer is lost."""
    await sweeper.watch_for(10)
    assert not await alive(desk, desk.worker)
    zombies = await desk.sending()
    quitter = await enlisted(desk.db)
    (job_id,) = await accept(desk.db, [Letter()])
    await desk.claim(worker=quitter)
    await leases.retire(desk.db, quitter)
    assert await sweeper.sweep() == 2
    for stored in await desk.eyes.standing([zombies.job_id, job_id]):
        assert (stored.status, stored.deaths) == (Status.UNKNOWN, 0)
    assert await sweeper.sweep() == 0
    assert await residual(desk.db) == []


@pytest.mark.parametrize(("stream", "waits"), [(TRANSACTIONAL, 10), (MARKETING, 600)])
async def test_a_doubt_waits_for_its_streams_time(
    desk: Desk, sweeper: Sweeper, stream: Stream, waits: int
) -> None:
    held = await desk.sending(Letter(stream=stream))
    await sweeper.watch_for(10)
    assert (await desk.job(held)).due_at == sweeper.clock.now() + timedelta(seconds=waits)
    assert await sweeper.settle(REPEAT) == 0


# -- a mail that kills workers ------------------------------------------------------------------------------


async def dies_holding(desk: Desk, sweeper: Sweeper, held: Held) -> None:
    """The worker dies, another is there, and the doubt is settled as "goes again"."""
    desk.worker = new_worker()
    await sweeper.watch_for(11)
    await desk.come_due(held.job_id)
    await sweeper.settle(REPEAT)
    await desk.come_due(held.job_id)
    await leases.enlist(desk.db, desk.worker, "worker", TRANSACTIONAL, "testhost", 1)


async def test_the_third_death_ends_a_mail_with_its_reason(desk: Desk, sweeper: Sweeper) -> None:
    held = await desk.sending()
    await dies_holding(desk, sweeper, held)
    (again,) = await desk.claim()
    await dies_holding(desk, sweeper, again.held)
    assert (await desk.job(held)).deaths == 2
    assert await desk.claim() == []
    assert await jobs.quarantine_waiting(desk.db, TRANSACTIONAL)
    assert not await jobs.quarantine_waiting(desk.db, MARKETING)
    (alone,) = (await jobs.claim_quarantined(desk.db, TRANSACTIONAL, desk.worker)).jobs
    assert (alone.job_id, alone.attempt, alone.deaths) == (held.job_id, 3, 2)
    assert not await jobs.quarantine_waiting(desk.db, TRANSACTIONAL)
    await dies_holding(desk, sweeper, alone.held)
    job = await desk.job(held)
    assert (job.status, job.deaths) == (Status.FAILED, 3)
    last = (await desk.eyes.events(held.job_id))[-1]
    assert last.reason is not None
    assert (last.type, last.reason.partition(":")[0]) == ("failed", "crashed_worker")
    assert await residual(desk.db) == []


async def test_a_mail_that_survives_quarantine_is_sent(desk: Desk, sweeper: Sweeper) -> None:
    held = await desk.sending()
    await desk.eyes.run("UPDATE email_job SET deaths = 2")
    await jobs.release(desk.db, desk.worker, [held], None)
    (alone,) = (await jobs.claim_quarantined(desk.db, TRANSACTIONAL, desk.worker)).jobs
    await desk.record([sent(alone.held)])
    assert (await desk.job(held)).status is Status.SENT


# -- how a doubt ends ---------------------------------------------------------------------------------------


async def doubtful(desk: Desk, sweeper: Sweeper, stream: Stream = TRANSACTIONAL) -> Held:
    """A job in UNKNOWN whose time has come."""
    held = await desk.sending(Letter(stream=stream))
    await sweeper.watch_for(11)
    await desk.come_due(held.job_id)
    return held


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (REPORTED, "the relay reports each mail it takes and did not report this one: sent again"),
        (REPEAT, "the outcome stayed unknown: sent again"),
    ],
)
async def test_a_doubt_goes_again_at_once_and_says_why(
    desk: Desk, sweeper: Sweeper, rule: DoubtRule, words: str
) -> None:
    held = await doubtful(desk, sweeper)
    assert await sweeper.settle(rule) == 1
    job = await desk.job(held)
    assert (job.status, job.in_doubt, job.due_at) == (Status.PENDING, True, sweeper.clock.now())
    assert (await desk.eyes.events(held.job_id))[-1].reason == words
    assert await sweeper.settle(rule) == 0
    assert await residual(desk.db) == []


async def test_a_held_doubt_waits_seven_days_for_the_operator_then_ends(desk: Desk, sweeper: Sweeper) -> None:
    held = await doubtful(desk, sweeper, MARKETING)
    assert await sweeper.settle(HOLD) == 1
    job = await desk.job(held)
    assert (job.status, job.due_at) == (Status.UNKNOWN, sweeper.clock.now() + timedelta(days=7))
    assert await sweeper.settle(HOLD) == 0
    await desk.come_due(held.job_id)
    assert await sweeper.settle(HOLD) == 1
    assert (await desk.job(held)).status is Status.FAILED
    assert (await desk.eyes.events(held.job_id))[-1].reason == "the outcome never became known"
    assert await residual(desk.db) == []


async def test_a_doubt_of_the_sandbox_goes_again_whatever_its_stream_would_do(
    desk: Desk, sweeper: Sweeper
) -> None:
    """What it took it has told of, so its silence means that it took nothing."""
    held = await desk.sending(Letter(stream=MARKETING, sandbox=True))
    await sweeper.watch_for(10)
    assert (await desk.job(held)).status is Status.UNKNOWN
    await desk.come_due(held.job_id)
    assert await sweeper.settle(HOLD) == 1
    assert (await desk.job(held)).status is Status.PENDING
    assert await residual(desk.db) == []


@pytest.mark.parametrize("rule", [REPORTED, REPEAT])
async def test_a_doubt_that_was_to_be_cancelled_does_not_go_again(
    desk: Desk, sweeper: Sweeper, rule: DoubtRule
) -> None:
    held = await desk.sending()
    changes = Changes(desk.db, POLICY, random.Random(1))
    # In hand as far as anybody knows: its worker's death is found out later.
    assert not (await changes.cancel([held.job_id], "asked to", sweeper.clock.now()))[held.job_id].done
    await sweeper.watch_for(11)
    await desk.come_due(held.job_id)
    assert await sweeper.settle(rule) == 1
    assert (await desk.job(held)).status is Status.CANCELLED
    last = (await desk.eyes.events(held.job_id))[-1]
    assert (last.type, last.origin) == ("cancelled", "house")
    assert last.reason is not None
    assert last.reason.endswith(", and it was to be cancelled: not sent again")
    assert await residual(desk.db) == []


async def test_a_doubt_that_was_to_be_cancelled_is_held_and_settled_like_others(
    desk: Desk, sweeper: Sweeper
) -> None:
    held = await doubtful(desk, sweeper)
    changes = Changes(desk.db, POLICY, random.Random(1))
    await changes.cancel([held.job_id], "asked to", sweeper.clock.now())
    assert await sweeper.settle(HOLD) == 1
    assert (await desk.job(held)).status is Status.UNKNOWN
    await desk.record([sent(held)])
    assert (await desk.job(held)).status is Status.SENT
    assert await residual(desk.db) == []


@pytest.mark.parametrize(
    ("word", "end"),
    [
        (EventType.SENT, Status.SENT),
        (EventType.FAILED, Status.FAILED),
        (EventType.DEFERRED, Status.PENDING),
    ],
)
async def test_the_operators_word_ends_a_held_doubt(
    desk: Desk, sweeper: Sweeper, word: EventType, end: Status
) -> None:
    held = await doubtful(desk, sweeper, MARKETING)
    await sweeper.settle(HOLD)
    event = resolved_by_operator(held.job_id, held.attempt, word, sweeper.clock.now(), "I looked")
    await desk.record([event])
    assert (await desk.job(held)).status is end
    assert (await desk.eyes.events(held.job_id))[-1].reason == "resolved by the operator: I looked"


async def test_the_late_word_of_a_worker_that_was_stopped_settles_its_doubt(
    desk: Desk, sweeper: Sweeper
) -> None:
    held = await doubtful(desk, sweeper)
    assert (await desk.job(held)).status is Status.UNKNOWN
    await desk.record([sent(held)])
    assert (await desk.job(held)).status is Status.SENT
    assert await sweeper.settle(REPEAT) == 0
    assert [event.type for event in await desk.eyes.events(held.job_id)] == ["outcome_unknown", "sent"]


async def test_a_doubt_that_is_being_settled_by_another_is_left_alone(desk: Desk, sweeper: Sweeper) -> None:
    held = await doubtful(desk, sweeper)
    async with desk.db.transaction() as tx:
        await apply(tx, [sent(held)], POLICY)
        async with asyncio.timeout(PATIENCE):
            assert await sweeper.settle(REPEAT) == 0
    assert (await desk.job(held)).status is Status.SENT
    assert [event.type for event in await desk.eyes.events(held.job_id)] == ["outcome_unknown", "sent"]


async def test_sweepers_at_once_settle_each_doubt_once(desk: Desk, sweeper: Sweeper) -> None:
    ids = await accept(desk.db, [Letter()] * 60)
    await desk.claim()
    await sweeper.watch_for(11)
    await desk.eyes.run("UPDATE email_job SET due_at = now()")
    settled = await asyncio.gather(*(sweeper.settle(REPEAT) for _ in range(4)))
    assert sum(settled) == 60
    for job_id in ids:
        assert [e.type for e in await desk.eyes.events(job_id)] == ["outcome_unknown", "deferred"]
    assert await residual(desk.db) == []


# -- the lease ----------------------------------------------------------------------------------------------

TERMS = LeaseTerms(beat_every=timedelta(milliseconds=1), begin_within=timedelta(seconds=5))


async def test_the_gate_is_shut_before_the_worker_is_known(desk: Desk) -> None:
    clock = ManualClock()
    lease = Lease(desk.db, new_worker(), TERMS, clock)
    assert not lease.may_begin()
    await lease.enlist("worker", TRANSACTIONAL)
    assert lease.may_begin()
    assert await alive(desk, lease.instance)
    await lease.retire()
    assert not await alive(desk, lease.instance)


async def test_the_gate_shuts_five_seconds_after_the_last_confirmed_beat(desk: Desk) -> None:
    clock = ManualClock()
    lease = Lease(desk.db, new_worker(), TERMS, clock)
    await lease.enlist("worker", TRANSACTIONAL)
    clock.advance(4.999)
    assert lease.may_begin()
    clock.advance(0.001)
    assert not lease.may_begin()
    beating = asyncio.create_task(lease.keep())
    await until_open(lease)
    beating.cancel()
    await asyncio.wait({beating})


async def until_open(lease: Lease) -> None:
    async with asyncio.timeout(PATIENCE):
        while not lease.may_begin():  # noqa: ASYNC110  # a clock has no event
            await asyncio.sleep(0.001)


async def test_a_beat_counts_from_when_it_was_sent(desk: Desk) -> None:
    clock = ManualClock()
    lease = Lease(desk.db, new_worker(), TERMS, clock)
    await lease.enlist("worker", TRANSACTIONAL)
    async with desk.db.transaction() as tx:
        await tx.script(f"SELECT FROM worker WHERE instance_id = '{lease.instance}' FOR UPDATE")
        clock.advance(6.0)
        beating = asyncio.create_task(lease.keep())
        await desk.eyes.until_somebody_waits_for_a_lock()
        clock.advance(4.0)
    await until_open(lease)
    beating.cancel()
    await asyncio.wait({beating})


async def test_an_outage_costs_beats_and_shuts_the_gate_but_not_the_lease(desk: Desk) -> None:
    clock = ManualClock()
    own_pool = await open_pool(desk.db.dsn, PoolKind.GENERAL, desk.db.queries, max_size=1)
    lease = Lease(own_pool, new_worker(), TERMS, clock)
    await lease.enlist("worker", TRANSACTIONAL)
    async with own_pool.session():
        pass
    await own_pool.close()
    beating = asyncio.create_task(lease.keep())
    done, _ = await asyncio.wait({beating}, timeout=0.05)
    assert not done
    clock.advance(5.0)
    assert not lease.may_begin()
    beating.cancel()
    await asyncio.wait({beating})


async def test_a_worker_that_was_declared_dead_learns_it_by_its_next_beat(desk: Desk) -> None:
    lease = Lease(desk.db, new_worker(), TERMS, ManualClock())
    await lease.enlist("worker", TRANSACTIONAL)
    async with desk.db.transaction() as tx:
        (seen,) = [one for one in await leases.living(tx) if one.instance == lease.instance]
        assert await leases.bury(tx, seen)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(LeaseLost):
            await lease.keep()
