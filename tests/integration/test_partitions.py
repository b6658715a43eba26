import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
import pytest_asyncio

from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.domain.ids import day_of, first_of_day, uuid7
from posthouse.domain.job import Status
from posthouse.storage import partitions
from posthouse.storage.db import Database, PoolKind, Transaction, open_pool
from posthouse.storage.partitions import Retention, drop_older_than, ensure, missing, wanted
from posthouse.storage.sql import Queries, load_queries, parse

TODAY = date(2026, 3, 2)
_CAMPAIGN = UUID(int=7)
_OWN = """\
-- name: reloptions
SELECT coalesce(reloptions::text, '') FROM pg_class WHERE relname = $1;
-- name: closings
SELECT day, stream, campaign_id, status, n FROM day_closing ORDER BY status, stream;
-- name: jobs_total
SELECT count(*) FROM email_job;
-- name: indexes
SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent WHERE c.relkind = 'I'
AND c.relname LIKE 'email_job%' AND i.inhrelid IN
(SELECT indexrelid FROM pg_index WHERE indrelid = to_regclass($1));
-- name: parent_indexes
SELECT count(*) FROM pg_index WHERE indrelid = 'email_job'::regclass;
-- name: look_at_events
SELECT count(*) FROM email_event;
-- name: put_link
INSERT INTO link (link_hash, month, url) VALUES ('\\x00', $1, 'https://example.com');
-- name: finish_job
UPDATE email_job SET status = 'SENT' WHERE job_id = $1;
"""


@pytest.fixture
def rng() -> random.Random:
    return random.Random(1)


@pytest_asyncio.fixture
async def db(undated_dsn: str) -> AsyncIterator[Database]:
    queries = Queries((*load_queries().all(), *parse(_OWN, "own.sql")))
    opened = await open_pool(undated_dsn, PoolKind.GENERAL, queries)
    yield opened
    await opened.close()


def _id(day: date, n: int = 0) -> UUID:
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return uuid7(int(at.timestamp() * 1000), n)


async def _put_jobs(tx: Transaction, day: date, status: Status, n: int, start: int = 0) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    columns = [
        "job_id",
        "message_id",
        "due_at",
        "expires_at",
        "created_at",
        "status",
        "stream",
        "campaign_id",
    ]
    columns += ["to_address", "address_key", "from_address"]
    rows = [
        (
            _id(day, i),
            _id(day, i),
            now,
            now,
            now,
            status.value,
            "marketing",
            _CAMPAIGN,
            "a@b.c",
            "a@b.c",
            "d@e.f",
        )
        for i in range(start, start + n)
    ]
    assert await tx.copy("email_job", columns, rows) == n


def _pair(name: str, standing: str) -> tuple[str, str]:
    return name, standing


def test_wanted_are_yesterday_to_a_week_ahead_and_the_months_they_touch() -> None:
    names = [partition.name for partition in wanted(date(2026, 2, 26))]
    assert names[:2] == ["link_p202602", "link_p202603"]
    assert names[2:7] == [
        "email_term_p20260225",
        "email_attachment_p20260225",
        "email_content_p20260225",
        "email_event_p20260225",
        "email_job_p20260225",
    ]
    assert names[-1] == "email_job_p20260305"
    assert len(names) == 2 + 9 * 5


def test_bounds_meet_and_hold_every_id_of_their_day() -> None:
    jobs = [p for p in wanted(TODAY) if p.parent == "email_job"]
    for earlier, later in pairwise(jobs):
        assert earlier.places["to"] == later.places["from"]
    for partition in jobs:
        last = uuid7(
            int(datetime(*partition.end.timetuple()[:3], tzinfo=UTC).timestamp() * 1000) - 1, 2**74 - 1
        )
        assert first_of_day(partition.start) < last < first_of_day(partition.end)
        assert day_of(last) == partition.start


async def test_what_is_missing_is_named_and_made_once(db: Database, rng: random.Random) -> None:
    names = [partition.name for partition in wanted(TODAY)]
    assert await missing(db, TODAY) == names
    assert await ensure(db, TODAY, rng=rng) == names
    assert await missing(db, TODAY) == []
    assert await ensure(db, TODAY, rng=rng) == []
    tomorrow = TODAY + timedelta(days=1)
    parents = ("email_term", "email_attachment", "email_content", "email_event", "email_job")
    new = [f"{parent}_p20260310" for parent in parents]
    assert await missing(db, tomorrow) == new
    assert await ensure(db, tomorrow, rng=rng) == new


async def test_job_partitions_have_room_and_all_indexes_of_their_parent(
    db: Database, rng: random.Random
) -> None:
    await ensure(db, TODAY, rng=rng)
    options = await db.value(str, "reloptions", "email_job_p20260302")
    assert options == "{fillfactor=80,autovacuum_vacuum_scale_factor=0.02}"
    indexes = await db.value(int, "parent_indexes")
    assert indexes >= 2
    assert await db.value(int, "indexes", "email_job_p20260302") == indexes


async def test_rows_find_their_day_and_others_are_refused(db: Database, rng: random.Random) -> None:
    await ensure(db, TODAY, rng=rng)
    async with db.transaction() as tx:
        for day in (TODAY - timedelta(days=1), TODAY, TODAY + timedelta(days=7)):
            await _put_jobs(tx, day, Status.PENDING, 1)
    await db.execute("put_link", date(2026, 3, 1))
    with pytest.raises(Exception, match="no partition"):
        async with db.transaction() as tx:
            await _put_jobs(tx, TODAY + timedelta(days=8), Status.PENDING, 1)


async def test_many_at_once_make_each_once(db: Database) -> None:
    made = await asyncio.gather(*(ensure(db, TODAY, rng=random.Random(n)) for n in range(4)))
    assert sorted(name for names in made for name in names) == sorted(p.name for p in wanted(TODAY))


async def test_a_busy_table_is_waited_for_without_blocking_it(
    db: Database, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_SERVER_SETTINGS", {"lock_timeout": "20ms"})
    async with db.transaction() as tx:
        await tx.script("LOCK TABLE link IN SHARE MODE")  # what DDL of somebody else holds
        making = asyncio.ensure_future(ensure(db, TODAY, rng=rng))
        done, _ = await asyncio.wait({making}, timeout=0.3)
        assert not done
    assert await making == [partition.name for partition in wanted(TODAY)]


async def _filled(db: Database, day: date, rng: random.Random) -> None:
    await ensure(db, day, rng=rng)
    async with db.transaction() as tx:
        await _put_jobs(tx, day, Status.DELIVERED, 3)
        await _put_jobs(tx, day, Status.BOUNCED, 2, start=10)


async def test_a_day_that_goes_leaves_its_counts(db: Database, rng: random.Random) -> None:
    await _filled(db, TODAY, rng)
    kept = await drop_older_than(db, TODAY + timedelta(days=45), Retention(), rng=rng)
    assert "email_job_p20260302" not in kept.names
    dropped = await drop_older_than(db, TODAY + timedelta(days=46), Retention(), rng=rng)
    parents = ("email_job", "email_event", "email_content", "email_attachment", "email_term")
    assert dropped.names == tuple(f"{parent}_p20260302" for parent in parents)
    assert dropped.held_back == ()
    assert await db.value(int, "jobs_total") == 0
    assert await db.fetch_into(lambda *row: row, "closings") == [
        (TODAY, "marketing", _CAMPAIGN, "BOUNCED", 2),
        (TODAY, "marketing", _CAMPAIGN, "DELIVERED", 3),
    ]
    again = await drop_older_than(db, TODAY + timedelta(days=46), Retention(), rng=rng)
    assert again.names == ()


async def test_links_outlive_jobs(db: Database, rng: random.Random) -> None:
    await ensure(db, TODAY, rng=rng)
    before = await drop_older_than(db, date(2026, 4, 1) + timedelta(days=399), Retention(), rng=rng)
    assert "link_p202603" not in before.names
    assert len(before.names) == 9 * 5
    after = await drop_older_than(db, date(2026, 4, 1) + timedelta(days=400), Retention(), rng=rng)
    assert after.names == ("link_p202603",)


async def test_a_day_with_an_open_job_stays_and_is_reported(db: Database, rng: random.Random) -> None:
    await _filled(db, TODAY, rng)
    async with db.transaction() as tx:
        await _put_jobs(tx, TODAY, Status.UNKNOWN, 1, start=20)
    late = TODAY + timedelta(days=46)
    held = await drop_older_than(db, late, Retention(), rng=rng)
    assert held.held_back == ((TODAY, 1),)
    assert not any(name.endswith("20260302") for name in held.names)
    assert await db.value(int, "jobs_total") == 6
    await db.execute("finish_job", _id(TODAY, 20))
    assert "email_job_p20260302" in (await drop_older_than(db, late, Retention(), rng=rng)).names


async def test_a_detach_cut_off_half_way_is_finished_by_the_next(
    db: Database, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _filled(db, TODAY, rng)
    monkeypatch.setattr(partitions, "_SERVER_SETTINGS", {"lock_timeout": "20ms"})
    monkeypatch.setattr(partitions, "_TRIES", 2)
    late = TODAY + timedelta(days=46)
    async with db.transaction() as reader:
        await reader.value(int, "jobs_total")  # a reader of every partition, who is not in a hurry
        with pytest.raises(NotNow):
            await drop_older_than(db, late, Retention(), rng=rng)
        assert await db.value(int, "look_at_events") == 0  # nobody waits behind the one who gave up
    assert "detaching" in {standing for _, standing in await db.fetch_into(_pair, "standing_partitions")}
    dropped = await drop_older_than(db, late, Retention(), rng=rng)
    assert dropped.names[0].startswith("email_job")
    assert len(await db.fetch("closings")) == 2


async def test_a_detached_day_left_by_a_crash_is_closed_and_dropped(db: Database, rng: random.Random) -> None:
    await _filled(db, TODAY, rng)
    async with db.session() as session:
        await session.script("ALTER TABLE email_job DETACH PARTITION email_job_p20260302")
        await session.script("CREATE TABLE email_job_p9 (n int); CREATE TABLE other_p20260302 (n int)")
    dropped = await drop_older_than(db, TODAY + timedelta(days=46), Retention(), rng=rng)
    assert "email_job_p20260302" in dropped.names
    assert len(await db.fetch("closings")) == 2


async def test_a_detached_day_that_is_wanted_is_attached_again(db: Database, rng: random.Random) -> None:
    await _filled(db, TODAY, rng)
    async with db.session() as session:
        await session.script("ALTER TABLE email_job DETACH PARTITION email_job_p20260302")
    assert await ensure(db, TODAY, rng=rng) == ["email_job_p20260302"]
    assert await db.value(int, "jobs_total") == 5


def test_retention_is_no_shorter_than_a_job_may_live() -> None:
    assert replace(Retention(), days=60).days == 60
    for days, link_days in ((44, 400), (45, 44), (60, 59)):
        with pytest.raises(Misconfigured, match="at least 45 days"):
            Retention(days, link_days)
