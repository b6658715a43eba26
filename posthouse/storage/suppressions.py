"""Suppressions as people see and change them. SQL in queries/suppressions.sql.

The check before a send is part of the claim (queries/jobs.sql), not of this file.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from posthouse.domain.errors import Conflict, NotFound
from posthouse.domain.event import EventType
from posthouse.domain.ids import AddressKey, ApiKeyId, JobId
from posthouse.domain.suppression import Suppression, SuppressionReason, SuppressionScope, SuppressionSource
from posthouse.storage.db import Database, Transaction, retry_conflicts
from posthouse.storage.timeline import bounds


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: its last entry."""

    added_at: datetime
    address: AddressKey
    scope: str
    reason: str


_BEGINNING = Place(datetime.max.replace(tzinfo=UTC), AddressKey(""), "", "")


def place_of(entry: Suppression) -> Place:
    return Place(entry.added_at, entry.address, entry.scope.value, entry.reason.value)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries; None: whatever it is."""

    address: AddressKey | None = None
    reason: SuppressionReason | None = None
    scope: SuppressionScope | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """An entry that somebody took away; `removed_by` None: the operator."""

    reason: str
    scope: str
    added_at: datetime
    removed_at: datetime
    removed_by: UUID | None
    why: str


@dataclass(frozen=True, slots=True)
class Cause:
    """The mail whose event made an entry, and what that event said; no `occurred_at`: it is not stored."""

    job_id: UUID
    made: SuppressionReason  # the reason of the entry
    type: str
    message_id: UUID
    stream: str
    from_address: str
    occurred_at: datetime | None
    bounce_class: str | None
    reason: str | None
    smtp_code: int | None
    enhanced_code: str | None
    diagnostic: str | None


_EVENT_OF = {
    SuppressionReason.BOUNCE: EventType.BOUNCED,
    SuppressionReason.SPAM: EventType.COMPLAINED,
    SuppressionReason.UNSUBSCRIBE: EventType.UNSUBSCRIBED,
}


async def page(db: Database, *, only: Filter, after: Place | None, limit: int) -> list[Suppression]:
    """Up to `limit` entries, newest first."""
    start = _BEGINNING if after is None else after
    place = (start.added_at, start.address, start.scope)
    if only.address is not None:
        name = "suppression_page_of_address"
        wanted: tuple[object, ...] = (*place, start.reason, only.address, only.reason, only.scope)
    elif only.reason is not None:
        name = "suppression_page_of_reason"
        wanted = (*place, only.scope, only.reason)
    else:
        name = "suppression_page"
        wanted = (*place, start.reason, only.scope)
    return await db.fetch_into(_suppression, name, *wanted, limit)


async def entries_of(db: Database, address: AddressKey) -> list[Suppression]:
    """Every entry of an address, also those that have ended."""
    return await db.fetch_into(_suppression, "suppressions_of", address)


async def removals_of(db: Database, address: AddressKey, *, limit: int) -> list[Removal]:
    """Entries that were taken away, the latest first."""
    return await db.fetch_into(Removal, "suppression_removals", address, limit)


async def causes(db: Database, entries: Sequence[Suppression]) -> list[Cause]:
    """What is still known of the mails that caused these entries."""
    caused = [(e.job_id, e) for e in entries if e.job_id is not None and e.reason in _EVENT_OF]
    limits = [bounds(job_id) for job_id, _ in caused]
    return await db.fetch_into(
        _cause,
        "suppression_causes",
        [job_id for job_id, _ in caused],
        [first for first, _ in limits],
        [past for _, past in limits],
        [_EVENT_OF[entry.reason] for _, entry in caused],
        [entry.added_at for _, entry in caused],
        [entry.reason for _, entry in caused],
    )


async def add(db: Database, entry: Suppression) -> Suppression:
    """The entry as it stands now: the older one, if there was one for the same scope and reason."""
    async with db.transaction() as tx:
        stored = await tx.fetch_one(
            _suppression,
            "add_suppression",
            entry.address,
            entry.scope,
            entry.reason,
            entry.source,
            entry.added_at,
            entry.expires_at,
            entry.note,
        )
    return entry if stored is None else stored


async def import_set(db: Database, entries: Sequence[Suppression], now: datetime, rng: random.Random) -> int:
    """A set of a list, committed; how many of it are new entries. Raises NotNow."""
    by_key: dict[tuple[str, str, str], Suppression] = {}
    for entry in entries:
        key = (entry.address, entry.scope.value, entry.reason.value)
        by_key[key] = _longer(by_key.get(key, entry), entry)
    unique = list(by_key.values())

    async def insert(tx: Transaction) -> int:
        return await tx.value(
            int,
            "import_suppressions",
            now,
            [entry.address for entry in unique],
            [entry.scope for entry in unique],
            [entry.reason for entry in unique],
            [entry.expires_at for entry in unique],
            [entry.note for entry in unique],
        )

    return await retry_conflicts(db, insert, rng=rng)


def _longer(one: Suppression, other: Suppression) -> Suppression:
    if one.expires_at is None or (other.expires_at is not None and other.expires_at <= one.expires_at):
        return one
    return other


@dataclass(frozen=True, slots=True)
class Remover:
    """Who takes entries away, and why; `key` None: the operator."""

    key: ApiKeyId | None
    why: str


async def remove(
    db: Database, address: AddressKey, by: Remover, now: datetime, *, with_complaints: bool
) -> list[Suppression]:
    """Every entry of the address, which may then be mailed again; returns what was removed, of which a record
    stays.

    Raises NotFound, and Conflict when a complaint is among them and was not meant.
    """
    async with db.transaction() as tx:
        entries = await tx.fetch_into(_suppression, "lock_suppressions", address)
        if not entries:
            raise NotFound("This address is not suppressed.")
        if not with_complaints and any(e.reason is SuppressionReason.SPAM for e in entries):
            raise Conflict(
                "This person complained about mail as spam, which suppresses for good. To mail them again "
                "all the same, repeat with force=true and a reason.",
                code="complaint_needs_force",
            )
        await tx.execute("remove_suppressions", address, now, by.key, by.why)
    return entries


def _cause(
    job_id: UUID,
    made: str,
    type_: str,
    message_id: UUID,
    stream: str,
    from_address: str,
    occurred_at: datetime | None,
    bounce_class: str | None,
    reason: str | None,
    smtp_code: int | None,
    enhanced_code: str | None,
    diagnostic: str | None,
) -> Cause:
    return Cause(
        job_id,
        SuppressionReason(made),
        type_,
        message_id,
        stream,
        from_address,
        occurred_at,
        bounce_class,
        reason,
        smtp_code,
        enhanced_code,
        diagnostic,
    )


def _suppression(
    address: str,
    reason: str,
    scope: str,
    source: str,
    added_at: datetime,
    expires_at: datetime | None,
    job_id: UUID | None,
    note: str,
) -> Suppression:
    return Suppression(
        AddressKey(address),
        SuppressionReason(reason),
        SuppressionScope(scope),
        SuppressionSource(source),
        added_at,
        expires_at,
        None if job_id is None else JobId(job_id),
        note,
    )
