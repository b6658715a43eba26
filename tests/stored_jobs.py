"""Jobs put into a test's database as intake puts them: rows, events and books in one transaction."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from posthouse.domain.ids import AddressKey, EventId, InstanceId, JobId, MessageId, day_of, uuid7
from posthouse.domain.job import Status
from posthouse.domain.stream import Stream
from posthouse.status.apply import Policy
from posthouse.status.changes import Changes
from posthouse.storage import books, leases
from posthouse.storage.acceptance import Books, NewJob, accept_jobs
from posthouse.storage.db import Database, Wire, open_wire
from posthouse.storage.partitions import Partition
from posthouse.storage.sql import Queries, Query, filled
from posthouse.storage.terms import of_recipient

_numbers = itertools.count(1)

#: Long enough for a loaded machine, short enough that a broken law fails a test instead of stopping it.
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Letter:
    """What a test wants accepted. Waits are from now."""

    address: str = "ann@inbox.test"
    stream: Stream = Stream.TRANSACTIONAL
    due_in: timedelta = timedelta(0)
    expires_in: timedelta = timedelta(hours=24)
    expiry_given: bool = False
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """A job as it stands in the table; fields in the order of `standing`'s columns."""

    job_id: JobId
    status: Status
    attempt: int
    due_at: datetime
    expires_at: datetime
    claimed_by: UUID | None
    in_doubt: bool
    deaths: int
    relay: str | None
    provider_message_id: str | None
    sent_at: datetime | None
    opened_at: datetime | None
    clicked_at: datetime | None
    complained_at: datetime | None
    unsubscribed_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    type: str
    attempt: int
    origin: str
    reason: str | None
    diagnostic: str | None


def new_worker() -> InstanceId:
    return InstanceId(UUID(int=next(_numbers) << 64 | 0xBEEF))


async def enlisted(db: Database, stream: Stream | None = Stream.TRANSACTIONAL) -> InstanceId:
    """A worker that the house knows of."""
    worker = new_worker()
    await leases.enlist(db, worker, "worker", stream, "testhost", 1)
    return worker


async def make_days(db: Database, days: Sequence[date]) -> None:
    """The partitions of some days, made by the house's own statements, where they are not there yet."""
    async with db.session() as session:
        there = {str(row[0]) for row in await session.fetch("standing_partitions")}
        for day in days:
            for parent in ("email_term", "email_attachment", "email_content", "email_event", "email_job"):
                partition = Partition(parent, day, day + timedelta(days=1))
                if partition.name in there:
                    continue
                create = "create_job_partition" if parent == "email_job" else "create_partition"
                for name in (create, "attach_partition"):
                    await session.script(filled(session.sql(name), partition.places))


async def accept(db: Database, letters: Sequence[Letter], *, days_ago: int = 0) -> list[JobId]:
    """Accepted and committed, due one after the other in the order given; times of letters are from then."""
    at = datetime.now(UTC) - timedelta(days=days_ago)
    ids = [JobId(uuid7(int(at.timestamp() * 1000), next(_numbers))) for _ in letters]
    jobs = [_row(job_id, letter, at, n) for n, (job_id, letter) in enumerate(zip(ids, letters, strict=True))]
    events = [EventId(uuid7(1, next(_numbers))) for _ in letters]
    by_stream = Counter(letter.stream for letter in letters)
    async with db.transaction() as tx:
        await accept_jobs(
            tx,
            at=at,
            day=day_of(ids[0]),
            jobs=jobs,
            events=events,
            books=Books(by_stream),
            terms=[(of_recipient(job.address_key), job.job_id) for job in jobs],
        )
    return ids


def _row(job_id: JobId, letter: Letter, at: datetime, n: int) -> NewJob:
    due_at = at + letter.due_in + timedelta(microseconds=n) - timedelta(seconds=1)
    return NewJob(
        job_id=job_id,
        message_id=MessageId(job_id),
        stream=letter.stream,
        to_address=letter.address,
        address_key=AddressKey(letter.address),
        from_address="shop@shop.test",
        subject="Your receipt",
        template_id=None,
        template_version=None,
        template_vars=None,
        content_id=None,
        addressing=None,
        headers=None,
        tags=None,
        metadata=None,
        tracked=True,
        due_at=due_at,
        scheduled_at=None,
        expires_at=at + letter.expires_in,
        expiry_given=letter.expiry_given,
        sandbox=letter.sandbox,
    )


async def cancel(db: Database, ids: Sequence[JobId]) -> None:
    await _changes(db).cancel(ids, "asked", datetime.now(UTC))


async def reschedule(db: Database, ids: Sequence[JobId], wait: timedelta) -> None:
    due_at = datetime.now(UTC) + wait
    await _changes(db).reschedule(ids, due_at, due_at)


def _changes(db: Database) -> Changes:
    return Changes(db, Policy((), {}), random.Random(1))


class Eyes:
    """Looks at the tables without the program's own queries, and meddles where only the clock could."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def standing(self, ids: Sequence[JobId]) -> list[Stored]:
        """Jobs as they stand, in the order asked for."""
        rows = await self._wire.fetch_into(_stored, "standing", list(ids))
        by_id = {row.job_id: row for row in rows}
        return [by_id[job_id] for job_id in ids]

    async def job(self, job_id: JobId) -> Stored:
        return (await self.standing([job_id]))[0]

    async def events(self, job_id: JobId) -> list[StoredEvent]:
        """The timeline as it was recorded, without its first line, `accepted`."""
        return (await self._wire.fetch_into(StoredEvent, "events", job_id))[1:]

    async def suppressions(self) -> list[tuple[str, str, str, str]]:
        """Address, scope, reason and note."""
        return await self._wire.fetch_into(_four, "suppressions")

    async def permanent_suppressions(self) -> list[str]:
        """Reasons of those that never expire."""
        return await self._wire.fetch_into(str, "permanent_suppressions")

    async def dead_letters(self) -> list[tuple[str, str, bytes]]:
        """Source, reason and payload, oldest first."""
        return await self._wire.fetch_into(_letter, "dead_letters")

    async def until_somebody_waits_for_a_lock(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await self._wire.value(bool, "somebody_waits"):  # noqa: ASYNC110  # the server's state
                await asyncio.sleep(0.005)

    async def run(self, sql: str) -> None:
        await self._wire.script(sql)

    async def close(self) -> None:
        await self._wire.close()


_EYES = {
    "standing": """
        SELECT job_id, status, attempt, due_at, expires_at, claimed_by, in_doubt, deaths, relay,
               provider_message_id, sent_at, opened_at, clicked_at, complained_at, unsubscribed_at
        FROM email_job WHERE job_id = ANY($1)""",
    "events": """
        SELECT type, attempt, origin, reason, diagnostic FROM email_event WHERE job_id = $1
        ORDER BY (type = 'accepted') DESC, received_at, event_id""",
    "suppressions": """
        SELECT address_key, scope, reason, note FROM email_suppression ORDER BY 1, 2, 3""",
    "permanent_suppressions": "SELECT reason FROM email_suppression WHERE expires_at IS NULL ORDER BY 1",
    "somebody_waits": """
        SELECT EXISTS (SELECT FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock')""",
    "dead_letters": "SELECT source, reason, payload FROM dead_letter ORDER BY dead_letter_id",
}


async def open_eyes(dsn: str) -> Eyes:
    """Connected; close it at the end."""
    queries = Queries(tuple(Query(name, "", sql, "a test") for name, sql in _EYES.items()))
    return Eyes(await open_wire(dsn, queries, server_settings={"application_name": "tests"}))


def _stored(
    job_id: UUID,
    status: str,
    attempt: int,
    due_at: datetime,
    expires_at: datetime,
    claimed_by: UUID | None,
    in_doubt: bool,
    deaths: int,
    relay: str | None,
    provider_message_id: str | None,
    *times: datetime | None,
) -> Stored:
    return Stored(
        JobId(job_id),
        Status(status),
        attempt,
        due_at,
        expires_at,
        claimed_by,
        in_doubt,
        deaths,
        relay,
        provider_message_id,
        *times,
    )


def _four(address: str, scope: str, reason: str, note: str) -> tuple[str, str, str, str]:
    return address, scope, reason, note


async def residual(db: Database) -> list[str]:
    """Where the books do not agree, in words; [] when they balance."""
    return (await books.residual(db)).findings


def _letter(source: str, reason: str, payload: bytes) -> tuple[str, str, bytes]:
    return source, reason, payload
