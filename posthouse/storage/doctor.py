"""What an operator asks of the database when something feels wrong. SQL in queries/doctor.sql."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from posthouse.domain.stream import Stream
from posthouse.storage.db import Database, Session


@dataclass(frozen=True, slots=True)
class SilentWorker:
    """Fields in the order of the query's columns."""

    role: str
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class Symptoms:
    server_version: str
    database_ms: float  # its clock, milliseconds since 1970 UTC
    longest_due: Mapping[Stream, float]  # seconds; 0 when nothing waits
    orphaned_jobs: int
    doubts: int
    doubts_overdue: int
    silent_workers: tuple[SilentWorker, ...]
    oldest_callback: float  # seconds; 0 when none waits
    valid_keys: int


async def examine(db: Database, *, lease: timedelta) -> Symptoms:
    """Everything at once. `lease`: how long a worker may be silent. Raises NotNow."""
    async with db.session() as session:
        doubts = await session.fetch_one(_pair, "doubts")
        return Symptoms(
            server_version=await session.value(str, "server_version"),
            database_ms=await session.value(float, "database_clock"),
            longest_due=await _longest_due(session),
            orphaned_jobs=await session.value(int, "orphaned_jobs"),
            doubts=doubts[0] if doubts else 0,
            doubts_overdue=doubts[1] if doubts else 0,
            silent_workers=tuple(
                await session.fetch_into(SilentWorker, "silent_workers", lease.total_seconds())
            ),
            oldest_callback=await session.fetch_one(_seconds, "oldest_callback") or 0.0,
            valid_keys=await session.value(int, "valid_keys"),
        )


async def _longest_due(session: Session) -> dict[Stream, float]:
    """In the table, or on its way to a worker through a topic."""
    waiting = dict(await session.fetch_into(_due, "longest_due", [stream.value for stream in Stream]))
    for stream in Stream:
        dispatched = await session.column(UUID, "oldest_dispatched", stream.value)
        if dispatched:
            bounds = min(dispatched), max(dispatched)
            queued = await session.fetch_one(_seconds, "longest_queued", dispatched, *bounds)
            waiting[stream] = max(waiting[stream], queued or 0.0)
    return waiting


def _pair(first: int, second: int) -> tuple[int, int]:
    return first, second


def _due(stream: str, seconds: float | None) -> tuple[Stream, float]:
    return Stream(stream), seconds or 0.0


def _seconds(seconds: float | None) -> float:
    return seconds or 0.0
