"""Counts that the demo shows and compares. SQL in queries/demo.sql."""

from dataclasses import dataclass

from posthouse.domain.job import Status
from posthouse.domain.stream import Stream
from posthouse.storage.db import Database


@dataclass(frozen=True, slots=True)
class EventCount:
    type: str
    bounce_class: str | None
    n: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from due to the first answer of a relay."""

    p99_ms: float
    max_ms: float


async def event_counts(db: Database) -> list[EventCount]:
    return await db.fetch_into(EventCount, "event_counts")


async def status_counts(db: Database) -> dict[Status, int]:
    return {Status(name): n for name, n in await db.fetch_into(_pair, "status_counts")}


async def callbacks_waiting(db: Database) -> int:
    return await db.value(int, "callbacks_waiting")


async def handover_latency(db: Database, stream: Stream) -> Latency:
    found = await db.fetch_one(Latency, "handover_milliseconds", stream.value)
    return found or Latency(0.0, 0.0)


def _pair(name: str, n: int) -> tuple[str, int]:
    return name, n


@dataclass(frozen=True, slots=True)
class Progress:
    sent: int
    sending: int


async def progress(db: Database, stream: Stream) -> Progress:
    """Mails sent and in hand, by the books: cheap to ask while everything runs."""
    found = await db.fetch_one(Progress, "progress", stream.value)
    return found or Progress(0, 0)
