"""Suppressions as people see and change them. SQL in queries/suppressions.sql.

The check before a send is part of the claim (queries/jobs.sql), not of this file.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from posthouse.domain.errors import Conflict, NotFound
from posthouse.domain.ids import AddressKey, JobId
from posthouse.domain.suppression import Suppression, SuppressionReason, SuppressionScope, SuppressionSource
from posthouse.storage.db import Database


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


async def page(
    db: Database, *, after: Place | None, address: AddressKey | None, limit: int
) -> list[Suppression]:
    """Up to `limit` entries, newest first."""
    start = _BEGINNING if after is None else after
    return await db.fetch_into(
        _suppression,
        "suppression_page",
        start.added_at,
        start.address,
        start.scope,
        start.reason,
        address,
        limit,
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


async def remove(db: Database, address: AddressKey, *, with_complaints: bool) -> list[Suppression]:
    """Every entry of the address, which may then be mailed again; returns what was removed.

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
        await tx.execute("remove_suppressions", address)
    return entries


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
