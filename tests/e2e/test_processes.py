"""`posthouse serve ROLE --processes N`: several on one port, each started again, all ended in order."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from house_config import configuration
from house_parts import until
from traces import processes_of

from posthouse.app.adapters import make_simulator_keys
from posthouse.config import load
from posthouse.storage.migrate import migrate


@asynccontextmanager
async def two_apis(folder: Path, dsn: str) -> AsyncIterator[asyncio.subprocess.Process]:
    await migrate(dsn)
    config = folder / "posthouse.toml"
    config.write_text(configuration(folder), encoding="utf-8")
    make_simulator_keys(load(config, {}))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("POSTHOUSE_", "KAFKA"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "posthouse", "--config", str(config), "serve", "api", "--processes", "2"),
        env={**kept, "DATABASE_URL": dsn, "POSTHOUSE_DATA_DIR": str(folder)},
        cwd=folder,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await until("nothing is left", lambda: apis(folder) == set())


def apis(folder: Path) -> set[int]:
    return {pid for pid, line in processes_of(folder).items() if "--share-port" in line}


async def lives(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def test_one_of_two_is_killed_and_comes_back(tmp_path: Path, pg_dsn: str) -> None:
    async with two_apis(tmp_path, pg_dsn) as parent:
        url = f"http://127.0.0.1:{load(tmp_path / 'posthouse.toml', {}).house.api_port}"
        await until("both run", lambda: len(apis(tmp_path)) == 2)
        await until("they answer", lambda: lives(url))
        before = apis(tmp_path)
        killed = min(before)

        os.kill(killed, signal.SIGKILL)

        await until("there are two again", lambda: len(apis(tmp_path) - {killed}) == 2)
        await until("they answer", lambda: lives(url))
        parent.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await parent.wait() == 0
        assert apis(tmp_path) == set()
