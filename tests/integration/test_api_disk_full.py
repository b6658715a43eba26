"""The disk under the embedded PostgreSQL is full: 503, no promise lost, and on by itself with room again."""

import asyncio
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from api_house import ApiHouse, looking, running_api

from posthouse.cli.house import keep_up
from posthouse.storage.background import in_background
from posthouse.storage.db import PoolKind, open_pool
from posthouse.storage.embedded import EmbeddedPostgres
from posthouse.storage.migrate import migrate
from posthouse.storage.pg_host import CLUSTER
from posthouse.storage.sql import Queries

_DISK = "192m"
_BALLAST = 64 << 20  # bytes; what is removed to make room
_LARGE = 300_000  # characters of a mail's text
_QUERIES = """\
-- name: jobs
SELECT job_id FROM email_job;
-- name: ledger
SELECT coalesce(sum(n), 0)::bigint FROM acceptance_ledger;
"""
_rng = random.Random(11)


class _Accepted(msgspec.Struct):
    id: UUID


@pytest.fixture
def small_disk(fresh_folder: Path) -> Iterator[Path]:
    """A file system of its own, which takes root: a limit on the size of files is another error."""
    disk = fresh_folder.parent / "disk"
    disk.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=755", "posthouse-test", str(disk)], check=True
    )
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def folder(request: pytest.FixtureRequest, small_disk: Path, server_folder: Path) -> Path:
    """A server's folder with this much of it on the small disk. Tables that cannot grow are errors, one
    statement at a time; a write-ahead log that cannot is the end of the server, which then has to recover."""
    if request.param == "everything":
        return _moved(server_folder, small_disk)
    log = server_folder / CLUSTER / "pg_wal"
    log.symlink_to(_moved(log, small_disk))
    return server_folder


def _moved(path: Path, to: Path) -> Path:
    subprocess.run(["mv", str(path), str(to)], check=True)  # with its owner, unlike shutil's
    return to / path.name


@pytest_asyncio.fixture
async def postgres(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    async with EmbeddedPostgres(folder) as server:
        await migrate(server.dsn)
        async with in_background(keep_up(server), "postgres"):
            yield server


@pytest_asyncio.fixture
async def api(postgres: EmbeddedPostgres, queries: Queries) -> AsyncIterator[ApiHouse]:
    database = await open_pool(postgres.dsn, PoolKind.GENERAL, queries)
    async with running_api(database) as house:
        yield house
    await database.close()


@pytest.mark.parametrize("folder", ["everything"], indirect=True)
async def test_without_room_for_tables_mails_are_refused_until_there_is(
    api: ApiHouse, postgres: EmbeddedPostgres, small_disk: Path
) -> None:
    ballast = _ballast(small_disk)
    first = postgres.pid
    promised = await _fill(api)
    ballast.unlink()
    promised |= await _until_accepted(api)
    assert postgres.pid == first
    await _assert_kept(postgres, promised)


@pytest.mark.parametrize("folder", ["pg_wal"], indirect=True)
async def test_a_server_that_cannot_recover_without_room_recovers_when_there_is(
    api: ApiHouse, postgres: EmbeddedPostgres, small_disk: Path
) -> None:
    ballast = _ballast(small_disk)
    pids = {postgres.pid}
    promised = await _fill(api)
    async with asyncio.timeout(60):
        while len(pids - {None}) < 4:  # it was started again, in vain, and again
            promised |= await _post(api, 1)
            pids.add(postgres.pid)
    ballast.unlink()
    promised |= await _until_accepted(api)
    await _assert_kept(postgres, promised)


def _ballast(disk: Path) -> Path:
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(_BALLAST))
    return ballast


async def _assert_kept(postgres: EmbeddedPostgres, promised: set[UUID]) -> None:
    assert len(promised) > 1
    async with looking(postgres.dsn, _QUERIES) as wire:
        stored = {row[0] for row in await wire.fetch("jobs")}
        assert promised <= stored
        assert await wire.value(int, "ledger") == len(stored)


async def _until_accepted(api: ApiHouse) -> set[UUID]:
    async with asyncio.timeout(60):
        while True:
            if accepted := await _post(api, 1):
                return accepted


async def _fill(api: ApiHouse) -> set[UUID]:
    """Mails until there is no room for the next, ten times in a row."""
    promised: set[UUID] = set()
    refused = 0
    while refused < 10:
        accepted = await _post(api, 4)
        promised |= accepted
        refused = 0 if accepted else refused + 1
    return promised


async def _post(api: ApiHouse, count: int) -> set[UUID]:
    """Ids of those that were accepted; the others were told to come back."""
    answers = await asyncio.gather(*(api.call("POST", "/v1/emails", _mail()) for _ in range(count)))
    for answer in answers:
        if answer.status != 202:
            assert (answer.status, answer.code) == (503, "unavailable"), answer.body
            assert int(answer.headers["Retry-After"]) >= 1
    return {msgspec.json.decode(a.body, type=_Accepted).id for a in answers if a.status == 202}


def _mail() -> dict[str, str]:
    return {
        "from": "Shop <orders@shop.example>",
        "to": "jane@inbox.test",
        "subject": "Hi",
        "text": _rng.randbytes(_LARGE // 2).hex(),
    }
