"""Events as relays and workers tell them, and a house that claims and records."""

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace
from stored_jobs import Eyes, Letter, Stored, accept, enlisted

from posthouse.domain.event import BounceClass, Event, EventType, Origin
from posthouse.domain.ids import InstanceId, JobId, RelayAccount, foreign_event_id, own_event_id
from posthouse.domain.job import ClaimedJob, Held
from posthouse.domain.stream import Stream
from posthouse.status.apply import Applied, Policy, apply
from posthouse.status.record import record
from posthouse.storage import jobs
from posthouse.storage.db import Database, retry_conflicts
from posthouse.storage.spans import WIDE

_numbers = itertools.count(1)

HOUR = timedelta(hours=1)
POLICY = Policy(
    soft_bounce=(HOUR, 6 * HOUR, 17 * HOUR),
    unknown_after={Stream.TRANSACTIONAL: timedelta(seconds=10), Stream.MARKETING: timedelta(minutes=10)},
)


def told(
    held: Held,
    kind: EventType,
    bounce: BounceClass | None = None,
    *,
    origin: Origin = Origin.RELAY,
    at: datetime | None = None,
) -> Event:
    """Told by the relay, under an id of its own."""
    return Event(
        job_id=held.job_id,
        event_id=foreign_event_id("test", str(next(_numbers))),
        attempt=held.attempt,
        type=kind,
        origin=origin,
        occurred_at=datetime.now(UTC) if at is None else at,
        bounce=bounce,
        relay=RelayAccount("mail"),
        diagnostic="250 2.0.0 as the relay said it",
    )


def sent(held: Held, *, at: datetime | None = None) -> Event:
    """Our own word for an acceptance."""
    event = told(held, EventType.SENT, origin=Origin.HANDOVER, at=at)
    return replace(
        event,
        event_id=own_event_id(held.job_id, held.attempt, EventType.SENT),
        provider_message_id=f"taken-{held.attempt}",
    )


def deferred(held: Held, due_at: datetime) -> Event:
    """Our own hand-over was told to come back."""
    return replace(told(held, EventType.DEFERRED, origin=Origin.HANDOVER), due_at=due_at)


class Desk:
    """One worker's claims, and recordings as every process of the house makes them."""

    def __init__(self, db: Database, eyes: Eyes, worker: InstanceId) -> None:
        self.db = db
        self.eyes = eyes
        self.worker = worker
        self._rng = random.Random(1)

    async def record(self, events: Sequence[Event]) -> Applied:
        return await record(self.db, events, POLICY, self._rng)

    async def record_the_whole_way(self, events: Sequence[Event]) -> Applied:
        """Without the one statement for plain acceptances."""
        return await retry_conflicts(self.db, lambda tx: apply(tx, events, POLICY), rng=self._rng)

    async def claim(
        self, limit: int = 100, stream: Stream = Stream.TRANSACTIONAL, worker: InstanceId | None = None
    ) -> list[ClaimedJob]:
        return (await jobs.claim(self.db, stream, worker or self.worker, limit, WIDE)).jobs

    async def sending(self, letter: Letter = Letter()) -> Held:  # noqa: B008  # a frozen value
        """A job just claimed."""
        (job_id,) = await accept(self.db, [letter])
        (job,) = [job for job in await self.claim(stream=letter.stream) if job.job_id == job_id]
        return job.held

    async def again(self, held: Held) -> Held:
        """The same job when its due_at has come and it is claimed once more."""
        await self.come_due(held.job_id)
        (job,) = [job for job in await self.claim() if job.job_id == held.job_id]
        return job.held

    async def come_due(self, job_id: JobId) -> None:
        await self.eyes.run(f"UPDATE email_job SET due_at = now() WHERE job_id = '{job_id}'")

    async def job(self, held: Held) -> Stored:
        return await self.eyes.job(held.job_id)


async def open_desk(db: Database, eyes: Eyes) -> Desk:
    return Desk(db, eyes, await enlisted(db))
