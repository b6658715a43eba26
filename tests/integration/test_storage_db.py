import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.storage.db import (
    Database,
    PoolKind,
    Transaction,
    TransactionConflict,
    open_pool,
    open_wire,
    ping,
    prepare_all,
    retry_conflicts,
)
from posthouse.storage.embedded import Durability, EmbeddedPostgres
from posthouse.storage.sql import BrokenQuery, Queries, load_queries, parse

_QUERIES = """\
-- name: make
CREATE TABLE t (n int PRIMARY KEY, body jsonb, at timestamptz, id uuid);
-- name: put
INSERT INTO t (n, body) SELECT n, '{}' FROM unnest($1::int[]) n;
-- name: put_body
INSERT INTO t (n, body) VALUES ($1, $2);
-- name: put_bodies
INSERT INTO t (n, body) SELECT * FROM unnest($1::int[], $2::jsonb[]);
-- name: all
SELECT n, body FROM t ORDER BY n;
-- name: numbers
SELECT n FROM t ORDER BY n;
-- name: total
SELECT count(*) FROM t;
-- name: touch
UPDATE t SET n = n WHERE n = $1;
-- name: range
SELECT i FROM generate_series(1, $1::int) i;
-- name: setting
SELECT current_setting($1);
-- name: slow
SELECT pg_sleep($1);
-- name: wrong
SELECT 1 / $1::int;
-- name: kill
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
AND datname = current_database() AND backend_type = 'client backend';
"""


@pytest.fixture
def own_queries() -> Queries:
    return Queries(tuple(parse(_QUERIES, "own.sql")))


@pytest_asyncio.fixture
async def db(empty_dsn: str, own_queries: Queries) -> AsyncIterator[Database]:
    opened = await open_pool(empty_dsn, PoolKind.GENERAL, own_queries)
    await opened.execute("make")
    yield opened
    await opened.close()


async def test_rows_become_what_they_are_read_into(db: Database) -> None:
    assert await db.execute("put", [2, 1]) == 2
    assert await db.fetch_into(lambda n, body: (n, body), "all") == [(1, b"{}"), (2, b"{}")]
    assert await db.fetch_one(lambda n, body: n, "all") == 1
    assert await db.value(int, "total") == 2
    async with db.session() as session:
        assert await session.column(int, "numbers") == [1, 2]
    first, _ = await db.fetch("all")
    assert (first["n"], first[1], list(first)) == (1, b"{}", [1, b"{}"])


async def test_a_value_of_another_type_is_a_bug(db: Database) -> None:
    with pytest.raises(TypeError, match='"total" gave int, not str'):
        await db.value(str, "total")
    with pytest.raises(TypeError, match='"numbers" gave NoneType'):
        await db.value(int, "numbers")


async def test_json_goes_in_as_text_or_bytes_and_comes_out_as_bytes(db: Database) -> None:
    await db.execute("put_body", 1, '{"a": "ü"}')
    await db.execute("put_body", 2, b"[1]")
    await db.execute("put_bodies", [3, 4], [b"3", None])
    async with db.transaction() as tx:
        assert await tx.copy("t", ["n", "body"], [(5, b"5"), (6, None)]) == 2
    bodies = await db.fetch_into(lambda _, body: body, "all")
    assert bodies == ['{"a": "ü"}'.encode(), b"[1]", b"3", None, b"5", None]


async def test_copy_takes_times_and_ids(db: Database) -> None:
    rows = [(n, datetime(2026, 1, 1, tzinfo=UTC), UUID(int=n)) for n in range(1000)]
    async with db.transaction() as tx:
        assert await tx.copy("t", ["n", "at", "id"], rows) == 1000
    assert await db.value(int, "total") == 1000


async def test_a_transaction_commits_at_its_end_and_rolls_back_at_an_error(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute("put", [1])
    with pytest.raises(LookupError):
        await _put_and_fail(db)
    assert await db.value(int, "total") == 1


async def _put_and_fail(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute("put", [2])
        raise LookupError


async def test_long_answers_come_in_pieces(db: Database) -> None:
    async with db.transaction() as tx:
        seen = [n async for n in tx.stream(int, "range", 1234, prefetch=100)]
    assert seen == list(range(1, 1235))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (PoolKind.QUEUE, {"enable_seqscan": "off", "plan_cache_mode": "force_generic_plan"}),
        (PoolKind.GENERAL, {"enable_seqscan": "on", "statement_timeout": "15s"}),
    ],
)
async def test_each_kind_of_pool_has_its_settings(
    empty_dsn: str, own_queries: Queries, kind: PoolKind, expected: dict[str, str]
) -> None:
    opened = await open_pool(empty_dsn, kind, own_queries)
    try:
        for _ in range(2):  # also on a connection that was lent before
            assert {name: await opened.value(str, "setting", name) for name in expected} == expected
    finally:
        await opened.close()


async def test_every_query_of_ours_can_be_prepared(database: Database) -> None:
    await prepare_all(database)


async def test_a_broken_query_stops_the_start_naming_file_and_query(empty_dsn: str, tmp_path: Path) -> None:
    (tmp_path / "jobs.sql").write_text(
        "-- name: fine\nSELECT 1;\n-- name: claim\nSELECT nothing FROM nowhere;"
    )
    opened = await open_pool(empty_dsn, PoolKind.QUEUE, load_queries(tmp_path))
    try:
        with pytest.raises(
            BrokenQuery, match=r'query "claim" in jobs\.sql: relation "nowhere" does not exist'
        ):
            await prepare_all(opened)
    finally:
        await opened.close()


async def test_a_deadlock_is_run_again(empty_dsn: str, own_queries: Queries) -> None:
    db = await open_pool(f"{empty_dsn}&deadlock_timeout=20ms", PoolKind.GENERAL, own_queries)
    await db.execute("make")
    await db.execute("put", [1, 2])
    met = asyncio.Barrier(2)
    runs = []

    async def work(first: int, second: int, tx: Transaction) -> int:
        runs.append(first)
        await tx.execute("touch", first)
        if len(runs) <= 2:
            await met.wait()
        return await tx.execute("touch", second)

    async def one(first: int, second: int) -> int:
        return await retry_conflicts(db, lambda tx: work(first, second, tx), rng=random.Random(first))

    assert sum(await asyncio.gather(one(1, 2), one(2, 1))) == 2
    assert len(runs) == 3
    await db.close()


async def test_conflicts_without_end_are_given_up(db: Database) -> None:
    runs = []

    async def work(_: Transaction) -> None:
        runs.append(1)
        raise TransactionConflict("in the way")

    with pytest.raises(TransactionConflict):
        await retry_conflicts(db, work, rng=random.Random(1), tries=3)
    assert len(runs) == 3


async def test_our_own_mistakes_are_not_taken_for_an_outage(db: Database) -> None:
    with pytest.raises(Exception, match="division by zero") as caught:
        await db.execute("wrong", 0)
    assert not isinstance(caught.value, NotNow)
    with pytest.raises(Exception, match="invalid input for query argument") as caught:
        await db.execute("wrong", "not a number")
    assert not isinstance(caught.value, NotNow)


async def test_a_timeout_of_the_callers_own_stays_one(db: Database) -> None:
    with pytest.raises(TimeoutError):
        async with db.transaction(), asyncio.timeout(0.01):
            await asyncio.Event().wait()


async def test_a_connection_cut_by_the_server_is_not_now_and_the_pool_recovers(db: Database) -> None:
    async def cut_off() -> None:
        async with db.transaction() as tx:
            await db.execute("kill")
            await tx.execute("put", [1])

    with pytest.raises(NotNow):
        await cut_off()
    assert await db.value(int, "total") == 0


async def test_a_connection_lost_before_the_commit_is_not_now(db: Database) -> None:
    async def cut_off() -> None:
        async with db.transaction() as tx:
            await tx.execute("put", [1])
            await db.execute("kill")

    with pytest.raises(NotNow):
        await cut_off()
    assert await db.value(int, "total") == 0


async def test_a_session_used_after_its_end_is_a_bug(db: Database) -> None:
    async with db.session() as session:
        pass
    with pytest.raises(AttributeError):
        await session.execute("put", [1])


async def test_a_pool_without_a_free_connection_is_not_now(empty_dsn: str, own_queries: Queries) -> None:
    opened = await open_pool(empty_dsn, PoolKind.GENERAL, own_queries, max_size=1, acquire_timeout=0.05)
    try:
        async with opened.session():
            with pytest.raises(NotNow):
                await opened.execute("put", [1])
    finally:
        await opened.close()


async def test_a_closed_pool_is_not_now(empty_dsn: str, own_queries: Queries) -> None:
    opened = await open_pool(empty_dsn, PoolKind.GENERAL, own_queries)
    await opened.close()
    with pytest.raises(NotNow):
        await opened.execute("slow", 0)


async def test_a_database_that_does_not_exist_is_misconfigured(empty_dsn: str, own_queries: Queries) -> None:
    with pytest.raises(Misconfigured, match="does not exist"):
        await open_pool(empty_dsn.replace("/test_", "/no_such_"), PoolKind.GENERAL, own_queries)


async def test_an_outage_is_not_now_until_the_server_is_back(
    server_folder: Path, own_queries: Queries
) -> None:
    server = EmbeddedPostgres(server_folder, durability=Durability.NONE)
    await server.start()
    db = await open_pool(server.dsn, PoolKind.GENERAL, own_queries)
    try:
        running = asyncio.ensure_future(db.execute("slow", 60.0))
        assert server.pid is not None
        await asyncio.sleep(0)  # lets it be sent
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(NotNow):
            await running
        with pytest.raises(NotNow):
            await db.execute("slow", 0.0)
        with pytest.raises(NotNow):
            await open_pool(server.dsn, PoolKind.GENERAL, own_queries)
        with pytest.raises(NotNow):
            await ping(server.dsn)
        await server.stop()
        await server.start()
        assert await db.execute("slow", 0.0) == 1
    finally:
        await db.close()
        await server.stop()


async def test_a_wire_has_transactions_too(empty_dsn: str, own_queries: Queries) -> None:
    wire = await open_wire(empty_dsn, own_queries, server_settings={})
    async with wire.transaction() as tx:
        await tx.execute("make")
    assert await wire.value(int, "total") == 0
    await wire.close()
