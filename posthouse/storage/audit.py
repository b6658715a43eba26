"""What the database says of every job, for the audit. SQL in queries/audit.sql."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from posthouse.domain.event import BounceClass, EventType, Origin
from posthouse.domain.job import Status
from posthouse.storage.db import Session

_PAGE: Final = 10_000
_BEFORE_ALL: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class AuditedJob:
    job_id: UUID
    status: Status
    sandboxed: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """An event that explains a repeat, a mail that did not arrive, or an end."""

    job_id: UUID
    event_id: UUID
    attempt: int
    type: EventType
    bounce: BounceClass | None
    origin: Origin
    reasoned: bool  # it says why, in words


async def jobs(snapshot: Session) -> AsyncIterator[AuditedJob]:
    """Every job, a page at a time. Raises NotNow."""
    last = _BEFORE_ALL
    while page := await snapshot.fetch_into(_job, "audited_jobs", last, _PAGE):
        for row in page:
            yield row
        last = page[-1].job_id


async def traces(snapshot: Session) -> AsyncIterator[Trace]:
    """Every event that explains something, a page at a time. Raises NotNow."""
    job_id = event_id = _BEFORE_ALL
    while page := await snapshot.fetch_into(_trace, "audited_events", job_id, event_id, _PAGE):
        for trace in page:
            yield trace
        job_id, event_id = page[-1].job_id, page[-1].event_id


def _job(job_id: UUID, status: str, sandboxed: bool) -> AuditedJob:
    return AuditedJob(job_id, Status(status), sandboxed)


def _trace(
    job_id: UUID, event_id: UUID, attempt: int, kind: str, bounce: str | None, origin: str, reasoned: bool
) -> Trace:
    """A row of audited_events, columns in the query's order."""
    return Trace(
        job_id,
        event_id,
        attempt,
        EventType(kind),
        None if bounce is None else BounceClass(bounce),
        Origin(origin),
        reasoned,
    )
