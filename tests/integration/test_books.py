"""The books against hands that meddle, and against writers that do not stop for the count."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from posthouse.domain.event import EventType
from posthouse.domain.ids import day_of, first_of_day, uuid7
from posthouse.domain.job import Status
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import SuppressionReason
from posthouse.status.audit import Finding
from posthouse.status.auditor import audit_house
from posthouse.storage import books
from posthouse.storage.books import Books, Side
from posthouse.storage.db import Database, Session

TODAY = date(2026, 3, 4)
CAMPAIGN = UUID(int=77)


@pytest.fixture
async def house(database: Database) -> Database:
    """Two days of partitions, empty."""
    async with database.session() as session:
        for day in (TODAY, TODAY + timedelta(days=1)):
            await make_day(session, day)
    return database


async def make_day(session: Session, day: date) -> None:
    low, high = first_of_day(day), first_of_day(day + timedelta(days=1))
    for table in ("email_job", "email_event"):
        await session.script(
            f"CREATE TABLE {table}_p{day:%Y%m%d} PARTITION OF {table} FOR VALUES FROM ('{low}') TO ('{high}')"
        )


def job_id(number: int, day: date = TODAY) -> UUID:
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return uuid7(int(at.timestamp() * 1000) + number, number)


async def accept(
    session: Session, ids: list[UUID], *, stream: Stream = Stream.MARKETING, campaign: UUID | None = None
) -> None:
    """What intake does, in one statement: jobs, their ledger, their first delta, their first event."""
    listed, owner = ", ".join(f"'{one}'::uuid" for one in ids), f"'{campaign}'" if campaign else "NULL"
    day = day_of(ids[0])
    await session.script(f"""
        WITH given AS (SELECT unnest(ARRAY[{listed}]) AS id), jobs AS (
            INSERT INTO email_job (job_id, message_id, due_at, expires_at, created_at, status, stream,
                                   to_address, address_key, from_address, campaign_id)
            SELECT id, id, now(), now(), '{day}', 'PENDING', '{stream}', 'a@b.example', 'a@b.example',
                   's@shop.example', {owner} FROM given
        ), ledger AS (
            INSERT INTO acceptance_ledger VALUES ('{day}', '{stream}', {owner}, {len(ids)})
        ), delta AS (
            INSERT INTO job_delta VALUES ('{day}', '{stream}', {owner}, NULL, 'PENDING', {len(ids)})
        ), events AS (
            INSERT INTO email_event (job_id, event_id, occurred_at, attempt, type, origin)
            SELECT id, id, now(), 0, 'accepted', 'house' FROM given
        ) INSERT INTO event_ledger VALUES ('{day}', {len(ids)})""")


async def move(
    session: Session, ids: list[UUID], old: Status, new: Status, *, campaign: UUID | None = None
) -> None:
    listed, owner = ", ".join(f"'{one}'" for one in ids), f"'{campaign}'" if campaign else "NULL"
    await session.script(f"""
        WITH moved AS (UPDATE email_job SET status = '{new}' WHERE job_id IN ({listed}) RETURNING stream)
        INSERT INTO job_delta
        SELECT '{day_of(ids[0])}', stream, {owner}, '{old}', '{new}', count(*) FROM moved GROUP BY stream""")


async def test_an_empty_house_balances(house: Database) -> None:
    assert await books.residual(house) == Books(0, {}, {}, {}, {}, ())


async def test_what_is_accepted_and_moved_balances(house: Database) -> None:
    async with house.session() as session:
        ids = [job_id(n) for n in range(10)]
        await accept(session, ids)
        await accept(session, [job_id(n, TODAY + timedelta(days=1)) for n in range(3)], campaign=CAMPAIGN)
        await move(session, ids[:4], Status.PENDING, Status.SENDING)
        await move(session, ids[:4], Status.SENDING, Status.SENT)
    counted = await books.residual(house)
    assert counted.residual == 0
    assert counted.findings == []
    assert counted.accepted == 13
    assert counted.by_status == {Status.PENDING: 9, Status.SENT: 4}
    assert counted.events == {EventType.ACCEPTED: 13}
    open_jobs = await books.open_jobs(house)
    assert {status: n for (_, status), n in open_jobs.items() if n} == {Status.PENDING: 9}


async def _delete_job(session: Session) -> None:
    await session.script(f"DELETE FROM email_job WHERE job_id = '{job_id(3)}'")


async def _delete_event(session: Session) -> None:
    await session.script(f"DELETE FROM email_event WHERE job_id = '{job_id(3)}'")


async def _flip_status(session: Session) -> None:
    await session.script(f"UPDATE email_job SET status = 'DELIVERED' WHERE job_id = '{job_id(3)}'")


async def _forge_job(session: Session) -> None:
    await session.script(f"""
        INSERT INTO email_job SELECT (jsonb_populate_record(j, '{{"job_id": "{job_id(99)}"}}')).*
        FROM email_job j WHERE job_id = '{job_id(3)}'""")


async def _forge_event(session: Session) -> None:
    await session.script(f"""
        INSERT INTO email_event (job_id, event_id, occurred_at, attempt, type, origin)
        VALUES ('{job_id(3)}', '{job_id(99)}', now(), 1, 'sent', 'relay')""")


async def _lose_ledger_row(session: Session) -> None:
    await session.script("DELETE FROM acceptance_ledger")


async def _change_stream(session: Session) -> None:
    await session.script(f"UPDATE email_job SET stream = 'transactional' WHERE job_id = '{job_id(3)}'")


@pytest.mark.parametrize(
    ("meddle", "residual", "words"),
    [
        (_delete_job, 2, "2026-03-04 marketing: 5 jobs were accepted, 4 are in the table"),
        (_delete_event, 1, "2026-03-04: 5 events were stored, 4 are in the table"),
        (_flip_status, 2, "2026-03-04 marketing: 0 jobs moved to DELIVERED, 1 are in that state"),
        (_forge_job, 2, "2026-03-04 marketing: 5 jobs were accepted, 6 are in the table"),
        (_forge_event, 1, "2026-03-04: 5 events were stored, 6 are in the table"),
        (_lose_ledger_row, 5, "2026-03-04 marketing: 0 jobs were accepted, 5 are in the table"),
        (_change_stream, 4, "2026-03-04 transactional: 0 jobs were accepted, 1 are in the table"),
    ],
)
@pytest.mark.parametrize("folded", [False, True], ids=["as appended", "folded"])
async def test_each_act_of_meddling_shows(
    house: Database,
    meddle: Callable[[Session], Awaitable[None]],
    residual: int,
    words: str,
    *,
    folded: bool,
) -> None:
    async with house.session() as session:
        for n in range(5):
            await accept(session, [job_id(n)])
        if folded:
            await books.fold(house)
        await meddle(session)
    counted = await books.residual(house)
    assert counted.residual == residual
    assert words in counted.findings


async def test_each_campaign_has_books_of_its_own(house: Database) -> None:
    async with house.session() as session:
        await accept(session, [job_id(1)], campaign=CAMPAIGN)
        await accept(session, [job_id(2)], campaign=UUID(int=78))
        await session.script(f"UPDATE email_job SET campaign_id = '{CAMPAIGN}'")
    found = [line for line in (await books.residual(house)).differences if line.side is Side.ACCEPTED]
    assert [(line.campaign_id, line.booked, line.found) for line in found] == [
        (CAMPAIGN, 1, 2),
        (UUID(int=78), 1, 0),
    ]
    assert f"campaign {CAMPAIGN}" in found[0].words


async def test_a_closed_day_keeps_its_place_in_the_books(house: Database) -> None:
    async with house.session() as session:
        ids = [job_id(n) for n in range(5)]
        await accept(session, ids)
        await move(session, ids[:2], Status.PENDING, Status.EXPIRED)
        await session.script(f"""
            INSERT INTO day_closing VALUES ('{TODAY}', 'marketing', NULL, 'PENDING', 3),
                                           ('{TODAY}', 'marketing', NULL, 'EXPIRED', 2);
            DROP TABLE email_job_p{TODAY:%Y%m%d}""")
        counted = await books.residual(house)
        assert counted.residual == 0
        assert counted.by_status == {Status.PENDING: 3, Status.EXPIRED: 2}
        await session.script(f"DROP TABLE email_event_p{TODAY:%Y%m%d}")
    assert (await books.residual(house)).residual == 0


async def test_a_day_that_is_leaving_is_in_neither_place(house: Database) -> None:
    async with house.session() as session:
        await accept(session, [job_id(n) for n in range(5)])
        await session.script(f"ALTER TABLE email_job DETACH PARTITION email_job_p{TODAY:%Y%m%d}")
    assert (await books.residual(house)).residual == 0


async def test_a_day_that_is_nowhere_shows(house: Database) -> None:
    async with house.session() as session:
        await accept(session, [job_id(n) for n in range(5)])
        await session.script(f"DROP TABLE email_job_p{TODAY:%Y%m%d}")
    assert "5 jobs were accepted, 0 are in the table" in (await books.residual(house)).findings[0]


async def test_suppressions_and_machine_events_are_counted_apart(house: Database) -> None:
    async with house.session() as session:
        await session.script("""
            INSERT INTO email_suppression (address_key, scope, reason, source, expires_at)
            VALUES ('a', 'all', 'BOUNCE', 'event', NULL),
                   ('b', 'all', 'BOUNCE', 'event', now() - '1s'::interval),
                   ('a', 'all', 'SPAM', 'event', NULL)""")
        await accept(session, [job_id(1)])
        await session.script(f"""
            INSERT INTO email_event (job_id, event_id, occurred_at, attempt, type, origin, machine)
            VALUES ('{job_id(1)}', '{job_id(2)}', now(), 0, 'opened', 'reader', true),
                   ('{job_id(1)}', '{job_id(3)}', now(), 0, 'opened', 'reader', false);
            INSERT INTO event_ledger VALUES ('{TODAY}', 2)""")
    counted = await books.residual(house)
    assert counted.suppressed_by_reason == {SuppressionReason.BOUNCE: 1, SuppressionReason.SPAM: 1}
    assert counted.events == {EventType.ACCEPTED: 1, EventType.OPENED: 2}
    assert counted.machine_events == {EventType.ACCEPTED: 0, EventType.OPENED: 1}
    assert counted.residual == 0


async def test_folding_keeps_every_sum_and_leaves_one_row_a_group(house: Database) -> None:
    async with house.session() as session:
        for n in range(20):
            await accept(session, [job_id(n)])
            await move(session, [job_id(n)], Status.PENDING, Status.SENDING)
    assert await books.fold(house) == 19 * 4
    assert await books.fold(house) == 0
    assert (await books.residual(house)).residual == 0


async def test_only_one_folds_at_a_time(house: Database) -> None:
    async with house.session() as session:
        for n in range(3):
            await accept(session, [job_id(n)])
    async with house.transaction() as tx:
        assert await tx.value(bool, "one_folder")
        assert await books.fold(house) == 0
    assert await books.fold(house) == 6


async def test_the_count_is_exact_while_others_write_and_fold(house: Database) -> None:
    stop = asyncio.Event()
    rng = random.Random(4)

    async def write(base: int) -> None:
        number = base
        while not stop.is_set():
            ids = [job_id(number + n) for n in range(rng.randint(1, 9))]
            number += 10
            async with house.transaction() as tx:
                await accept(tx, ids)
                await move(tx, ids, Status.PENDING, Status.SENDING)
            await settle(house, ids)

    async def settle(db: Database, ids: list[UUID]) -> None:
        async with db.transaction() as tx:
            await move(tx, ids, Status.SENDING, rng.choice([Status.SENT, Status.PENDING, Status.UNKNOWN]))

    async def fold() -> None:
        while not stop.is_set():
            await books.fold(house)

    async with asyncio.TaskGroup() as group:
        for base in (0, 1_000_000, 2_000_000):
            group.create_task(write(base))
        group.create_task(fold())
        counts = [await books.residual(house) for _ in range(25)]
        stop.set()
    assert [counted.residual for counted in counts] == [0] * 25
    assert counts[-1].accepted > counts[0].accepted


async def test_the_audit_reads_the_house(house: Database, tmp_path: Path) -> None:
    sent, held, refused, silent = (job_id(n) for n in range(4))
    async with house.session() as session:
        await accept(session, [sent, held, refused, silent])
        await move(session, [sent], Status.PENDING, Status.SENT)
        await move(session, [refused], Status.PENDING, Status.BOUNCED)
        await move(session, [silent], Status.PENDING, Status.FAILED)
        await add_event(session, sent, 1, "outcome_unknown")
        await add_event(session, refused, 1, "bounced", "550 5.1.1 No such user")
        await add_event(session, silent, 1, "failed")
    client, sink = tmp_path / "client.jsonl", tmp_path / "sink.jsonl"
    client.write_text(
        "".join(
            f'{{"at":1,"id":"{one}","recipients":[{{"id":"{one}","email":"a@b.example"}}],"key":null,"replayed":false}}\n'
            for one in (sent, held, refused, silent)
        )
    )
    sink.write_text("".join(f'{{"n":{n},"job_id":"{sent}","attempt":{n}}}\n' for n in (1, 2)))
    verdict = await audit_house(house, client, sink, settled=False)
    assert {kind: found.examples for kind, found in verdict.comparison.findings.items() if found.count} == {
        Finding.NO_REASON: (str(silent),)
    }
    assert (verdict.comparison.explained_repeats, verdict.comparison.pending) == (1, 1)
    assert verdict.books.residual == 0
    assert not verdict.clean
    settled = await audit_house(house, client, sink, settled=True)
    assert settled.comparison.findings[Finding.LOST].examples == (str(held),)


async def add_event(session: Session, job: UUID, attempt: int, kind: str, reason: str = "") -> None:
    bounce = "'hard'" if kind == "bounced" else "NULL"
    await session.script(f"""
        INSERT INTO email_event (job_id, event_id, occurred_at, attempt, type, origin, bounce_class, reason)
        VALUES ('{job}', gen_random_uuid(), now(), {attempt}, '{kind}', 'handover', {bounce}, '{reason}');
        INSERT INTO event_ledger VALUES ('{day_of(job)}', 1)""")
