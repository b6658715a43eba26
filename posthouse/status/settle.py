"""The operator's word about an outcome that stayed unknown."""

from datetime import datetime
from enum import StrEnum
from typing import assert_never

from posthouse.domain.errors import Conflict, NotFound
from posthouse.domain.event import EventType
from posthouse.domain.ids import JobId
from posthouse.domain.job import Status
from posthouse.status.apply import Policy, apply
from posthouse.status.doubts import resolved_by_operator
from posthouse.storage import recording
from posthouse.storage.db import Database


class Resolution(StrEnum):
    SENT = "sent"  # the relay took it
    AGAIN = "again"  # the relay did not take it, or a second copy does no harm
    FAILED = "failed"  # it is not to be sent any more


async def resolve(
    db: Database, job_id: JobId, resolution: Resolution, reason: str, policy: Policy, now: datetime
) -> None:
    """Settle one job in UNKNOWN. Raises NotFound, Conflict for a job in another state, NotNow."""
    async with db.transaction() as tx:
        job = (await recording.lock_jobs(tx, [job_id])).get(job_id)
        if job is None:
            raise NotFound(f"There is no mail {job_id}.")
        if job.status != Status.UNKNOWN:
            raise Conflict(
                f"The outcome of {job_id} is not in doubt: it is {job.status}.", code="not_unknown"
            )
        event = resolved_by_operator(job_id, job.attempt, _event_of(resolution), now, reason)
        await apply(tx, [event], policy)


def _event_of(resolution: Resolution) -> EventType:
    match resolution:
        case Resolution.SENT:
            return EventType.SENT
        case Resolution.AGAIN:
            return EventType.DEFERRED
        case Resolution.FAILED:
            return EventType.FAILED
        case _:
            assert_never(resolution)
