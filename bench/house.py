"""A house for a benchmark: its own folder, database and configuration, and the roles a bench asks for."""

import asyncio
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from posthouse.app.adapters import make_simulator_keys
from posthouse.cli.demo.houses import free_ports
from posthouse.config import PARENT_PIPE, Settings, load
from posthouse.storage import keys, partitions
from posthouse.storage.db import Database, PoolKind, open_pool
from posthouse.storage.embedded import EmbeddedPostgres
from posthouse.storage.migrate import migrate
from posthouse.storage.sql import load_queries

PARTITIONS = 45


@dataclass(frozen=True)
class BenchHouse:
    settings: Settings
    folder: Path
    dsn: str
    db: Database
    postgres_pid: int

    @asynccontextmanager
    async def roles(self, *roles: Sequence[str]) -> AsyncIterator[list[subprocess.Popen[bytes]]]:
        """`posthouse serve ...` for each, ended with SIGTERM."""
        env = {
            **os.environ,
            "DATABASE_URL": self.dsn,
            "POSTHOUSE_CONFIG": str(self.folder / "posthouse.toml"),
        }
        env.pop(PARENT_PIPE, None)
        log = (self.folder / "roles.log").open("ab")
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "posthouse", "serve", *role],
                env=env,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
            for role in roles
        ]
        try:
            yield children
        finally:
            for child in children:
                child.send_signal(signal.SIGTERM)
            for child in children:
                await asyncio.to_thread(child.wait, 40)
            log.close()


@asynccontextmanager
async def bench_house(marketing: str, ports: Mapping[str, int], more: str = "") -> AsyncIterator[BenchHouse]:
    """`marketing`: how its relay is reached (BY_SMTP, BY_SENDGRID, BY_SES); `more`: further tables of the
    configuration. 45 day partitions stand."""
    folder = Path(tempfile.mkdtemp(prefix="posthouse-bench-"))
    os.chmod(folder, 0o755)
    (folder / "posthouse.toml").write_text((CONFIGURATION + marketing).format(folder=folder, **ports) + more)
    settings = load(folder / "posthouse.toml", {})
    make_simulator_keys(settings)
    try:
        async with EmbeddedPostgres(folder / "postgres") as postgres:
            await migrate(postgres.dsn)
            db = await open_pool(postgres.dsn, PoolKind.GENERAL, load_queries(), max_size=4)
            try:
                await make_partitions(db)
                yield BenchHouse(settings, folder, postgres.dsn, db, postgres.pid or 0)
            finally:
                await db.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def make_key(db: Database) -> str:
    """A key that may do everything; its secret."""
    _, secret = await keys.create(
        db,
        name="bench",
        stream=None,
        from_domains=[],
        now=datetime.now(UTC),
        random_bytes=secrets.token_bytes,
    )
    return secret


async def make_partitions(db: Database) -> None:
    """From 37 days ago to a week ahead, as a house has them after its first weeks."""
    today = datetime.now(UTC).date()
    rng = random.Random(1)
    for back in range(PARTITIONS - 8, -1, -8):
        await partitions.ensure(db, today - timedelta(days=back), rng=rng)
    await partitions.ensure(db, today, rng=rng)


def ports(*names: str) -> dict[str, int]:
    return dict(zip(names, free_ports(len(names)), strict=True))


CONFIGURATION = """
[house]
data_dir = "{folder}"
api_port = {api}
track_port = {track}
processor_port = {processor}
worker_ports = {{ transactional = {one}, marketing = {two} }}

[streams.transactional]
relays = ["tx"]
from_domains = ["shop.example"]
tracking_url = "http://127.0.0.1:{track}"
bounce_domain = "bounce.shop.example"

[streams.marketing]
relays = ["mk"]
from_domains = ["news.shop.example"]
tracking_url = "http://localhost:{track}"
bounce_domain = "bounce.news.shop.example"

[relays.tx]
kind = "smtp"
host = "127.0.0.1"
port = {tx}
tls = "none"
simulator = true

[relays.mk]
simulator = true
"""

#: Marketing over SMTP, for the send path; or over SendGrid's protocol, for its events.
BY_SMTP = """kind = "smtp"
host = "127.0.0.1"
port = {mk}
tls = "none"
"""
BY_SENDGRID = """kind = "sendgrid"
base_url = "http://127.0.0.1:{mk}"
api_key_file = "{folder}/simulator/mk.key"
webhook_key_file = "{folder}/simulator/mk.pub"
"""

BY_SES = """kind = "ses"
region = "eu-west-1"
base_url = "http://127.0.0.1:{mk}"
access_key_id = "AKIABENCH"
secret_access_key_file = "{folder}/simulator/mk.key"
topic_arns = ["arn:aws:sns:eu-west-1:123456789012:mk"]
"""

PORTS = ("api", "track", "processor", "one", "two", "tx", "mk")


def refuse_dead(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """A role that ended makes the figures worthless, and the wait for them long."""
    for child in children:
        if child.poll() is not None:
            raise RuntimeError(f"{child.args!r} ended with exit code {child.returncode}")


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in MB; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0 kB")
    return int(line.split()[1]) / 1000


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of its children that run; 0 when it is gone."""
    ticks = os.sysconf("SC_CLK_TCK")
    return sum(_own_ticks(p) for p in [pid, *_children(pid)]) / ticks


def _own_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[11]) + int(fields[12])


def _children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
