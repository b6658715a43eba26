"""Events on their way to the event stream. SQL in queries/outbox.sql."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from posthouse.clock import full_jitter
from posthouse.domain.errors import NotNow
from posthouse.domain.event import BounceClass, EventType, Origin
from posthouse.domain.ids import CampaignId, EventId, JobId, MessageId, RelayAccount, TemplateKey
from posthouse.domain.outgoing import EmailEvent
from posthouse.domain.stream import Stream
from posthouse.storage.db import Database
from posthouse.storage.spans import spans_of

#: Tries to change whether events are put by, each of which waits a second for a lock.
_TRIES: Final = 10
_NO_TAGS: Final = msgspec.Raw(b"[]")
_NO_METADATA: Final = msgspec.Raw(b"{}")


async def put_events_by(db: Database, *, rng: random.Random, wanted: bool) -> None:
    """From now on put each event by for the stream, or no longer, and forget those that wait.

    Any number of processes may call it at once. Raises NotNow when writers were in the way of every try.
    """
    for attempt in range(_TRIES):
        try:
            await db.fetchval("put_events_by", wanted)
            return
        except NotNow:
            if attempt == _TRIES - 1:
                raise
            await asyncio.sleep(full_jitter(rng, attempt, base=0.1, cap=2.0))


async def are_put_by(db: Database) -> bool:
    """Raises NotNow."""
    return await db.value(bool, "events_are_put_by")


@asynccontextmanager
async def outgoing(db: Database) -> AsyncIterator[list[EmailEvent]]:
    """Some that wait, oldest first: gone when the context ends without an error, else as they were."""
    async with db.transaction() as tx:
        taken = await tx.fetch_into(_taken, "take_outgoing_events")
        jobs = [job_id for job_id, _ in taken]
        events = [event_id for _, event_id in taken]
        yield await tx.fetch_into(_event, "outgoing_events", jobs, events, *spans_of(jobs)) if taken else []


async def oldest(db: Database) -> float:
    """For how many seconds an event has waited; 0 when none does. Raises NotNow."""
    return await db.fetch_one(_seconds, "oldest_outgoing_event") or 0.0


def _taken(job_id: UUID, event_id: UUID) -> tuple[UUID, UUID]:
    return job_id, event_id


def _seconds(seconds: float) -> float:
    return seconds


def _event(
    event_id: UUID,
    job_id: UUID,
    message_id: UUID,
    kind: str,
    occurred_at: datetime,
    received_at: datetime,
    attempt: int,
    origin: str,
    stream: str,
    recipient: str,
    recipient_domain: str,
    campaign_id: UUID | None,
    template: str | None,
    template_version: int | None,
    tags: bytes | None,
    metadata: bytes | None,
    sandbox: bool,
    relay: str | None,
    provider_message_id: str | None,
    bounce_class: str | None,
    smtp_code: int | None,
    enhanced_code: str | None,
    diagnostic: str | None,
    reason: str | None,
    url: str | None,
    user_agent: str | None,
    machine: bool,
) -> EmailEvent:
    return EmailEvent(
        event_id=EventId(event_id),
        job_id=JobId(job_id),
        message_id=MessageId(message_id),
        type=EventType(kind),
        occurred_at=occurred_at,
        received_at=received_at,
        attempt=attempt,
        origin=Origin(origin),
        stream=Stream(stream),
        recipient=recipient,
        recipient_domain=recipient_domain,
        campaign_id=None if campaign_id is None else CampaignId(campaign_id),
        template=None if template is None else TemplateKey(template),
        template_version=template_version,
        tags=_NO_TAGS if tags is None else msgspec.Raw(tags),
        metadata=_NO_METADATA if metadata is None else msgspec.Raw(metadata),
        sandbox=sandbox,
        relay=None if relay is None else RelayAccount(relay),
        provider_message_id=provider_message_id,
        bounce_class=None if bounce_class is None else BounceClass(bounce_class),
        smtp_code=smtp_code,
        enhanced_code=enhanced_code,
        diagnostic=diagnostic,
        reason=reason,
        url=url,
        user_agent=user_agent,
        machine=machine,
    )
