import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from posthouse.storage.db import Database, PoolKind, open_pool, open_wire
from posthouse.storage.embedded import Durability, EmbeddedPostgres
from posthouse.storage.hints import HINT_INTERVAL, Hinter, Listener
from posthouse.storage.sql import Queries, load_file, parse

_LONG = 30.0  # seconds; a test that waits this long has failed
_KILL = """\
-- name: kill
SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'posthouse hints';
"""


@pytest_asyncio.fixture
async def db(empty_dsn: str) -> AsyncIterator[Database]:
    opened = await open_pool(empty_dsn, PoolKind.GENERAL, Queries(tuple(parse(_KILL, "own.sql"))))
    yield opened
    await opened.close()


def _rng() -> random.Random:
    return random.Random(1)


async def _within(work: asyncio.Future[None] | asyncio.Task[None], seconds: float = _LONG) -> bool:
    done, _ = await asyncio.wait({work}, timeout=seconds)
    return bool(done)


async def test_a_hint_wakes_everybody_who_waits(empty_dsn: str) -> None:
    listening, hinting = Listener(empty_dsn, rng=_rng()), Hinter(empty_dsn, rng=_rng())
    async with listening.running() as listener, hinting.running() as hinter:
        ears = [listener.subscribe("jobs") for _ in range(2)]
        other = listener.subscribe("other")
        for ear in (*ears, other):
            await ear.wait(_LONG)  # each is woken once when it begins to be heard
        waiting = [asyncio.create_task(ear.wait(_LONG)) for ear in ears]
        waiting.append(asyncio.create_task(listener.wait("jobs", _LONG)))
        bystander = asyncio.create_task(other.wait(_LONG))
        await asyncio.sleep(0)  # all of them have begun to wait
        hinter.hint("jobs")
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting)
        assert not bystander.done()
        bystander.cancel()


async def test_a_hint_between_two_waits_is_not_lost(empty_dsn: str) -> None:
    async with Listener(empty_dsn, rng=_rng()).running() as listener:
        ear, witness = listener.subscribe("jobs"), listener.subscribe("jobs")
        await ear.wait(_LONG)
        await witness.wait(_LONG)
        wire = await open_wire(empty_dsn, load_file("hints.sql"), server_settings={})
        await wire.execute("notify", ["jobs"])
        await wire.close()
        async with asyncio.timeout(5):
            await witness.wait(_LONG)
            await ear.wait(_LONG)


async def test_without_a_hint_the_wait_ends_by_itself(empty_dsn: str) -> None:
    async with Listener(empty_dsn, rng=_rng()).running() as listener:
        ear = listener.subscribe("jobs")
        await ear.wait(_LONG)
        async with asyncio.timeout(5):
            await ear.wait(0.01)


async def test_many_hints_become_few_notifications(empty_dsn: str) -> None:
    heard: list[str] = []
    wire = await open_wire(empty_dsn, load_file("hints.sql"), server_settings={})
    await wire.listen("jobs", heard.append)
    loop = asyncio.get_running_loop()
    async with Hinter(empty_dsn, rng=_rng()).running() as hinter:
        begun = loop.time()
        for _ in range(200):
            hinter.hint("jobs")
            await asyncio.sleep(0.001)
        passed = loop.time() - begun
        await wire.fetchval("ping")
    assert 1 <= len(heard) <= passed / HINT_INTERVAL + 1
    await wire.close()


async def test_both_reconnect_and_every_reader_wakes_for_what_it_missed(empty_dsn: str, db: Database) -> None:
    async with Listener(empty_dsn, rng=_rng()).running() as listener:
        ear = listener.subscribe("jobs")
        await ear.wait(_LONG)
        async with Hinter(empty_dsn, rng=_rng()).running() as hinter:
            hinter.hint("jobs")
            async with asyncio.timeout(5):
                await ear.wait(_LONG)
            assert await db.value(int, "kill") == 2
            async with asyncio.timeout(5):
                await ear.wait(_LONG)  # the listener is back
                hinter.hint("jobs")
                await ear.wait(_LONG)


async def test_hints_while_the_database_is_away_come_afterwards(
    server_folder: Path,
) -> None:
    server = EmbeddedPostgres(server_folder, durability=Durability.NONE)
    await server.start()
    await server.stop()
    async with Hinter(server.dsn, rng=_rng()).running() as hinter:
        for _ in range(1000):
            hinter.hint("jobs")
        async with Listener(server.dsn, rng=_rng()).running() as listener:
            ear = listener.subscribe("jobs")
            await ear.wait(0.01)
            await server.start()
            async with asyncio.timeout(20):
                await ear.wait(_LONG)
    await server.stop()


@pytest.mark.parametrize("channel", ["", "x" * 64, "ü" * 32])
def test_a_channel_that_cannot_be_one_is_refused(channel: str) -> None:
    for ask in (Hinter("", rng=_rng()).hint, Listener("", rng=_rng()).subscribe):
        with pytest.raises(ValueError, match="63 bytes"):
            ask(channel)
