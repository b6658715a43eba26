"""Plain acceptances go by one statement, and come to what the whole way would have come to."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace as changed
from datetime import UTC, datetime, timedelta

import pytest_asyncio
from recorded_events import POLICY, Desk, open_desk, sent, told
from stored_jobs import Letter, Stored, make_days, open_eyes, residual

from posthouse.domain.event import EventType
from posthouse.domain.ids import JobId, uuid7
from posthouse.domain.job import Held, Status
from posthouse.domain.lifecycle import Decision, Standing, decide
from posthouse.status.apply import Applied, apply
from posthouse.storage import recording
from posthouse.storage.db import Database

SOME_JOB = JobId(uuid7(1, 1))


@pytest_asyncio.fixture
async def desk(queue_database: Database) -> AsyncIterator[Desk]:
    eyes = await open_eyes(queue_database.dsn)
    yield await open_desk(queue_database, eyes)
    await eyes.close()


def test_the_lifecycle_knows_one_answer_for_the_plain_case() -> None:
    held = Held(SOME_JOB, 3)
    for softs in range(5):
        for doubt in (False, True):
            standing = Standing(Status.SENDING, 3, softs, doubt)
            assert decide(standing, sent(held), len(POLICY.soft_bounce)) == Decision(Status.SENT)


async def test_both_ways_leave_the_same_behind(desk: Desk) -> None:
    at = datetime.now(UTC)
    short, long = [await desk.sending(Letter(f"{n}@inbox.test")) for n in range(2)]
    assert await desk.record([sent(short, at=at)]) == Applied(1, (), 1)
    assert await desk.record_the_whole_way([sent(long, at=at)]) == Applied(1, (), 1)
    assert _left(await desk.job(short)) == _left(await desk.job(long))
    (one,), (other,) = [await desk.eyes.events(held.job_id) for held in (short, long)]
    assert one == other
    assert await residual(desk.db) == []


async def test_a_row_that_another_changes_meanwhile_costs_the_others_nothing(desk: Desk) -> None:
    """A relay's word and our own about the same mail, at the same moment. With days on both sides of today,
    PostgreSQL 18.6 does not find the rows that follow (storage/spans.py)."""
    await make_days(desk.db, [datetime.now(UTC).date() - timedelta(days=n) for n in (1, 2)])
    held = [await desk.sending(Letter(f"{n}@inbox.test")) for n in range(6)]
    async with desk.db.transaction() as tx:
        await apply(tx, [told(held[1], EventType.DELIVERED)], POLICY)
        await apply(tx, [told(held[3], EventType.OPENED)], POLICY)  # its state stays
        recording_them = asyncio.create_task(desk.record([sent(h) for h in held]))
        await desk.eyes.until_somebody_waits_for_a_lock()
    assert await recording_them == Applied(6, (), 6)
    states = [job.status for job in await desk.eyes.standing([h.job_id for h in held])]
    assert states == [Status.SENT, Status.DELIVERED, *[Status.SENT] * 4]
    assert await residual(desk.db) == []


async def test_the_plain_case_takes_one_statement_and_the_rest_the_whole_way(desk: Desk) -> None:
    plain, swept, ended = [await desk.sending(Letter(f"{n}@inbox.test")) for n in range(3)]
    await desk.record([told(swept, EventType.OUTCOME_UNKNOWN), told(ended, EventType.DELIVERED)])
    earlier = Held(plain.job_id, plain.attempt + 1)
    done = await recording.record_sent(desk.db, [sent(h) for h in (swept, ended, earlier)])
    assert done == set()
    assert await desk.record([sent(plain), sent(swept), sent(ended)]) == Applied(3, (), 3)
    states = [job.status for job in await desk.eyes.standing([h.job_id for h in (plain, swept, ended)])]
    assert states == [Status.SENT, Status.SENT, Status.DELIVERED]
    assert await residual(desk.db) == []


async def test_recorded_again_it_changes_nothing(desk: Desk) -> None:
    held = await desk.sending()
    event = sent(held)
    assert (await desk.record([event])).stored == 1
    before = await desk.job(held)
    assert await desk.record([event]) == Applied(0, (), 0)
    assert await desk.job(held) == before
    assert len(await desk.eyes.events(held.job_id)) == 1
    assert await residual(desk.db) == []


def _left(job: Stored) -> Stored:
    """What two jobs must have in common."""
    return changed(job, job_id=SOME_JOB, due_at=datetime.min, expires_at=datetime.min)  # noqa: DTZ901  # any
