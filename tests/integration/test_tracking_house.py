"""Readers over real HTTP, on a real database: opens, clicks, and unsubscribing before the next claim."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
import uvicorn

from posthouse.clock import SystemClock
from posthouse.compose.tracking import hash_text, link_hash
from posthouse.compose.unsubscribe import Unsubscribe, UnsubscribeTokens
from posthouse.domain.event import Event, EventType
from posthouse.domain.ids import InstanceId, JobId, LinkHash, day_of, uuid7
from posthouse.domain.job import Status
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import SuppressionScope
from posthouse.status.apply import Policy, apply
from posthouse.storage import books, jobs, letters, links, partitions
from posthouse.storage.db import Database, PoolKind, Session, open_pool
from posthouse.storage.embedded import Durability, EmbeddedPostgres
from posthouse.storage.letters import DeadLetter
from posthouse.storage.migrate import migrate
from posthouse.storage.spans import WIDE
from posthouse.storage.sql import Queries
from posthouse.telemetry import Metrics
from posthouse.web.links import LinkCache
from posthouse.web.recorder import Recorder
from posthouse.web.spool import Spool
from posthouse.web.tracking import Tracking, build_tracking
from posthouse.web.unsubscribe import suppress

KEY = b"k" * 32
TOKENS = UnsubscribeTokens([b"t" * 64])
URL = "https://shop.example/reset?token=secret"
HASH = link_hash(URL, KEY)
POLICY = Policy((timedelta(hours=1),), {stream: timedelta(seconds=10) for stream in Stream})
WORKER = InstanceId(UUID(int=5))
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


def today() -> date:
    return datetime.now(UTC).date()


def new_job(number: int) -> JobId:
    # A minute old, unless that was yesterday.
    now = datetime.now(UTC)
    at = max(now - timedelta(minutes=1), now.replace(hour=0, minute=0, second=0, microsecond=0))
    return JobId(uuid7(int(at.timestamp() * 1000), number))


async def accept(session: Session, job: JobId, address: str, stream: Stream = Stream.MARKETING) -> None:
    """A pending job and its books."""
    await session.script(f"""
        INSERT INTO email_job (job_id, message_id, due_at, expires_at, created_at, status, stream, to_address,
                               address_key, from_address)
        VALUES ('{job}', '{job}', now(), now() + interval '1 day', '{day_of(job)}', 'PENDING', '{stream}',
                '{address}', '{address}', 's@news.example');
        INSERT INTO acceptance_ledger VALUES ('{day_of(job)}', '{stream}', NULL, 1);
        INSERT INTO job_delta VALUES ('{day_of(job)}', '{stream}', NULL, NULL, 'PENDING', 1)""")


@asynccontextmanager
async def serving(db: Database, folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """The tracking role as it runs: uvicorn on a port. When it ends, everything is recorded."""

    async def record(events: Sequence[Event]) -> None:
        async with db.transaction() as tx:
            await apply(tx, events, POLICY)

    async def no_trouble() -> Sequence[str]:
        return ()

    metrics, clock = Metrics(), SystemClock()
    recorder = Recorder(record, Spool(folder / "spool", max_bytes=1_000_000), clock=clock, metrics=metrics)
    cache = LinkCache(folder / "links.jsonl", max_bytes=1_000_000)
    async with recorder.running(), cache.running():
        app = build_tracking(
            Tracking(
                find_link=partial(links.find, db),
                tokens=TOKENS,
                suppress=partial(suppress, db),
                find_trouble=no_trouble,
                links=cache,
                recorder=recorder,
                clock=clock,
                rng=random.Random(2),
                metrics=metrics,
                job_retention=timedelta(days=45),
                link_retention=timedelta(days=400),
            )
        )
        async with _uvicorn(app) as base, aiohttp.ClientSession(base) as client:
            yield client


@asynccontextmanager
async def _uvicorn(app: object) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))  # type: ignore[arg-type]  # its own ASGI types
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


async def test_open_click_and_unsubscribe_reach_the_timeline(database: Database, tmp_path: Path) -> None:
    job = new_job(1)
    token = TOKENS.seal(Unsubscribe("Reader@Mail.example", SuppressionScope.MARKETING, job))
    async with database.session() as session:
        await accept(session, job, "reader@mail.example")
        await links.store(session, {HASH: URL}, today())
    async with serving(database, tmp_path) as client:
        async with client.get(f"/o/{job}", headers=BROWSER) as pixel:
            assert (pixel.status, pixel.content_type) == (200, "image/gif")
        async with client.get(f"/c/{job}/{hash_text(HASH)}", headers=BROWSER, allow_redirects=False) as click:
            assert (click.status, click.headers["Location"]) == (302, URL)
        async with client.head(f"/c/{job}/{hash_text(HASH)}", headers=BROWSER) as looked:
            assert looked.status == 302
        async with client.get(f"/u/{token}") as asked:
            assert asked.status == 200
        form = aiohttp.FormData({"List-Unsubscribe": "One-Click"}, default_to_multipart=True)
        async with client.post(f"/u/{token}", data=form, allow_redirects=False) as done:
            assert done.status == 200
        async with client.post(
            f"/u/{token}", data={"List-Unsubscribe": "One-Click"}, allow_redirects=False
        ) as again:
            assert again.status == 200
    counted = await books.residual(database)
    assert counted.events == {EventType.OPENED: 1, EventType.CLICKED: 1, EventType.UNSUBSCRIBED: 1}
    assert counted.residual == 0


async def test_after_the_answer_nothing_is_claimed_for_the_address(
    database: Database, tmp_path: Path
) -> None:
    """P5 and T16: the suppression is committed before the 2xx, and every claim looks."""
    before, after, receipt = new_job(1), new_job(2), new_job(3)
    async with database.session() as session:
        await accept(session, after, "reader@mail.example")
        await accept(session, receipt, "reader@mail.example", Stream.TRANSACTIONAL)
    token = TOKENS.seal(Unsubscribe("reader@mail.example", SuppressionScope.MARKETING, before))
    async with serving(database, tmp_path) as client, client.post(f"/u/{token}") as done:
        assert done.status == 200
        assert (await jobs.claim(database, Stream.MARKETING, WORKER, 10, WIDE)).jobs == []
        claimed = await jobs.claim(database, Stream.TRANSACTIONAL, WORKER, 10, WIDE)
    assert [job.job_id for job in claimed.jobs] == [receipt]
    counted = await books.residual(database)
    assert counted.by_status == {Status.SUPPRESSED: 1, Status.SENDING: 1}
    assert counted.residual == 0


async def test_readers_do_not_notice_that_the_database_is_away(tmp_path: Path, queries: Queries) -> None:
    """Known links lead on, unknown ones ask for patience, nobody is told a lie, every hit is counted once."""
    job = new_job(1)
    token = TOKENS.seal(Unsubscribe("reader@mail.example", SuppressionScope.MARKETING, job))
    known, unknown = f"/c/{job}/{hash_text(HASH)}", f"/c/{job}/{hash_text(LinkHash(b'u' * 16))}"
    server = EmbeddedPostgres(tmp_path / "postgres", durability=Durability.NONE)
    async with server:
        await migrate(server.dsn)
        db = await open_pool(server.dsn, PoolKind.GENERAL, queries)
        await partitions.ensure(db, today(), rng=random.Random(1))
        async with db.session() as session:
            await accept(session, job, "reader@mail.example")
        await links.store(db, {HASH: URL}, today())
        async with serving(db, tmp_path / "track") as client:
            assert await status_of(client, "GET", known) == 302
            await server.stop()
            assert await status_of(client, "GET", known) == 302
            assert await status_of(client, "GET", f"/o/{job}") == 200
            assert await status_of(client, "GET", unknown) == 503
            assert await status_of(client, "POST", f"/u/{token}") == 503
            await server.start()
            assert await status_of(client, "GET", unknown) == 404
            assert await status_of(client, "POST", f"/u/{token}") == 200
        # Stopped before all of it was recorded: the next start does the rest.
        async with serving(db, tmp_path / "track"):
            await has_events(db, 4)
        counted = await books.residual(db)
        await db.close()
    assert counted.events == {EventType.OPENED: 1, EventType.CLICKED: 2, EventType.UNSUBSCRIBED: 1}
    assert counted.residual == 0


async def status_of(client: aiohttp.ClientSession, method: str, path: str) -> int:
    async with client.request(method, path, headers=BROWSER, allow_redirects=False) as response:
        return response.status


async def has_events(db: Database, count: int) -> None:
    async with asyncio.timeout(10):
        while sum((await books.residual(db)).events.values()) < count:  # noqa: ASYNC110 -- another's database
            await asyncio.sleep(0.02)


async def test_an_id_of_no_job_leaves_no_trace(database: Database, tmp_path: Path) -> None:
    async with serving(database, tmp_path) as client, client.get(f"/o/{new_job(9)}") as pixel:
        assert pixel.status == 200
    assert (await books.residual(database)).events == {}


async def test_links_are_stored_once_a_month_and_found_where_a_mail_can_have_them(database: Database) -> None:
    job = new_job(1)
    other = LinkHash(b"o" * 16)
    assert await links.store(database, {HASH: URL, other: "https://shop.example/"}, today()) == 2
    assert await links.store(database, {HASH: URL}, today()) == 0
    assert await links.store(database, {}, today()) == 0
    assert await links.find(database, HASH, job) == URL
    assert await links.find(database, LinkHash(b"x" * 16), job) is None
    earlier = JobId(uuid7(int((datetime.now(UTC) - timedelta(days=150)).timestamp() * 1000), 1))
    assert await links.find(database, HASH, earlier) is None


async def test_two_workers_that_store_the_same_links_do_not_block_each_other(database: Database) -> None:
    shared = {LinkHash(n.to_bytes(16)): f"https://shop.example/{n}" for n in range(400)}
    backwards = dict(reversed(shared.items()))
    stored = await asyncio.gather(
        *(links.store(database, chosen, today()) for chosen in (shared, backwards) * 4)
    )
    assert sum(stored) == 400


@pytest.mark.parametrize(
    ("day", "months"),
    [
        (date(2026, 1, 31), [date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)]),
        (date(2025, 12, 5), [date(2025, 12, 1), date(2026, 1, 1), date(2026, 2, 1)]),
        (date(9999, 12, 5), [date(9999, 12, 1)]),
    ],
)
def test_the_months_in_which_a_job_can_be_sent(day: date, months: list[date]) -> None:
    assert links.months_of(day) == months


async def test_dead_letters_are_kept_with_their_reason(database: Database) -> None:
    await letters.bury(database, [])
    await letters.bury(
        database,
        [
            DeadLetter("inbox", "not JSON: \x00", b"\x00\xff"),
            DeadLetter("inbox", "foreign id", b"{}"),
            DeadLetter("track", "poison", b"[]"),
        ],
    )
    assert await letters.by_source(database) == {"inbox": 2, "track": 1}
    newest = await letters.newest(database, 3)
    assert [(letter.source, letter.payload_bytes) for letter in newest] == [
        ("track", 2),
        ("inbox", 2),
        ("inbox", 2),
    ]
    assert newest[2].reason == "not JSON: \N{SYMBOL FOR NULL}"
