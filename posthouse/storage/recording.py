"""Set-based writes behind status.apply: lock, store, move, keep the books. SQL in queries/record.sql."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeVar

import msgspec

from posthouse.domain.event import Event
from posthouse.domain.ids import AddressKey, CampaignId, EventId, JobId
from posthouse.domain.job import Status
from posthouse.domain.suppression import SuppressionReason, SuppressionScope
from posthouse.storage.db import Database, Session, Transaction
from posthouse.storage.spans import spans_of
from posthouse.storage.text import storable

T = TypeVar("T")


class LockedJob(msgspec.Struct, frozen=True, gc=False):
    """A job's row, locked until the transaction ends. Fields in the order of the query's columns."""

    job_id: JobId
    status: str
    attempt: int
    in_doubt: bool
    stream: str
    campaign_id: CampaignId | None
    address_key: AddressKey
    provider_message_id: str | None
    day: date


class Moved(msgspec.Struct, frozen=True, gc=False):
    job_id: JobId
    status: Status
    in_doubt: bool
    due_at: datetime | None
    sent_at: datetime | None
    relay: str | None
    provider_message_id: str | None
    soft_retry: bool = False


@dataclass(frozen=True, slots=True)
class Marks:
    """When each mark was first set; None leaves it as it is."""

    job_id: JobId
    opened_at: datetime | None = None
    clicked_at: datetime | None = None
    complained_at: datetime | None = None
    unsubscribed_at: datetime | None = None


class Delta(msgspec.Struct, frozen=True, gc=False):
    """A change of state as the books see it."""

    day: date
    stream: str
    campaign_id: CampaignId | None
    from_status: str
    to_status: str


@dataclass(frozen=True, slots=True)
class NewSuppression:
    address: AddressKey
    scope: SuppressionScope
    reason: SuppressionReason
    added_at: datetime
    job_id: JobId | None
    note: str


async def lock_jobs(tx: Transaction, ids: Iterable[JobId]) -> dict[JobId, LockedJob]:
    """The jobs of these ids that exist, locked in key order."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    rows = await tx.fetch_into(LockedJob, "lock_jobs", wanted, wanted[0], wanted[-1])
    return {row.job_id: row for row in rows}


async def record_sent(db: Database, accepted: Sequence[Event]) -> set[JobId]:
    """Acceptances of mails in hand: states, events and books in one statement.

    Returns the jobs it was done for; of the others nothing was written.
    """
    ids = [e.job_id for e in accepted]
    done = await db.fetch_into(
        JobId,
        "record_sent",
        ids,
        [e.event_id for e in accepted],
        [e.attempt for e in accepted],
        [e.occurred_at for e in accepted],
        [e.relay for e in accepted],
        _column([_text(e.provider_message_id) for e in accepted]),
        _column([_text(e.diagnostic) for e in accepted]),
        _column([e.template_version for e in accepted]),
        Status.SENDING.value,
        *spans_of(ids),
    )
    return set(done)


async def insert_events(tx: Transaction, events: Sequence[Event]) -> set[EventId]:
    """Store events of locked jobs; the ids of those that were not there yet."""
    ordered = sorted(events, key=lambda e: (e.job_id, e.event_id))
    return set(await tx.fetch_into(EventId, "insert_events", *_event_columns(ordered)))


async def soft_bounced_attempts(session: Session, ids: Iterable[JobId]) -> dict[JobId, set[int]]:
    """The attempts of each job that ended in a soft bounce."""
    wanted = sorted(set(ids))
    attempts: dict[JobId, set[int]] = {job_id: set() for job_id in wanted}
    if wanted:
        for job_id, attempt in await session.fetch_into(
            _attempt, "soft_bounces", wanted, wanted[0], wanted[-1]
        ):
            attempts[job_id].add(attempt)
    return attempts


async def move_jobs(tx: Transaction, moves: Sequence[Moved]) -> None:
    """New states of locked jobs."""
    if not moves:
        return
    await tx.fetchval(
        "move_jobs",
        [m.job_id for m in moves],
        [m.status for m in moves],
        [m.in_doubt for m in moves],
        _column([m.due_at for m in moves]),
        _column([m.sent_at for m in moves]),
        _column([m.relay for m in moves]),
        _column([_text(m.provider_message_id) for m in moves]),
        [m.soft_retry for m in moves],
        *spans_of([m.job_id for m in moves]),
    )


async def mark_jobs(tx: Transaction, marks: Sequence[Marks]) -> None:
    """First times of marks on locked jobs; an earlier one than is there takes its place."""
    if not marks:
        return
    await tx.execute(
        "mark_jobs",
        [m.job_id for m in marks],
        [m.opened_at for m in marks],
        [m.clicked_at for m in marks],
        [m.complained_at for m in marks],
        [m.unsubscribed_at for m in marks],
        *spans_of([m.job_id for m in marks]),
    )


async def suppress(tx: Transaction, new: Sequence[NewSuppression]) -> None:
    """Suppressions that events cause; one that is there stays as it is."""
    if not new:
        return
    once = {(s.address, s.scope, s.reason): s for s in reversed(new)}.values()
    await tx.execute(
        "suppress",
        [s.address for s in once],
        [s.scope.value for s in once],
        [s.reason.value for s in once],
        [s.added_at for s in once],
        [s.job_id for s in once],
        [storable(s.note) for s in once],
    )


async def book(tx: Transaction, deltas: Mapping[Delta, int], stored: Counter[date]) -> None:
    """One recording's rows of the books, grouped."""
    if not deltas and not stored:
        return
    await tx.execute(
        "book",
        [d.day for d in deltas],
        [d.stream for d in deltas],
        [d.campaign_id for d in deltas],
        [d.from_status for d in deltas],
        [d.to_status for d in deltas],
        list(deltas.values()),
        list(stored.keys()),
        list(stored.values()),
    )


def _attempt(job_id: JobId, attempt: int) -> tuple[JobId, int]:
    return job_id, attempt


def _text(foreign: str | None) -> str | None:
    """One bad byte of a relay must not fail the batch it stands in."""
    return storable(foreign) if foreign else None


def _column(values: list[T | None]) -> Sequence[T | None]:
    """A column of nothing goes as an empty array, which `unnest` fills up with nulls: each element that is
    sent costs 0.2 µs of our own time."""
    return values if values.count(None) < len(values) else ()


def _event_columns(events: Sequence[Event]) -> list[Sequence[object]]:
    """Events turned on their side: one list a column, in the order insert_events takes them."""
    return [
        [e.job_id for e in events],
        [e.event_id for e in events],
        [e.attempt for e in events],
        [e.type for e in events],
        [e.origin for e in events],
        [e.occurred_at for e in events],
        _column([e.bounce for e in events]),
        _column([_text(e.reason) for e in events]),
        _column([e.relay for e in events]),
        _column([_text(e.provider_message_id) for e in events]),
        _column([e.smtp_code for e in events]),
        _column([_text(e.enhanced_code) for e in events]),
        _column([_text(e.diagnostic) for e in events]),
        _column([_text(e.url) for e in events]),
        _column([_text(e.user_agent) for e in events]),
        [e.machine for e in events],
        _column([e.template_version for e in events]),
        _column([e.raw for e in events]),
    ]
