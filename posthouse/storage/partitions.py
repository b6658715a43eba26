"""Day and month partitions: made ahead of time, dropped when their time is over.

Jobs, events, contents, attachments and terms have one partition per UTC day of their id, links one per
month. There is no default partition: a row for a day that has none is refused, so `missing` is part of
readiness.

No statement here waits longer than a second for a lock: behind a waiting DDL statement every reader of the
table queues up. It gives up and tries again instead.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Final

from posthouse.clock import full_jitter
from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.domain.ids import first_of_day
from posthouse.domain.job import OPEN_STATES
from posthouse.storage.db import Database, Wire, open_wire
from posthouse.storage.sql import filled

DAYS_BEFORE: Final = 1
DAYS_AHEAD: Final = 7
#: A job may be scheduled 30 days ahead, retried for 7 more, and held in doubt for 7: no open job is older.
MIN_RETENTION_DAYS: Final = 45

_JOB: Final = "email_job"
# In the order in which a day goes: an event finds its partition by its job, so jobs come last and go first.
_DAY_PARENTS: Final = (_JOB, "email_event", "email_content", "email_attachment", "email_term")
_MONTH_PARENT: Final = "link"
_TRIES: Final = 8
_SERVER_SETTINGS: Mapping[str, str] = MappingProxyType(
    {"application_name": "posthouse partitions", "lock_timeout": "1s", "statement_timeout": "0"}
)


class Standing(Enum):
    ATTACHED = "attached"
    DETACHING = "detaching"  # DETACH CONCURRENTLY was cut off half-way: no longer read, not yet by itself
    LOOSE = "loose"  # a table by itself


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of one parent: `end` is the first day after it."""

    parent: str
    start: date
    end: date

    @property
    def name(self) -> str:
        return f"{self.parent}_p{self.start:%Y%m}" + (
            "" if self.parent == _MONTH_PARENT else f"{self.start:%d}"
        )

    @property
    def places(self) -> dict[str, str]:
        """What stands for `__places__` in partitions.sql."""
        lower, upper = (
            (str(self.start), str(self.end))
            if self.parent == _MONTH_PARENT
            else (str(first_of_day(self.start)), str(first_of_day(self.end)))
        )
        return {
            "parent": self.parent,
            "partition": self.name,
            "from": lower,
            "to": upper,
            "day": str(self.start),
        }


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows are kept, in days. Raises Misconfigured below what an open job may need."""

    days: int = MIN_RETENTION_DAYS
    link_days: int = 400

    def __post_init__(self) -> None:
        if self.days < MIN_RETENTION_DAYS or self.link_days < self.days:
            raise Misconfigured(
                f"Retention is at least {MIN_RETENTION_DAYS} days, and links are kept no shorter than mails "
                f"(now: {self.days} and {self.link_days} days)."
            )


@dataclass(frozen=True, slots=True)
class Dropped:
    names: tuple[str, ...]
    held_back: tuple[tuple[date, int], ...]  # days that stay, and how many jobs of them are still open


def wanted(today: date) -> tuple[Partition, ...]:
    """The partitions that must stand on a day, in the order in which they are made."""
    days = [today + timedelta(days=n) for n in range(-DAYS_BEFORE, DAYS_AHEAD + 1)]
    months = sorted({_month(day) for day in days})
    links = [_month_partition(month) for month in months]
    return (*links, *(_day_partition(parent, day) for day in days for parent in reversed(_DAY_PARENTS)))


async def missing(database: Database, today: date) -> list[str]:
    """Names of partitions that should stand and do not: not ready to accept mail. Raises NotNow."""
    async with database.session() as session:
        standing = dict(await session.fetch_into(_standing, "standing_partitions"))
    return [p.name for p in wanted(today) if standing.get(p.name) is not Standing.ATTACHED]


async def ensure(database: Database, today: date, *, rng: random.Random) -> list[str]:
    """Make what is missing; the names made. Any number of processes may call it at once.

    Raises NotNow when a lock could not be had in several tries, or the database is away.
    """
    if not await missing(database, today):
        return []
    async with _maintenance(database, rng) as wire:
        standing = await _all_standing(wire)
        lacking = [p for p in wanted(today) if standing.get(p.name) is not Standing.ATTACHED]
        for partition in lacking:
            await _patiently(_make, wire, partition, rng)
    return [partition.name for partition in lacking]


async def drop_older_than(
    database: Database, today: date, retention: Retention, *, rng: random.Random
) -> Dropped:
    """Drop what `retention` no longer covers. A day's counts go into `day_closing` in the transaction that
    drops its jobs; a day with jobs that are still open stays, and is reported.

    Between DETACH and that transaction a day is in neither place: audits look at attached days only.
    Raises NotNow as `ensure` does; what was begun is finished by the next call.
    """
    names: list[str] = []
    held_back: list[tuple[date, int]] = []
    async with _maintenance(database, rng) as wire:
        standing = await _all_standing(wire)
        for partition in _expired(standing, today, retention):
            open_jobs = await _open_jobs(wire, partition)
            if open_jobs:
                held_back.append((partition.start, open_jobs))
            elif partition.start not in {day for day, _ in held_back}:
                await _patiently(_detach, wire, partition, rng)
                await _patiently(_drop, wire, partition, rng)
                names.append(partition.name)
    return Dropped(tuple(names), tuple(held_back))


def _expired(standing: Mapping[str, Standing], today: date, retention: Retention) -> list[Partition]:
    """By day, and within a day jobs first."""
    found = [_parsed(name) for name in standing]
    keep_days = today - timedelta(days=retention.days)
    keep_links = today - timedelta(days=retention.link_days)
    gone = [
        p
        for p in found
        if p is not None and p.end <= (keep_links if p.parent == _MONTH_PARENT else keep_days)
    ]
    order = (*_DAY_PARENTS, _MONTH_PARENT)
    return sorted(gone, key=lambda p: (p.start, order.index(p.parent)))


async def _make(wire: Wire, partition: Partition) -> None:
    standing = (await _all_standing(wire)).get(partition.name)
    create = "create_job_partition" if partition.parent == _JOB else "create_partition"
    if standing is Standing.DETACHING:
        await _script(wire, "finish_detaching", partition)
    async with wire.transaction():
        if standing is None:
            await _script(wire, create, partition)
        await _script(wire, "attach_partition", partition)


async def _open_jobs(wire: Wire, partition: Partition) -> int:
    if partition.parent != _JOB:
        return 0
    states = sorted(state.value for state in OPEN_STATES)
    return await wire.value(
        int, "open_jobs_between", first_of_day(partition.start), first_of_day(partition.end), states
    )


async def _detach(wire: Wire, partition: Partition) -> None:
    # Looked at anew in each try: one that ran into lock_timeout has left the partition half-way.
    match (await _all_standing(wire))[partition.name]:
        case Standing.ATTACHED:
            await _script(wire, "detach_partition", partition)
        case Standing.DETACHING:
            await _script(wire, "finish_detaching", partition)
        case Standing.LOOSE:
            pass


async def _drop(wire: Wire, partition: Partition) -> None:
    async with wire.transaction():
        if partition.parent == _JOB:
            await _script(wire, "close_day", partition)
        await _script(wire, "drop_partition", partition)


async def _script(wire: Wire, name: str, partition: Partition) -> None:
    await wire.script(filled(wire.sql(name), partition.places))


async def _patiently(
    step: Callable[[Wire, Partition], Awaitable[None]], wire: Wire, partition: Partition, rng: random.Random
) -> None:
    for attempt in range(_TRIES - 1):
        try:
            return await step(wire, partition)
        except NotNow:
            await asyncio.sleep(full_jitter(rng, attempt, base=0.05, cap=2.0))
    return await step(wire, partition)


@asynccontextmanager
async def _maintenance(database: Database, rng: random.Random) -> AsyncIterator[Wire]:
    """A connection that alone makes and drops partitions."""
    wire = await open_wire(database.dsn, database.queries, server_settings=_SERVER_SETTINGS)
    try:
        await _take_turn(wire, rng)
        yield wire
    finally:
        await wire.close()


async def _take_turn(wire: Wire, rng: random.Random) -> None:
    # Polled: a session that waits inside a statement holds a snapshot, and DETACH CONCURRENTLY waits for it.
    attempt = 0
    while not await wire.value(bool, "try_partition_lock"):
        await asyncio.sleep(full_jitter(rng, attempt, base=0.02, cap=0.5))
        attempt += 1


async def _all_standing(wire: Wire) -> dict[str, Standing]:
    return dict(await wire.fetch_into(_standing, "standing_partitions"))


def _standing(name: str, standing: str) -> tuple[str, Standing]:
    return name, Standing(standing)


def _day_partition(parent: str, day: date) -> Partition:
    return Partition(parent, day, day + timedelta(days=1))


def _month_partition(month: date) -> Partition:
    return Partition(_MONTH_PARENT, month, _month(month + timedelta(days=31)))


def _month(day: date) -> date:
    return day.replace(day=1)


def _parsed(name: str) -> Partition | None:
    """The partition of a table's name; None for a table that only looks like one."""
    parent, _, digits = name.rpartition("_p")
    if parent not in (*_DAY_PARENTS, _MONTH_PARENT):
        return None
    try:
        start = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8] or 1))
    except ValueError:
        return None
    partition = _month_partition(start) if parent == _MONTH_PARENT else _day_partition(parent, start)
    return partition if partition.name == name else None
