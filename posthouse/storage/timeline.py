"""What happened to a mail: its jobs and their events. SQL in queries/timeline.sql."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from posthouse.domain.ids import unix_ms_of
from posthouse.storage.db import Database, Session

_LAST_MS = (1 << 48) - 1
#: Of one mail at once: one that was opened ten thousand times is read in pages.
MAX_EVENTS = 1000


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
    expiry_given: bool  # by the client
    attempt: int
    sandbox: bool
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


@dataclass(frozen=True, slots=True)
class EventPlace:
    """Where an event stands among those of its mail: what they are ordered by."""

    occurred_at: datetime
    received_at: datetime
    job_id: UUID
    event_id: UUID


def place_of(event: EventRecord) -> EventPlace:
    return EventPlace(event.occurred_at, event.received_at, event.job_id, event.event_id)


async def find(db: Database, any_id: UUID) -> MailRecord | None:
    """By a message's id, with all its recipients, or by one recipient's; None when there is none."""
    jobs = await find_jobs(db, any_id)
    return MailRecord(jobs, await events_of(db, jobs, MAX_EVENTS)) if jobs else None


async def find_jobs(db: Database | Session, any_id: UUID) -> tuple[JobRecord, ...]:
    """A message's recipients, or the one whose id it is; empty when there is none."""
    return tuple(await db.fetch_into(JobRecord, "mail_jobs", any_id, *bounds(any_id)))


async def events_of(
    db: Database | Session, jobs: Sequence[JobRecord], limit: int, after: EventPlace | None = None
) -> tuple[EventRecord, ...]:
    """Up to `limit` events of the jobs of one mail, oldest first. What arrives late and happened before
    `after` is not among them."""
    ids = [job.job_id for job in jobs]
    start = _BEGINNING if after is None else after
    found = await db.fetch_into(
        EventRecord,
        "mail_events",
        ids,
        *bounds(ids[0]),
        start.occurred_at,
        start.received_at,
        start.job_id,
        start.event_id,
        limit,
    )
    return tuple(found)


def bounds(any_id: UUID) -> tuple[UUID, UUID]:
    """The ids of the millisecond that an id names: a message's jobs are made in one.

    That is their partition, and few rows of it whichever index the planner takes: given the bounds of the
    day it read every job of the day, where the partition was last analysed while it was empty.
    """
    ms = min(unix_ms_of(any_id), _LAST_MS - 1)
    return UUID(int=ms << 80), UUID(int=(ms + 1) << 80)


_BEGINNING = EventPlace(
    datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), UUID(int=0), UUID(int=0)
)
