"""Jobs on their way to a topic, queued in sets, each a dispatch until it is over.

SQL in queries/dispatch.sql.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from posthouse.domain.ids import DispatchId, JobId
from posthouse.domain.job import Held, Status
from posthouse.domain.stream import Stream
from posthouse.storage.db import Database
from posthouse.storage.spans import Look

#: The literal LIMITs there is a queue query for, largest first.
QUEUE_SIZES: Final = (1000, 100, 10, 1)


@dataclass(frozen=True, slots=True)
class Queued:
    """What one statement queued: each job with the attempt that its record will carry."""

    dispatch_id: DispatchId
    jobs: list[Held]
    reached: datetime  # the latest due_at among them


@dataclass(frozen=True, slots=True)
class Place:
    """Where the records of a dispatch are: in which topic, and the last offset in each partition."""

    topic_id: str
    last_offsets: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Placed:
    dispatch_id: DispatchId
    place: Place


@dataclass(frozen=True, slots=True)
class Flow:
    """From the books: how many jobs of a stream are QUEUED, and how many workers have ever taken."""

    queued: int
    taken: int


def queue_size(room: int) -> int:
    """The largest set that never queues more than `room` jobs; 0 if even one is too many."""
    return next((size for size in QUEUE_SIZES if size <= room), 0)


async def queue(
    db: Database, stream: Stream, dispatch_id: DispatchId, limit: int, look: Look
) -> Queued | None:
    """Up to `limit` (one of QUEUE_SIZES) due jobs, committed as QUEUED; None when none is due."""
    rows = await db.fetch_into(_queued, f"queue_{limit}", stream.value, dispatch_id, *look.spans, look.floor)
    return Queued(dispatch_id, [held for held, _ in rows], rows[-1][1]) if rows else None


async def place(db: Database, dispatch_id: DispatchId, place: Place) -> None:
    """Every record of the dispatch is there."""
    partitions = sorted(place.last_offsets)
    last = [place.last_offsets[partition] for partition in partitions]
    await db.execute("place_dispatch", dispatch_id, place.topic_id, partitions, last)


async def unplaced(db: Database, stream: Stream, longer_than: timedelta) -> list[DispatchId]:
    """Dispatches that were queued that long ago and whose records are not known to be in the topic."""
    seconds = longer_than.total_seconds()
    return await db.fetch_into(DispatchId, "unplaced_dispatches", stream.value, seconds)


async def placed(db: Database, stream: Stream) -> list[Placed]:
    """The oldest dispatches whose records are in a topic."""
    return await db.fetch_into(_placed, "placed_dispatches", stream.value)


async def every(db: Database) -> list[DispatchId]:
    """The oldest dispatches of both streams, whatever became of them."""
    return await db.fetch_into(DispatchId, "all_dispatches")


async def close(db: Database, dispatches: Sequence[DispatchId]) -> int:
    """These are over: what is still QUEUED under them is PENDING again. Returns how many jobs."""
    if not dispatches:
        return 0
    async with db.transaction() as tx:
        ended = await tx.fetch_into(_ended, "close_dispatches", dispatches)
        jobs = [job_id for _, ids in ended for job_id in ids]
        under = [dispatch_id for dispatch_id, ids in ended for _ in ids]
        return await tx.value(int, "unqueue_jobs", jobs, under, Status.QUEUED.value) if jobs else 0


async def flow(db: Database, stream: Stream) -> Flow:
    found = await db.fetch_one(Flow, "queue_flow", stream.value)
    return Flow(0, 0) if found is None else found


def _queued(job_id: UUID, attempt: int, due_at: datetime) -> tuple[Held, datetime]:
    return Held(JobId(job_id), attempt), due_at


def _ended(dispatch_id: UUID, job_ids: Sequence[UUID]) -> tuple[UUID, Sequence[UUID]]:
    return dispatch_id, job_ids


def _placed(
    dispatch_id: UUID, topic_id: str, partitions: Sequence[int], last_offsets: Sequence[int]
) -> Placed:
    offsets = dict(zip(partitions, last_offsets, strict=True))
    return Placed(DispatchId(dispatch_id), Place(topic_id, offsets))
