"""The books: two sides of every count, written apart, which must agree. SQL in queries/books.sql.

Acceptance writes its ledger; every statement that moves jobs appends deltas; every recording appends how many
events it stored. Counting the rows themselves is the other side (docs/adr/0009).
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final, assert_never

from posthouse.domain.event import EventType
from posthouse.domain.ids import CampaignId
from posthouse.domain.job import OPEN_STATES, Status
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import SuppressionReason
from posthouse.storage.db import Database, Wire, open_wire

#: Counting every row takes what it takes; it must not be cut off as a request would be.
_COUNTING: Final[Mapping[str, str]] = {
    "application_name": "posthouse books",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "60s",
    "jit": "off",
}


class Side(StrEnum):
    """Which two sides disagree."""

    ACCEPTED = "accepted"  # acceptance ledger against counted jobs
    STATUS = "status"  # counted jobs of a state against the deltas into and out of it
    EVENTS = "events"  # stored against counted events


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of the books that does not agree."""

    side: Side
    day: date
    stream: Stream | None
    campaign_id: CampaignId | None
    status: Status | None
    booked: int
    found: int

    @property
    def words(self) -> str:
        stream = "" if self.stream is None else f" {self.stream}"
        campaign = "" if self.campaign_id is None else f", campaign {self.campaign_id}"
        where = f"{self.day}{stream}{campaign}"
        match self.side:
            case Side.ACCEPTED:
                return f"{where}: {self.booked} jobs were accepted, {self.found} are in the table"
            case Side.STATUS:
                return f"{where}: {self.booked} jobs moved to {self.status}, {self.found} are in that state"
            case Side.EVENTS:
                return f"{where}: {self.booked} events were stored, {self.found} are in the table"
            case _:
                assert_never(self.side)


@dataclass(frozen=True, slots=True)
class Books:
    """The whole house at one instant. `suppressed_by_reason` counts the entries that hold now."""

    accepted: int
    by_status: Mapping[Status, int]
    events: Mapping[EventType, int]
    machine_events: Mapping[EventType, int]  # of `events`, those that no person caused
    suppressed_by_reason: Mapping[SuppressionReason, int]
    differences: tuple[Difference, ...]

    @property
    def residual(self) -> int:
        """The sum of all absolute differences; 0 when the books balance."""
        return sum(abs(line.booked - line.found) for line in self.differences)

    @property
    def findings(self) -> list[str]:
        return [line.words for line in self.differences]


async def residual(db: Database) -> Books:
    """Count everything, exactly, whoever writes meanwhile. Reads every partition: minutes on a large house.

    Raises NotNow.
    """
    async with snapshot(db) as wire:
        return Books(
            accepted=await wire.value(int, "accepted_total"),
            by_status=dict(await wire.fetch_into(_by_status, "jobs_by_status")),
            events=dict(await wire.fetch_into(_by_type, "events_by_type")),
            machine_events=dict(await wire.fetch_into(_by_machine, "events_by_type")),
            suppressed_by_reason=dict(await wire.fetch_into(_by_reason, "suppressions_by_reason")),
            differences=tuple(await wire.fetch_into(_difference, "books_differences")),
        )


async def open_jobs(db: Database) -> dict[tuple[Stream, Status], int]:
    """How many mails stand in each state that is no end. Cheap: read from the folded deltas."""
    return dict(await db.fetch_into(_open, "open_jobs", [status.value for status in OPEN_STATES]))


async def fold(db: Database) -> int:
    """Sum the appended rows of the books into one for each group; how many rows went.

    Appenders are not held up, and what they append meanwhile stays for the next time. Where another folds
    already, nothing is done. Raises NotNow.
    """
    async with db.transaction() as tx:
        if not await tx.value(bool, "one_folder"):
            return 0
        folded = [
            await tx.value(int, query)
            for query in ("fold_acceptance_ledger", "fold_job_delta", "fold_event_ledger")
        ]
        return sum(folded)


@asynccontextmanager
async def snapshot(db: Database) -> AsyncIterator[Wire]:
    """A connection of its own, reading the database as it is at one instant. Raises NotNow."""
    wire = await open_wire(db.dsn, db.queries, server_settings=_COUNTING)
    try:
        async with wire.transaction():
            await wire.execute("books_snapshot")
            yield wire
    finally:
        await wire.close()


def _open(stream: str, status: str, jobs: int) -> tuple[tuple[Stream, Status], int]:
    return (Stream(stream), Status(status)), jobs


def _by_status(status: str, jobs: int) -> tuple[Status, int]:
    return Status(status), jobs


def _by_type(kind: str, events: int, _machine: int) -> tuple[EventType, int]:
    return EventType(kind), events


def _by_machine(kind: str, _events: int, machine: int) -> tuple[EventType, int]:
    return EventType(kind), machine


def _by_reason(reason: str, entries: int) -> tuple[SuppressionReason, int]:
    return SuppressionReason(reason), entries


def _difference(
    side: str,
    day: date,
    stream: str | None,
    campaign_id: CampaignId | None,
    status: str | None,
    booked: int,
    found: int,
) -> Difference:
    """A row of books_differences, columns in the query's order."""
    return Difference(
        Side(side),
        day,
        None if stream is None else Stream(stream),
        campaign_id,
        None if status is None else Status(status),
        booked,
        found,
    )
