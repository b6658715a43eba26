"""Events that wait to be told to applications, and the messages made of them. SQL in
queries/webhook_outbox.sql."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from posthouse.domain.ids import EndpointId, JobId, NoticeId, first_of_moment
from posthouse.domain.webhook import EventName
from posthouse.storage.db import Database, Row, Transaction


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """An event and its mail; fields in the order of the query's columns. JSON is as stored."""

    job_id: UUID
    event_id: UUID
    message_id: UUID
    stream: str
    from_address: str
    to_address: str
    subject: str | None
    tags: bytes | None
    metadata: bytes | None
    created_at: datetime
    scheduled_at: datetime | None
    sandbox: bool
    type: str
    occurred_at: datetime
    attempt: int
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


@dataclass(frozen=True, slots=True)
class Taken:
    """`events` are those that are still stored."""

    count: int
    events: tuple[WaitingEvent, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """One message, and the endpoints that are told it. `job_id` None: a test."""

    notice_id: NoticeId
    name: EventName
    job_id: JobId | None
    body: str
    endpoints: tuple[EndpointId, ...]


async def take(tx: Transaction, limit: int) -> Taken:
    """Events that wait, oldest first; they do so no longer when the transaction commits."""
    rows: list[Row] = await tx.fetch("take_waiting_events", limit)
    events = tuple(
        WaitingEvent(*row) for row in rows if row["type"] is not None and row["stream"] is not None
    )
    return Taken(len(rows), events)


async def insert(tx: Transaction, notices: Sequence[Notice], due_at: datetime) -> None:
    """Messages with a delivery for each of their endpoints."""
    deliveries = sorted(
        (endpoint, notice.notice_id, notice.name, notice.job_id)
        for notice in notices
        for endpoint in notice.endpoints
    )
    await tx.execute(
        "insert_notices",
        [notice.notice_id for notice in notices],
        [notice.body for notice in notices],
        due_at,
        [endpoint for endpoint, _, _, _ in deliveries],
        [notice_id for _, notice_id, _, _ in deliveries],
        [name for _, _, name, _ in deliveries],
        [job_id for _, _, _, job_id in deliveries],
    )


async def forget(db: Database, before: datetime, limit: int) -> int:
    """Drop the oldest messages of before that moment with all that is known of them; how many they were."""
    return await db.execute("forget_notices", first_of_moment(before), limit)
