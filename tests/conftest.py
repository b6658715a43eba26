"""A real PostgreSQL for every test that asks for one: one server a test process, one database a test.

A test database is a copy of a template that was migrated once, which takes a fraction of a migration.
`shell` is the command line on such a database. Likewise a real Kafka for every test that asks for one: one
broker a test process, topics of its own for each test.
"""

import itertools
import os
import random
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import pytest_asyncio
from cli_shell import Shell

from posthouse.bus.kafka import topics
from posthouse.cli.broker.server import Broker, running
from posthouse.config import KafkaSettings
from posthouse.storage import partitions
from posthouse.storage.db import Database, PoolKind, Wire, open_pool, open_wire
from posthouse.storage.embedded import Durability, EmbeddedPostgres
from posthouse.storage.migrate import migrate
from posthouse.storage.sql import Queries, load_queries


def _may_mount() -> bool:
    with tempfile.TemporaryDirectory() as place:
        try:
            subprocess.run(["mount", "-t", "tmpfs", "posthouse-test", place], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        subprocess.run(["umount", "--lazy", place], check=True)
    return True


#: A disk that can be filled must be mounted: where that is not allowed, the tests of it are not there.
collect_ignore = (
    [] if _may_mount() else ["integration/test_api_disk_full.py", "conformance/test_jobs_kafka_disk_full.py"]
)

_UNDATED = "template_undated"
_TEMPLATE = "template_posthouse"
_ROOM = 2 << 30  # bytes
_numbers = itertools.count(1)

#: A cluster for the tests to use instead of starting a broker. Under another name, which the test processes
#: of a parallel run inherit, because the houses that tests start are on Kafka only where a test says so.
_GIVEN_KAFKA = os.environ.pop("KAFKA_BOOTSTRAP_SERVERS", os.environ.get("TEST_KAFKA_BOOTSTRAP_SERVERS", ""))
os.environ["TEST_KAFKA_BOOTSTRAP_SERVERS"] = _GIVEN_KAFKA


@pytest.fixture
def fresh_folder() -> Iterator[Path]:
    """Where a server may be made. Unlike those of `tmp_path`, every account may enter its parents."""
    with _parent() as parent:
        yield parent / "pg"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def made_folder() -> AsyncIterator[Path]:
    """The folder of a server that was made and stopped. To be copied: initdb costs a second of CPU time."""
    with _parent() as parent:
        async with EmbeddedPostgres(parent / "pg", durability=Durability.NONE):
            pass
        yield parent / "pg"


@pytest.fixture
def server_folder(fresh_folder: Path, made_folder: Path) -> Path:
    """The folder of a stopped server of the test's own."""
    return _copied(made_folder, fresh_folder)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pg_server(made_folder: Path) -> AsyncIterator[str]:
    """DSN of the server's own database. For tests that make databases; others take `pg_dsn`."""
    with _parent() as parent:
        folder = _copied(made_folder, parent / "pg")
        async with EmbeddedPostgres(folder, durability=Durability.NONE) as server:
            yield server.dsn


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pg_undated(pg_server: str) -> str:
    """Name of a migrated database without partitions, to be copied."""
    async with _admin(pg_server) as admin:
        await admin.script(f"CREATE DATABASE {_UNDATED}")
    await migrate(_with_database(pg_server, _UNDATED))
    return _UNDATED


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pg_template(pg_server: str, pg_undated: str, queries: Queries) -> str:
    """Name of the database that test databases are copied from. It has the partitions that a house makes when
    it starts: to make them takes ten times as long as to copy them."""
    async with _admin(pg_server) as admin:
        await admin.script(f"CREATE DATABASE {_TEMPLATE} {_copy_of(pg_undated)}")
    made = await open_pool(_with_database(pg_server, _TEMPLATE), PoolKind.GENERAL, queries)
    await partitions.ensure(made, datetime.now(UTC).date(), rng=random.Random(1))
    await made.close()
    return _TEMPLATE


@pytest.fixture(scope="session")
def queries() -> Queries:
    return load_queries()


@pytest_asyncio.fixture
async def pg_dsn(pg_server: str, pg_template: str) -> AsyncIterator[str]:
    """DSN of a fresh, migrated database with its partitions, dropped after the test."""
    async with _database(pg_server, _copy_of(pg_template)) as dsn:
        yield dsn


@pytest_asyncio.fixture
async def undated_dsn(pg_server: str, pg_undated: str) -> AsyncIterator[str]:
    """DSN of a fresh, migrated database without a partition, dropped after the test."""
    async with _database(pg_server, _copy_of(pg_undated)) as dsn:
        yield dsn


@pytest_asyncio.fixture
async def empty_dsn(pg_server: str) -> AsyncIterator[str]:
    """DSN of a fresh database without any table, dropped after the test."""
    async with _database(pg_server, "TEMPLATE template0") as dsn:
        yield dsn


@pytest_asyncio.fixture
async def database(pg_dsn: str, queries: Queries) -> AsyncIterator[Database]:
    """A pool of the general kind on `pg_dsn`."""
    opened = await open_pool(pg_dsn, PoolKind.GENERAL, queries)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def queue_database(pg_dsn: str, queries: Queries) -> AsyncIterator[Database]:
    """A pool of the queue kind on `pg_dsn`: what claims and results run on."""
    opened = await open_pool(pg_dsn, PoolKind.QUEUE, queries)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Broker]:
    """The test process's own broker. Tests that only use Kafka take `kafka`; those that kill it, this."""
    with _parent() as parent, running(parent / "kafka", os.environ) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_servers(request: pytest.FixtureRequest) -> str:
    """The cluster of KAFKA_BOOTSTRAP_SERVERS, else the test process's own broker."""
    if _GIVEN_KAFKA:
        return _GIVEN_KAFKA
    broker = request.getfixturevalue("kafka_broker")
    assert isinstance(broker, Broker)
    return broker.bootstrap_servers


@pytest.fixture
def empty_kafka(kafka_servers: str) -> KafkaSettings:
    """Names of topics that are the test's own, and are not there yet."""
    return _kafka(kafka_servers)


@pytest.fixture
def kafka(empty_kafka: KafkaSettings) -> Iterator[KafkaSettings]:
    """The house's topics, empty, the test's own."""
    topics.create(empty_kafka)
    yield empty_kafka
    topics.drop(empty_kafka)


@pytest.fixture
def own_kafka(kafka_broker: Broker) -> Iterator[KafkaSettings]:
    """Topics on the test process's own broker, which a test may kill: it starts it again."""
    settings = _kafka(kafka_broker.bootstrap_servers)
    topics.create(settings)
    yield settings
    topics.drop(settings)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell in an empty folder, with no database named."""
    for name in list(os.environ):
        if name.startswith(("POSTHOUSE", "DATABASE", "KAFKA")):
            monkeypatch.delenv(name)
    return Shell(tmp_path, {"COLUMNS": "200"}, monkeypatch)


@pytest.fixture
async def shell(bare: Shell, pg_dsn: str) -> Shell:
    """On a migrated database with its partitions."""
    return replace(bare, environment={**bare.environment, "DATABASE_URL": pg_dsn})


@contextmanager
def _parent() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="posthouse-test-", dir=_memory()) as parent:
        os.chmod(parent, 0o755)
        yield Path(parent)


def _kafka(servers: str) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=servers,
        prefix=f"test-{secrets.token_hex(4)}.",
        partitions=4,
        replication_factor=1,
        min_insync_replicas=1,
        session_timeout=timedelta(seconds=6),  # the shortest that brokers allow: its heartbeats are quick
    )


def _memory() -> str | None:
    """A file system in memory with room, if there is one: a test's server is files made and removed."""
    shm = Path("/dev/shm")
    return str(shm) if shm.is_dir() and shutil.disk_usage(shm).free > _ROOM else None


def _copied(made: Path, folder: Path) -> Path:
    subprocess.run(["cp", "-a", str(made), str(folder)], check=True)  # with its owner, unlike shutil's
    return folder


def _copy_of(template: str) -> str:
    return f"TEMPLATE {template} STRATEGY file_copy"


@asynccontextmanager
async def _database(server: str, options: str) -> AsyncIterator[str]:
    name = f"test_{next(_numbers)}"
    async with _admin(server) as admin:
        await admin.script(f"CREATE DATABASE {name} {options}")
        yield _with_database(server, name)
        await admin.script(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def _admin(server: str) -> AsyncIterator[Wire]:
    wire = await open_wire(server, Queries(()), server_settings={"application_name": "tests"})
    try:
        yield wire
    finally:
        await wire.close()


def _with_database(dsn: str, name: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(path=f"/{name}"))
