"""Cancelling and rescheduling: what a client may still do to mail that it posted.

Both lock the jobs first, as a claim does: a job is either claimed or changed, never both. What is waiting
can be changed; what is in hand, or may have been handed over, cannot be called back.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import JobId, own_event_id
from posthouse.domain.job import Status
from posthouse.status.apply import Policy, apply
from posthouse.storage import changes, recording
from posthouse.storage.db import Database, Transaction, retry_conflicts
from posthouse.storage.recording import Delta, LockedJob

_WAITING = frozenset({Status.PENDING, Status.QUEUED})
_UNDER_WAY = frozenset({Status.SENDING, Status.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Changed:
    """Where a job stands after what was asked for; `done`: as it was asked for."""

    status: Status
    done: bool


class Changes:
    def __init__(self, db: Database, policy: Policy, rng: random.Random) -> None:
        self._db = db
        self._policy = policy
        self._rng = rng

    async def cancel(self, ids: Sequence[JobId], reason: str, now: datetime) -> dict[JobId, Changed]:
        """Cancel those that wait, for their first try or for another. Done as well: those that were
        cancelled before, so that a client may ask again.

        What is in hand is not sent again if its outcome stays unknown: a worker that died looks alive until
        its beat has stood still for long enough, so this is not only for those that are in doubt already.
        Raises NotNow.
        """

        async def work(tx: Transaction) -> dict[JobId, Changed]:
            jobs = await recording.lock_jobs(tx, ids)
            waiting = [job for job in jobs.values() if job.status in _WAITING]
            await apply(tx, [_cancelled(job, reason, now) for job in waiting], self._policy)
            under_way = [job.job_id for job in jobs.values() if job.status in _UNDER_WAY]
            await changes.forbid_repeat(tx, under_way)
            return {job.job_id: _after_cancelling(job) for job in jobs.values()}

        return await retry_conflicts(self._db, work, rng=self._rng)

    async def reschedule(
        self, ids: Sequence[JobId], due_at: datetime, scheduled_at: datetime | None
    ) -> dict[JobId, Changed]:
        """Move those that wait, for their first try or for another. Raises NotNow."""

        async def work(tx: Transaction) -> dict[JobId, Changed]:
            jobs = await recording.lock_jobs(tx, ids)
            moved = [job for job in jobs.values() if job.status in _WAITING]
            await changes.reschedule(tx, [job.job_id for job in moved], due_at, scheduled_at)
            back = Counter(_to_pending(job) for job in moved if job.status != Status.PENDING)
            await recording.book(tx, back, Counter())
            unmoved = {job.job_id: Changed(Status(job.status), done=False) for job in jobs.values()}
            return unmoved | {job.job_id: Changed(Status.PENDING, done=True) for job in moved}

        return await retry_conflicts(self._db, work, rng=self._rng)


def _cancelled(job: LockedJob, reason: str, now: datetime) -> Event:
    return Event(
        job_id=job.job_id,
        event_id=own_event_id(job.job_id, job.attempt, EventType.CANCELLED),
        attempt=job.attempt,
        type=EventType.CANCELLED,
        origin=Origin.HOUSE,
        occurred_at=now,
        reason=reason,
    )


def _after_cancelling(job: LockedJob) -> Changed:
    status = Status.CANCELLED if job.status in _WAITING else Status(job.status)
    return Changed(status, done=status is Status.CANCELLED)


def _to_pending(job: LockedJob) -> Delta:
    return Delta(job.day, job.stream, job.campaign_id, job.status, Status.PENDING.value)
