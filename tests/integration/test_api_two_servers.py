"""Two servers of the API as processes of their own, on one database."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import pytest
import pytest_asyncio
from api_house import create_key, free_port, looking, mail

from posthouse.app.adapters import make_simulator_keys
from posthouse.config import DEVELOPMENT, load
from posthouse.storage import keys
from posthouse.storage.db import Database, PoolKind, open_pool, open_wire
from posthouse.storage.keys import ApiKey
from posthouse.storage.sql import Queries, load_queries

PATIENCE = 60.0
#: Within which a revocation counts everywhere.
REVOKED_WITHIN = 5.0

_LOOKS = """\
-- name: raced_for
SELECT (SELECT count(*) FROM email_job WHERE to_address LIKE 'raced-%'),
       (SELECT count(*) FROM idempotency_key WHERE api_key_id = $1);
"""


@dataclass
class Servers:
    """Two of them, and a client with the key of both."""

    bases: Sequence[str]
    client: aiohttp.ClientSession
    database: Database
    key: ApiKey
    secret: str

    async def post(self, server: int, to: str, idempotency_key: str | None = None) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {self.secret}"}
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        async with self.client.post(
            f"{self.bases[server]}/v1/emails", json=mail(to=to), headers=headers
        ) as response:
            return response.status, await response.read()


@asynccontextmanager
async def server(dsn: str, folder: Path) -> AsyncIterator[tuple[str, int]]:
    """`posthouse serve api`; its base URL and process id."""
    port = free_port()
    config = folder / f"{port}.toml"
    house = f'[house]\napi_port = {port}\ndata_dir = "{folder}"\n'
    config.write_text(house + DEVELOPMENT.format(folder=folder), encoding="utf-8")
    make_simulator_keys(load(config, {}))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "posthouse", "serve", "api"),
        env={**os.environ, "DATABASE_URL": dsn, "POSTHOUSE_CONFIG": str(config)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        assert await process.wait() == 0


async def ready(client: aiohttp.ClientSession, base: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                async with client.get(f"{base}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


@dataclass(frozen=True)
class Running:
    dsn: str
    bases: Sequence[str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    pg_server: str, pg_template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """Started once for all tests here: two starts cost seconds."""
    admin = await open_wire(pg_server, Queries(()), server_settings={})
    await admin.script(f"CREATE DATABASE two_servers TEMPLATE {pg_template} STRATEGY file_copy")
    dsn = urlunsplit(urlsplit(pg_server)._replace(path="/two_servers"))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(aiohttp.ClientSession())
        folder = tmp_path_factory.mktemp("servers")
        started = [await stack.enter_async_context(server(dsn, folder)) for _ in range(2)]
        await asyncio.gather(*(ready(client, base) for base, _ in started))
        assert len({pid for _, pid in started} | {os.getpid()}) == 3
        yield Running(dsn, [base for base, _ in started])
    await admin.script("DROP DATABASE two_servers WITH (FORCE)")
    await admin.close()


@pytest_asyncio.fixture
async def servers(running: Running) -> AsyncIterator[Servers]:
    database = await open_pool(running.dsn, PoolKind.GENERAL, load_queries())
    key, secret = await create_key(database, None, [])
    async with aiohttp.ClientSession() as client:
        yield Servers(running.bases, client, database, key, secret)
    await database.close()


async def test_200_equal_keys_are_raced_for_and_each_is_one_mail(servers: Servers) -> None:
    answers = await asyncio.gather(
        *(
            servers.post(side, f"raced-{number}@inbox.test", f"key-{number}")
            for number in range(200)
            for side in (0, 1)
        )
    )
    # One that the other server is just writing may be told to ask again: then it gets the other's answer.
    for number in range(200):
        pair = answers[2 * number : 2 * number + 2]
        while any(status == 409 for status, _ in pair):
            pair = [
                await servers.post(side, f"raced-{number}@inbox.test", f"key-{number}") for side in (0, 1)
            ]
        assert [status for status, _ in pair] == [202, 202]
        assert pair[0][1] == pair[1][1]
    async with looking(servers.database.dsn, _LOOKS) as wire:
        assert [tuple(row) for row in await wire.fetch("raced_for", servers.key.api_key_id)] == [(200, 200)]


async def test_a_key_revoked_while_it_is_used_is_refused_by_both_within_5_s(servers: Servers) -> None:
    now = asyncio.get_running_loop().time
    accepted: tuple[list[float], list[float]] = ([], [])  # when each was asked for, by server
    known = asyncio.Event()

    async def use(side: int) -> None:
        """Again and again, so that each server has the key in its memory when it is revoked."""
        while True:
            asked_at = now()
            status, _ = await servers.post(side, "jane@inbox.test")
            if status == 403:
                return
            assert status == 202
            accepted[side].append(asked_at)
            if all(accepted):
                known.set()
            await asyncio.sleep(0.02)

    async with asyncio.timeout(PATIENCE):
        using = [asyncio.create_task(use(side)) for side in (0, 1)]
        await known.wait()
        await keys.revoke(servers.database, servers.key.api_key_id)
        revoked_at = now()
        await asyncio.gather(*using)
    assert max(accepted[0][-1], accepted[1][-1]) - revoked_at <= REVOKED_WITHIN
    for side in (0, 1):
        assert [(await servers.post(side, "jane@inbox.test"))[0] for _ in range(20)] == [403] * 20
