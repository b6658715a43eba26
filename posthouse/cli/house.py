"""A whole house on one machine: its database, its processes, from start to drained stop."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from posthouse.app.adapters import make_simulator_keys
from posthouse.bus.kafka import topics
from posthouse.cli.supervisor import Role, Supervisor
from posthouse.config import Settings
from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.domain.stream import Stream
from posthouse.storage.background import in_background
from posthouse.storage.embedded import EmbeddedPostgres
from posthouse.storage.migrate import migrate
from posthouse.telemetry import log

#: A role that is not ready after this long will not be. Seconds.
READY_WITHIN: Final = 60.0
#: Between two tries to start the embedded PostgreSQL again. Seconds.
START_AGAIN_AFTER: Final = 1.0


@dataclass(frozen=True, slots=True)
class RunningHouse:
    dsn: str
    supervisor: Supervisor
    postgres_pid: int | None

    @property
    def pids(self) -> dict[str, int]:
        pids = self.supervisor.pids
        return pids if self.postgres_pid is None else {"postgres": self.postgres_pid, **pids}


@asynccontextmanager
async def database_of(settings: Settings) -> AsyncIterator[tuple[str, EmbeddedPostgres | None]]:
    """The configured database, or the embedded one, started for as long as the context."""
    if settings.database.url:
        yield settings.database.url, None
        return
    async with EmbeddedPostgres(settings.data_dir / "postgres") as postgres:
        yield postgres.dsn, postgres


@asynccontextmanager
async def running_house(
    settings: Settings, config_file: Path | None, environment: dict[str, str] | None = None
) -> AsyncIterator[RunningHouse]:
    """Database started, schema migrated, every role ready; at the end everything drained and stopped."""
    make_simulator_keys(settings)
    async with AsyncExitStack() as stack:
        dsn, postgres = await stack.enter_async_context(database_of(settings))
        await migrate(dsn)
        if settings.kafka.bootstrap_servers:
            await asyncio.to_thread(topics.create, settings.kafka)
        if postgres is not None:
            await stack.enter_async_context(in_background(keep_up(postgres), "postgres"))
        env = {**os.environ, **(environment or {}), "DATABASE_URL": dsn}
        env["POSTHOUSE_DATA_DIR"] = str(settings.data_dir)
        # As these settings say, whatever the environment of this process does: all roles are on one bus.
        env["KAFKA_BOOTSTRAP_SERVERS"] = settings.kafka.bootstrap_servers
        if config_file is not None:
            env["POSTHOUSE_CONFIG"] = str(config_file)
        supervisor = Supervisor(roles_of(settings), env, settings.data_dir / "logs")
        stack.push_async_callback(supervisor.stop)
        await supervisor.start()
        await _until_ready(settings, supervisor)
        yield RunningHouse(dsn, supervisor, None if postgres is None else postgres.pid)


async def keep_up(postgres: EmbeddedPostgres) -> None:
    """A server that ends by itself (killed, out of memory, its disk full) is started again, and recovers."""
    while True:
        code = await postgres.ended()
        log.error("PostgreSQL ended; starting it again", exit_code=code)
        await postgres.stop()
        await _start_again(postgres)


async def _start_again(postgres: EmbeddedPostgres) -> None:
    """It ran here before, so whatever keeps it from starting now may pass: a full disk most of all, on which
    it cannot even recover. The house answers 503 meanwhile, and goes on by itself."""
    while True:
        try:
            await postgres.start()
        except (Misconfigured, NotNow, OSError) as error:
            log.error("PostgreSQL did not start; trying again", reason=str(error))
            await asyncio.sleep(START_AGAIN_AFTER)
        else:
            return


def roles_of(settings: Settings) -> Sequence[Role]:
    """In the order in which they end: what takes work in first, what others lean on last."""
    roles = [Role("api", ("api",))]
    if settings.kafka.bootstrap_servers:
        roles.append(Role("dispatcher", ("dispatcher",)))
    roles += [Role(f"worker-{stream}", ("worker", "--stream", stream.value)) for stream in Stream]
    roles += [Role("processor", ("processor",)), Role("track", ("track",))]
    if settings.inbound.is_wanted:
        roles.append(Role("inbound", ("inbound",)))
    if any(relay.simulator for relay in settings.relays.values()):
        roles.append(Role("simulator", ("simulator",)))
    return roles


def ready_urls(settings: Settings) -> dict[str, str]:
    """/readyz of each role that has one."""
    house = settings.house
    ports = {"api": house.api_port, "track": house.track_port, "processor": house.processor_port}
    if settings.inbound.is_wanted:
        ports["inbound"] = settings.inbound.ops_port
    if settings.kafka.bootstrap_servers:
        ports["dispatcher"] = house.dispatcher_port
    ports |= {f"worker-{stream}": port for stream, port in house.worker_ports.items()}
    return {name: f"http://{house.host}:{port}/readyz" for name, port in ports.items()}


async def _until_ready(settings: Settings, supervisor: Supervisor) -> None:
    waiting = ready_urls(settings)
    async with asyncio.timeout(READY_WITHIN), aiohttp.ClientSession() as client:
        while waiting:
            for name, url in list(waiting.items()):
                if await _answers(client, url):
                    del waiting[name]
            _refuse_dead(supervisor)
            if waiting:
                await asyncio.sleep(0.05)


async def _answers(client: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with client.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def _refuse_dead(supervisor: Supervisor) -> None:
    for name, code in supervisor.exit_codes().items():
        if code is not None:
            raise Misconfigured(
                f"The {name} process ended with exit code {code} while starting. Its log says why: "
                f"{supervisor.log_of(name)}"
            )
