"""What happened to a mail: its jobs and their events. SQL in queries/timeline.sql."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from posthouse.domain.ids import unix_ms_of
from posthouse.storage.db import Database

_LAST_MS = (1 << 48) - 1
_MAX_EVENTS = 1000  # of one mail; an address opened ten thousand times has no longer timeline


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as it is shown; fields in the order of query mail_jobs. JSON columns are as stored."""

    job_id: UUID
    message_id: UUID
    stream: str
    status: str
    to_address: str
    from_address: str
    subject: str | None
    template_key: str | None
    template_version: int | None
    addressing: bytes | None
    tags: bytes | None
    metadata: bytes | None
    relay: str | None
    provider_message_id: str | None
    created_at: datetime
    due_at: datetime
    scheduled_at: datetime | None
    expires_at: datetime
    sent_at: datetime | None
    opened_at: datetime | None
    clicked_at: datetime | None
    complained_at: datetime | None
    unsubscribed_at: datetime | None


@dataclass(frozen=True, slots=True)
class EventRecord:
    """An event as it is shown; fields in the order of query mail_events."""

    job_id: UUID
    event_id: UUID
    type: str
    origin: str
    attempt: int
    occurred_at: datetime
    received_at: datetime
    bounce_class: str | None
    reason: str | None
    relay: str | None
    provider_message_id: str | None
    smtp_code: int | None
    enhanced_code: str | None
    diagnostic: str | None
    url: str | None
    user_agent: str | None
    machine: bool
    template_version: int | None


@dataclass(frozen=True, slots=True)
class MailRecord:
    jobs: tuple[JobRecord, ...]  # a message's recipients, or the one that was asked for; not empty
    events: tuple[EventRecord, ...]  # oldest first


async def find(db: Database, any_id: UUID) -> MailRecord | None:
    """By a message's id, with all its recipients, or by one recipient's; None when there is none."""
    first, end = bounds(any_id)
    async with db.session() as session:
        jobs = await session.fetch_into(JobRecord, "mail_jobs", any_id, first, end)
        if not jobs:
            return None
        ids = [job.job_id for job in jobs]
        events = await session.fetch_into(EventRecord, "mail_events", ids, first, end, _MAX_EVENTS)
    return MailRecord(tuple(jobs), tuple(events))


def bounds(any_id: UUID) -> tuple[UUID, UUID]:
    """The ids of the millisecond that an id names: a message's jobs are made in one.

    That is their partition, and few rows of it whichever index the planner takes: given the bounds of the
    day it read every job of the day, where the partition was last analysed while it was empty.
    """
    ms = min(unix_ms_of(any_id), _LAST_MS - 1)
    return UUID(int=ms << 80), UUID(int=(ms + 1) << 80)
