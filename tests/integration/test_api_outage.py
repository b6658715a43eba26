"""The database goes and comes back: no false promise in between, and every promise kept after it."""

import asyncio
from pathlib import Path

from api_house import ApiHouse, looking, running_api

from posthouse.storage.db import PoolKind, open_pool
from posthouse.storage.embedded import Durability, EmbeddedPostgres
from posthouse.storage.migrate import migrate
from posthouse.storage.sql import Queries

MAIL = {"from": "Shop <orders@shop.example>", "to": "jane@inbox.test", "subject": "Hi", "text": "Hello"}
_BATCH_SIZE = 100
_BATCH = [MAIL] * 3
_BATCH_KEY = {"Idempotency-Key": "outage-batch"}
_QUERIES = """\
-- name: batches
SELECT count(*) FROM email_job GROUP BY subject;
-- name: jobs
SELECT count(*) FROM email_job;
-- name: ledger
SELECT coalesce(sum(n), 0)::bigint FROM acceptance_ledger;
"""


async def test_an_outage_is_503_and_nothing_else(server_folder: Path, queries: Queries) -> None:
    server = EmbeddedPostgres(server_folder, durability=Durability.NONE)
    await server.start()
    try:
        await migrate(server.dsn)
        database = await open_pool(server.dsn, PoolKind.GENERAL, queries)
        async with running_api(database) as api:
            promised = await before(api)
            await server.stop()
            await during(api)
            await server.start()
            promised += await after(api)
        await database.close()
        async with looking(server.dsn, _QUERIES) as wire:
            assert await wire.value(int, "jobs") == await wire.value(int, "ledger") == promised
    finally:
        await server.stop()


async def before(api: ApiHouse) -> int:
    answers = await asyncio.gather(*(api.call("POST", "/v1/emails", MAIL) for _ in range(20)))
    assert {answer.status for answer in answers} == {202}
    return len(answers)


async def during(api: ApiHouse) -> None:
    keyed = {"Idempotency-Key": "outage"}
    calls = [api.call("POST", "/v1/emails", MAIL, headers=keyed if n % 2 else {}) for n in range(10)]
    for answer in await asyncio.gather(*calls):
        assert (answer.status, answer.code) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    for n in range(4):
        batch = await api.call("POST", "/v1/emails/batch", _BATCH, headers=_BATCH_KEY if n % 2 else {})
        assert (batch.status, batch.code) == (503, "unavailable")
        assert int(batch.headers["Retry-After"]) >= 1
    api.clock.advance(60.0)  # the key is not remembered any more: it cannot be looked up either
    for method, path in (("POST", "/v1/emails"), ("GET", "/v1/suppressions"), ("GET", "/v1/templates/t")):
        assert (await api.call(method, path)).status == 503
    assert (await api.call("GET", "/readyz")).status == 503
    assert (await api.call("GET", "/healthz")).status == 200


async def after(api: ApiHouse) -> int:
    """The pool finds its way back by itself, and a repeated request is stored once."""
    headers = {"Idempotency-Key": "outage"}
    first = await api.call("POST", "/v1/emails", MAIL, headers=headers)
    while first.status == 503:
        first = await api.call("POST", "/v1/emails", MAIL, headers=headers)
    assert first.status == 202
    again = await api.call("POST", "/v1/emails", MAIL, headers=headers)
    assert (again.status, again.body) == (202, first.body)
    assert (await api.call("GET", "/readyz")).status == 200
    for _ in range(2):
        batch = await api.call("POST", "/v1/emails/batch", _BATCH, headers=_BATCH_KEY)
        assert batch.status == 202
    return 1 + len(_BATCH)


async def test_a_server_that_goes_among_batches_has_each_whole_or_not_at_all(
    server_folder: Path, queries: Queries
) -> None:
    """Whatever became of a batch without an answer, all of its mails share it; asked again under its key, it
    is stored once."""
    server = EmbeddedPostgres(server_folder)
    await server.start()
    try:
        await migrate(server.dsn)
        database = await open_pool(server.dsn, PoolKind.GENERAL, queries)
        async with running_api(database) as api:
            posts = [asyncio.create_task(_post_batch(api, n)) for n in range(40)]
            await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
            await server.stop()
            await asyncio.wait(posts)
            statuses = [post.result() for post in posts]
            assert set(statuses) == {202, 503}
            await server.start()
            async with looking(server.dsn, _QUERIES) as wire:
                sizes = [row[0] for row in await wire.fetch("batches")]
                assert statuses.count(202) <= len(sizes) <= len(posts)
                assert set(sizes) == {_BATCH_SIZE}
                await asyncio.gather(*(_until_accepted(api, n) for n in range(40)))
                assert [row[0] for row in await wire.fetch("batches")] == [_BATCH_SIZE] * 40
                assert await wire.value(int, "ledger") == 40 * _BATCH_SIZE
        await database.close()
    finally:
        await server.stop()


async def _until_accepted(api: ApiHouse, number: int) -> None:
    while await _post_batch(api, number) == 503:
        pass  # the pool finds its way back by itself


async def _post_batch(api: ApiHouse, number: int) -> int:
    batch = [{**MAIL, "subject": f"Batch {number}"}] * _BATCH_SIZE
    headers = {"Idempotency-Key": f"batch-{number}"}
    answer = await api.call("POST", "/v1/emails/batch", batch, headers=headers)
    if answer.status != 202:
        assert (answer.status, answer.code) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
    return answer.status
