"""Workers' beats, and what a dead one leaves behind. SQL in queries/leases.sql."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from posthouse.domain.ids import InstanceId, JobId, RelayAccount
from posthouse.domain.job import Status
from posthouse.domain.stream import Stream
from posthouse.storage.db import Database, Session, Transaction


@dataclass(frozen=True, slots=True)
class Living:
    instance: InstanceId
    beat_at: datetime


@dataclass(frozen=True, slots=True)
class Left:
    """A job that a dead worker held."""

    job_id: JobId
    attempt: int
    stream: str
    deaths: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """An unknown outcome whose time to settle has come."""

    job_id: JobId
    attempt: int
    stream: str
    held: bool  # for the operator, and nobody came
    sandbox: bool
    no_repeat: bool  # somebody wanted it cancelled


@dataclass(frozen=True, slots=True)
class Askable:
    """An unknown outcome, with what its relay must be told to find it."""

    job_id: JobId
    attempt: int
    stream: str
    recipient: str
    relay: RelayAccount | None  # None: its worker died before it said where it was going
    since: datetime


async def enlist(
    db: Database, instance: InstanceId, role: str, stream: Stream | None, host: str, pid: int
) -> None:
    await db.execute("enlist_worker", instance, role, None if stream is None else stream.value, host, pid)


async def beat(db: Database, instance: InstanceId) -> bool:
    """False: this worker was declared dead."""
    return await db.fetchval("beat", instance) is not None


async def retire(db: Database, instance: InstanceId) -> None:
    await db.execute("retire_worker", instance)


async def living(session: Session) -> list[Living]:
    return await session.fetch_into(Living, "living_workers")


async def bury(tx: Transaction, worker: Living) -> bool:
    """Mark it dead unless it has beaten since it was looked at."""
    return bool(await tx.fetch("bury_worker", worker.instance, worker.beat_at))


async def ended(session: Session) -> list[InstanceId]:
    """Workers that were declared dead, or ended by themselves."""
    return await session.fetch_into(InstanceId, "ended_workers")


async def held_by(tx: Transaction, workers: Sequence[InstanceId]) -> list[Left]:
    """Their jobs in SENDING, locked in key order."""
    return await tx.fetch_into(Left, "held_by", workers)


async def count_deaths(tx: Transaction, jobs: Sequence[JobId]) -> None:
    if jobs:
        await tx.execute("count_deaths", jobs, min(jobs), max(jobs))


async def doubts_due(tx: Transaction, asked: Sequence[Stream]) -> list[Doubt]:
    """Locked, so that no other word can settle them meanwhile; those that another has locked are his. Without
    those of streams whose relays are asked."""
    return await tx.fetch_into(Doubt, "doubts_due", [stream.value for stream in asked])


async def doubts_to_ask(session: Session, streams: Sequence[Stream]) -> list[Askable]:
    """Unknown outcomes of these streams whose time has come, with what a relay needs to find them."""
    return await session.fetch_into(Askable, "doubts_to_ask", [stream.value for stream in streams])


async def lock_doubts(tx: Transaction, jobs: Sequence[JobId]) -> list[Doubt]:
    """Those of these jobs that are still in doubt, locked in key order."""
    if not jobs:
        return []
    return await tx.fetch_into(Doubt, "lock_doubts", jobs, min(jobs), max(jobs), Status.UNKNOWN.value)


async def hold_doubts(tx: Transaction, jobs: Sequence[JobId], until: datetime) -> None:
    if jobs:
        await tx.execute("hold_doubts", jobs, min(jobs), max(jobs), until, Status.UNKNOWN.value)
