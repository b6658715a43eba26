"""`posthouse up` and its supervisor: what dies is started again, what is told to end ends, all of it."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from house_config import configuration
from house_parts import until
from traces import process_of, processes_of

from posthouse.app.adapters import make_simulator_keys
from posthouse.cli.house import ready_urls
from posthouse.cli.supervisor import Role, Supervisor
from posthouse.config import load
from posthouse.storage.embedded import Durability, EmbeddedPostgres
from posthouse.storage.migrate import migrate

#: How each process of a house is started.
WORDS = (
    "serve api",
    "serve worker --stream transactional",
    "serve worker --stream marketing",
    "serve processor",
    "serve track",
    "serve simulator",
    "postgres -D",
)
MAIL = {"from": "Shop <orders@shop.example>", "to": "ok-up@gmail.sim.test", "subject": "Hi", "text": "Hello"}


@asynccontextmanager
async def up(folder: Path, *options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, str]]:
    """A house that was started by its command; the URL and key that it printed."""
    os.chmod(folder, 0o755)
    config = folder / "posthouse.toml"
    config.write_text(configuration(folder), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSTHOUSE_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "posthouse", "--config", str(config), "up", *options),
        stdout=asyncio.subprocess.PIPE,
        env=kept,
        cwd=folder,
    )
    try:
        yield process, *await printed(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await until("nothing is left", lambda: processes_of(folder) == {})


async def printed(process: asyncio.subprocess.Process) -> tuple[str, str]:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        async for line in process.stdout:
            found = re.match(r"curl (\S+)/v1/emails -H 'Authorization: Bearer (\S+)'", line.decode())
            if found is not None:
                return found[1], found[2]
    raise AssertionError("it printed no curl line")


async def post(url: str, key: str) -> int:
    """Status of one mail's answer; 0 when nobody answers."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10.0)) as session,
            session.post(
                f"{url}/v1/emails", json=MAIL, headers={"Authorization": f"Bearer {key}"}
            ) as response,
        ):
            return response.status
    except (aiohttp.ClientError, TimeoutError):
        return 0


async def answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def test_everything_that_is_killed_comes_back(tmp_path: Path) -> None:
    async with up(tmp_path) as (process, url, key):
        before = {words: process_of(tmp_path, words) for words in WORDS}
        assert await post(url, key) == 202
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)

        await until("all are back", lambda: all_new(tmp_path, before))
        for probe in ready_urls(load(tmp_path / "posthouse.toml", {})).values():
            await until(f"{probe} is ready", partial(answers, probe))
        assert await post(url, key) == 202
        ledger = tmp_path / "simulator" / "ledger.jsonl"
        await until("both mails arrive", lambda: ledger.read_bytes().count(b"ok-up@") >= 2)

        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() == 0
        assert processes_of(tmp_path) == {}


def all_new(folder: Path, before: Mapping[str, int]) -> bool:
    running = processes_of(folder)
    return all(
        any(words in line and pid != old for pid, line in running.items()) for words, old in before.items()
    )


async def test_its_own_death_ends_the_house(tmp_path: Path) -> None:
    """kill -9 of the parent: every role sees it and drains, PostgreSQL stops."""
    async with up(tmp_path) as (process, url, key):
        assert await post(url, key) == 202
        ledger = tmp_path / "simulator" / "ledger.jsonl"
        await until("the mail is out of hand", lambda: ledger.read_bytes().count(b"ok-up@") == 1)
        process.kill()
        await process.wait()
        await until("nothing is left", lambda: processes_of(tmp_path) == {}, within=30.0)


async def test_a_house_on_a_broker_of_its_own(tmp_path: Path) -> None:
    """Its broker is killed, and is started again like everything else; at the end it is gone too."""
    async with up(tmp_path, "--kafka") as (process, url, key):
        ledger = tmp_path / "simulator" / "ledger.jsonl"
        assert await post(url, key) == 202
        await until("the mail arrives", lambda: ledger.read_bytes().count(b"ok-up@") == 1)
        broker = process_of(tmp_path, "kafka.Kafka")
        os.kill(broker, signal.SIGKILL)

        assert await post(url, key) == 202
        await until("its mail arrives too", lambda: ledger.read_bytes().count(b"ok-up@") == 2)
        assert process_of(tmp_path, "kafka.Kafka") != broker

        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(40):
            assert await process.wait() == 0
        assert processes_of(tmp_path) == {}


async def test_a_database_that_comes_late_is_waited_for(
    server_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that cannot reach its database ends and is started again, for as long as it takes."""
    monkeypatch.setattr("posthouse.cli.supervisor.RESTART_PAUSE", 0.05)
    config = tmp_path / "posthouse.toml"
    config.write_text(configuration(tmp_path), encoding="utf-8")
    settings = load(config, {})
    make_simulator_keys(settings)
    async with EmbeddedPostgres(server_folder, durability=Durability.NONE) as server:
        await migrate(server.dsn)
    environment = {**os.environ, "DATABASE_URL": server.dsn, "POSTHOUSE_CONFIG": str(config)}
    supervisor = Supervisor([Role("processor", ("processor",))], environment, tmp_path / "logs")
    stop = asyncio.Event()
    await supervisor.start()
    watching = asyncio.create_task(supervisor.watch(stop))
    log = Path(supervisor.log_of("processor"))
    try:
        await until("it has tried often", lambda: watching.done() or log.read_bytes().count(b"started") > 6)
        async with EmbeddedPostgres(server_folder, durability=Durability.NONE):
            await until("it is up", lambda: answers(ready_urls(settings)["processor"]))
            assert not watching.done()
            stop.set()
            await watching
            assert await supervisor.stop() == {"processor": 0}
    finally:
        watching.cancel()
