"""The laws of the JobSource port: what every bus must do with jobs, wherever it keeps them.

A test module of a bus writes a harness and subclasses the suite:

    class TestPostgresJobs(JobSourceLaws):
        @pytest.fixture
        async def harness(self, ...) -> AsyncIterator[JobSourceHarness]: ...

The laws ask a source again until it answers, because a bus may take its time to bring a job near; what must
not come is shown by a later job that does come.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from stored_jobs import PATIENCE, Letter, Stored, StoredEvent

from posthouse.bus.port import JobSource
from posthouse.domain.errors import NotNow
from posthouse.domain.ids import InstanceId, JobId
from posthouse.domain.job import ClaimedJob, Held, Status
from posthouse.domain.stream import Stream

TRANSACTIONAL, MARKETING = Stream.TRANSACTIONAL, Stream.MARKETING


#: Due, and in nobody's hand.
WAITING = frozenset({Status.PENDING, Status.QUEUED})


class JobSourceHarness(Protocol):
    """A bus over a database of its own, and eyes for what became of its jobs."""

    #: The bus keeps one order for all jobs of a stream; False where it keeps several.
    one_order: bool

    async def source(self, stream: Stream = TRANSACTIONAL) -> tuple[JobSource, InstanceId]:
        """What a new worker of the stream takes its jobs from."""
        ...

    async def unlucky_source(self) -> tuple[JobSource, InstanceId]:
        """One whose first `take` is committed, but raises NotNow instead of answering."""
        ...

    async def end(self, source: JobSource) -> None:
        """The process of this source ends as if it were killed."""
        ...

    async def accept(self, letters: Sequence[Letter]) -> list[JobId]:
        """Accepted mails, in this order, and the hint that intake sends after its commit."""
        ...

    async def suppress(self, address: str, *, scope: str, expires_in: timedelta | None) -> None: ...

    async def standing(self, ids: Sequence[JobId]) -> list[Stored]: ...

    async def events(self, job_id: JobId) -> list[StoredEvent]:
        """Without the first, `accepted`."""
        ...

    async def cancel(self, ids: Sequence[JobId]) -> None: ...

    async def reschedule(self, ids: Sequence[JobId], wait: timedelta) -> None:
        """Due after this wait from now."""
        ...

    async def residual(self) -> list[str]:
        """Where the books do not agree; [] when they balance."""
        ...


async def take(source: JobSource, jobs: int, limit: int = 100) -> list[ClaimedJob]:
    """Ask until this many are there; never more than `limit` at once."""
    taken: list[ClaimedJob] = []
    async with asyncio.timeout(PATIENCE):
        while len(taken) < jobs:
            answer = await source.take(limit)
            assert len(answer) <= limit
            taken += answer
            if not answer:
                await source.wait(0.05)
    return taken


def ids_of(jobs: Sequence[ClaimedJob]) -> list[JobId]:
    return [job.job_id for job in jobs]


async def ended(harness: JobSourceHarness, source: JobSource, job_id: JobId) -> Stored:
    """The job as it stands when a claim has ended it; there is nothing else to take."""
    async with asyncio.timeout(PATIENCE):
        while True:
            (stored,) = await harness.standing([job_id])
            if stored.status not in WAITING:
                return stored
            assert await source.take(100) == []
            await source.wait(0.05)


def in_order(harness: JobSourceHarness, ids: Sequence[JobId]) -> Sequence[JobId]:
    """As they are to be compared with the order of acceptance."""
    return ids if harness.one_order else sorted(ids)


class JobSourceLaws:
    async def test_what_is_taken_is_claimed_and_committed(self, harness: JobSourceHarness) -> None:
        ids = await harness.accept([Letter(f"{n}@inbox.test") for n in range(3)])
        source, worker = await harness.source()
        taken = await take(source, 3)
        assert in_order(harness, ids_of(taken)) == ids
        assert [job.attempt for job in taken] == [1, 1, 1]
        by_id = {job.job_id: job.to_address for job in taken}
        assert [by_id[job_id] for job_id in ids] == [f"{n}@inbox.test" for n in range(3)]
        for stored in await harness.standing(ids):
            assert (stored.status, stored.attempt, stored.claimed_by) == (Status.SENDING, 1, worker)
        assert await harness.residual() == []

    async def test_streams_do_not_meet(self, harness: JobSourceHarness) -> None:
        letters = [Letter(stream=MARKETING), Letter(stream=TRANSACTIONAL)]
        marketing, transactional = await harness.accept(letters)
        source, _ = await harness.source(TRANSACTIONAL)
        assert ids_of(await take(source, 1)) == [transactional]
        other, _ = await harness.source(MARKETING)
        assert ids_of(await take(other, 1)) == [marketing]

    async def test_never_more_than_the_limit(self, harness: JobSourceHarness) -> None:
        ids = await harness.accept([Letter()] * 120)
        source, _ = await harness.source()
        for limit in (1, 3, 10, 31, 99):
            assert 0 < len(await take(source, 1, limit)) <= limit
        assert await source.take(0) == []
        standing = [stored.status for stored in await harness.standing(ids)]
        assert sum(standing.count(status) for status in WAITING) >= 120 - (1 + 3 + 10 + 31 + 99)

    async def test_two_takers_never_hold_one_job(self, harness: JobSourceHarness) -> None:
        ids = await harness.accept([Letter()] * 2000)
        taken: list[JobId] = []

        async def taker() -> None:
            source, _ = await harness.source()
            while len(taken) < len(ids):
                taken.extend(ids_of(answer := await source.take(32)))
                if not answer:
                    await source.wait(0.02)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as takers:
            for _ in range(8):
                takers.create_task(taker())
        assert sorted(taken) == sorted(ids)
        assert {stored.attempt for stored in await harness.standing(ids)} == {1}
        assert await harness.residual() == []

    async def test_released_jobs_come_back_as_another_attempt(self, harness: JobSourceHarness) -> None:
        ids = await harness.accept([Letter()] * 5)
        source, _ = await harness.source()
        first = await take(source, 5)
        assert await source.release([job.held for job in first], None) == 5
        again = await take(source, 5)
        assert sorted(ids_of(again)) == sorted(ids)
        assert {job.attempt for job in again} == {2}
        assert {job.due_at for job in again} == {job.due_at for job in first}
        assert await harness.residual() == []

    async def test_a_later_due_at_is_honoured(self, harness: JobSourceHarness) -> None:
        (put_off,) = await harness.accept([Letter()])
        source, _ = await harness.source()
        (job,) = await take(source, 1)
        later = datetime.now(UTC) + timedelta(hours=1)
        assert await source.release([job.held], later) == 1
        assert (await harness.standing([put_off]))[0].due_at == later
        (other,) = await harness.accept([Letter()])
        assert ids_of(await take(source, 1)) == [other]

    async def test_only_who_holds_a_job_can_give_it_back(self, harness: JobSourceHarness) -> None:
        ids = await harness.accept([Letter()] * 2)
        source, worker = await harness.source()
        jobs = await take(source, 2)
        other, _ = await harness.source()
        held = [job.held for job in jobs]
        assert await other.release(held, None) == 0
        assert await source.release([Held(h.job_id, h.attempt + 1) for h in held], None) == 0
        assert await source.release([Held(h.job_id, h.attempt - 1) for h in held], None) == 0
        assert await source.release([], None) == 0
        for stored in await harness.standing(ids):
            assert (stored.status, stored.claimed_by) == (Status.SENDING, worker)
        assert await source.release(held, None) == 2
        assert await source.release(held, None) == 0
        assert await harness.residual() == []

    async def test_pause_keeps_the_place(self, harness: JobSourceHarness) -> None:
        ids = await harness.accept([Letter()] * 3)
        source, _ = await harness.source()
        first = await take(source, 1, limit=1)
        source.pause()
        assert await source.take(100) == []
        source.resume()
        rest = await take(source, 2)
        assert in_order(harness, ids_of(first + rest)) == ids

    async def test_suppressed_jobs_end_in_the_claim_with_their_reason(
        self, harness: JobSourceHarness
    ) -> None:
        await harness.suppress("dead@inbox.test", scope="all", expires_in=None)
        stopped, free = await harness.accept([Letter("dead@inbox.test"), Letter("live@inbox.test")])
        source, _ = await harness.source()
        assert ids_of(await take(source, 1)) == [free]
        stored = await ended(harness, source, stopped)
        assert (stored.status, stored.attempt) == (Status.SUPPRESSED, 0)
        (event,) = await harness.events(stopped)
        assert (event.type, event.origin) == ("suppressed", "house")
        assert event.reason is not None
        assert "the address is suppressed: BOUNCE, scope all, since 2" in event.reason
        assert await harness.residual() == []

    async def test_a_claim_that_finds_only_suppressed_jobs_does_not_hide_the_next(
        self, harness: JobSourceHarness
    ) -> None:
        await harness.suppress("dead@inbox.test", scope="all", expires_in=None)
        *_, free = await harness.accept([*[Letter("dead@inbox.test")] * 25, Letter()])
        source, _ = await harness.source()
        assert ids_of(await source_answers(source, 10)) == [free]

    async def test_marketing_suppressions_stop_marketing_only(self, harness: JobSourceHarness) -> None:
        await harness.suppress("tired@inbox.test", scope="marketing", expires_in=None)
        receipt, news, marker = await harness.accept(
            [
                Letter("tired@inbox.test"),
                Letter("tired@inbox.test", stream=MARKETING),
                Letter(stream=MARKETING),
            ]
        )
        source, _ = await harness.source()
        assert ids_of(await take(source, 1)) == [receipt]
        marketing, _ = await harness.source(MARKETING)
        assert ids_of(await take(marketing, 1)) == [marker]
        assert (await ended(harness, marketing, news)).status is Status.SUPPRESSED

    async def test_a_suppression_that_expired_stops_nothing(self, harness: JobSourceHarness) -> None:
        await harness.suppress("back@inbox.test", scope="all", expires_in=timedelta(seconds=-1))
        (job,) = await harness.accept([Letter("back@inbox.test")])
        source, _ = await harness.source()
        assert ids_of(await take(source, 1)) == [job]

    async def test_expired_jobs_end_in_the_claim_with_their_reason(self, harness: JobSourceHarness) -> None:
        late, free = await harness.accept([Letter(expires_in=timedelta(seconds=-1)), Letter()])
        source, _ = await harness.source()
        assert ids_of(await take(source, 1)) == [free]
        assert (await ended(harness, source, late)).status is Status.EXPIRED
        (event,) = await harness.events(late)
        assert event.type == "expired"
        assert event.reason is not None
        assert event.reason.startswith("not sent before it expired at 2")
        assert await harness.residual() == []

    async def test_what_is_due_later_is_not_taken(self, harness: JobSourceHarness) -> None:
        future, marker = await harness.accept([Letter(due_in=timedelta(hours=1)), Letter()])
        source, _ = await harness.source()
        assert ids_of(await take(source, 1)) == [marker]
        assert (await harness.standing([future]))[0].status is Status.PENDING

    async def test_a_claim_whose_answer_was_lost_is_given_back(self, harness: JobSourceHarness) -> None:
        ids = await harness.accept([Letter()] * 10)
        source, _ = await harness.unlucky_source()
        with pytest.raises(NotNow):
            await take(source, 1, limit=10)
        lost = [s.job_id for s in await harness.standing(ids) if s.status is Status.SENDING]
        assert lost
        (extra,) = await harness.accept([Letter()])
        known = await take(source, len(ids) - len(lost) + 1)
        assert set(ids_of(known)) == {*ids, extra} - set(lost)
        in_hand = {job.held for job in known}
        assert await source.disown(in_hand) == len(lost)
        assert await source.disown(in_hand) == 0
        assert {stored.status for stored in await harness.standing(lost)} <= WAITING
        assert {stored.status for stored in await harness.standing(ids_of(known))} == {Status.SENDING}
        assert sorted(ids_of(await take(source, len(lost)))) == sorted(lost)
        assert await harness.residual() == []

    async def test_disown_touches_nobody_elses_jobs(self, harness: JobSourceHarness) -> None:
        ids = await harness.accept([Letter()] * 2)
        source, _ = await harness.source()
        await take(source, 2)
        other, _ = await harness.source()
        assert await other.disown(set()) == 0
        assert {stored.status for stored in await harness.standing(ids)} == {Status.SENDING}

    async def test_what_a_dead_worker_had_in_hand_is_taken_by_nobody(self, harness: JobSourceHarness) -> None:
        """Nor is anything else lost: the lease's sweeper moves these, and the rest goes on."""
        ids = await harness.accept([Letter()] * 20)
        source, worker = await harness.source()
        in_hand = ids_of(await take(source, 5, limit=5))
        await harness.end(source)
        other, _ = await harness.source()
        rest = ids_of(await take(other, len(ids) - len(in_hand)))
        assert sorted(in_hand + rest) == ids
        for stored in await harness.standing(in_hand):
            assert (stored.status, stored.attempt, stored.claimed_by) == (Status.SENDING, 1, worker)
        (marker,) = await harness.accept([Letter()])
        assert ids_of(await take(other, 1)) == [marker]

    async def test_what_a_leaving_worker_was_about_to_take_goes_to_the_others(
        self, harness: JobSourceHarness
    ) -> None:
        ids = await harness.accept([Letter()] * 20)
        source, _ = await harness.source()
        first = await take(source, 5, limit=5)
        await source.wait(0.05)
        await source.leave()
        assert await source.take(100) == []
        other, _ = await harness.source()
        rest = await take(other, len(ids) - len(first))
        assert sorted(ids_of(first) + ids_of(rest)) == ids
        # What it has in hand is still its own, to end or to give back.
        assert await source.release([job.held for job in first[:2]], None) == 2
        source.done([job.held for job in first])
        assert sorted(ids_of(await take(other, 2))) == sorted(ids_of(first[:2]))
        assert {s.status for s in await harness.standing(ids_of(first[2:]))} == {Status.SENDING}
        assert await harness.residual() == []

    async def test_done_in_any_order_hides_nothing(self, harness: JobSourceHarness) -> None:
        ids = await harness.accept([Letter()] * 30)
        source, _ = await harness.source()
        jobs = await take(source, 30, limit=10)
        source.done([job.held for job in jobs[20:]])
        assert await source.release([job.held for job in jobs[:10]], None) == 10
        source.done([job.held for job in jobs[:10]])
        await harness.end(source)
        other, _ = await harness.source()
        again = await take(other, 10)
        assert sorted(ids_of(again)) == sorted(ids_of(jobs[:10]))
        assert {job.attempt for job in again} == {2}
        standing = [stored.status for stored in await harness.standing(ids)]
        assert standing == [Status.SENDING] * 30

    async def test_cancelled_jobs_are_not_taken(self, harness: JobSourceHarness) -> None:
        stopped, marker = await harness.accept([Letter(), Letter()])
        await harness.cancel([stopped])
        source, _ = await harness.source()
        assert ids_of(await take(source, 1)) == [marker]
        assert (await harness.standing([stopped]))[0].status is Status.CANCELLED
        assert await harness.residual() == []

    async def test_a_job_moved_to_later_and_back_is_taken_once(self, harness: JobSourceHarness) -> None:
        (moved,) = await harness.accept([Letter()])
        await harness.reschedule([moved], timedelta(hours=1))
        source, _ = await harness.source()
        (marker,) = await harness.accept([Letter()])
        assert ids_of(await take(source, 1)) == [marker]
        await harness.reschedule([moved], timedelta(0))
        assert ids_of(await take(source, 1)) == [moved]
        (marker,) = await harness.accept([Letter()])
        assert ids_of(await take(source, 1)) == [marker]
        assert await harness.residual() == []

    async def test_a_hint_ends_the_wait(self, harness: JobSourceHarness) -> None:
        source, _ = await harness.source()
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as both:
            taking = both.create_task(_taken_after_a_hint(source))
            both.create_task(harness.accept([Letter()]))
        assert len(taking.result()) == 1


async def source_answers(source: JobSource, limit: int) -> list[ClaimedJob]:
    """The first answer that is not empty, as long as the source says that it need not be waited for."""
    async with asyncio.timeout(PATIENCE):
        while not (answer := await source.take(limit)):
            await source.wait(0.05)
        return answer


async def _taken_after_a_hint(source: JobSource) -> list[ClaimedJob]:
    while not (answer := await source.take(10)):
        await source.wait(10 * PATIENCE)
    return answer
