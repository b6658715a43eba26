"""A whole house under test: PostgreSQL, simulator and every role as processes; three ledgers to compare."""

import asyncio
import os
import secrets
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias
from uuid import UUID

import aiohttp
import msgspec
from house_client import NEWSLETTER, RECEIPT, Client
from house_config import CONFIG, configuration, free_ports
from house_parts import Part, Probe, until

from posthouse.app.adapters import make_simulator_keys
from posthouse.cli.demo.client import Api
from posthouse.cli.demo.report import Simulator
from posthouse.cli.house import ready_urls, roles_of
from posthouse.cli.supervisor import Role
from posthouse.config import Settings, load
from posthouse.domain.errors import NotNow
from posthouse.domain.event import EventType
from posthouse.domain.job import Status
from posthouse.domain.stream import Stream
from posthouse.simulator.ledger import LedgerEntry
from posthouse.status.auditor import Verdict, audit_house
from posthouse.storage import keys
from posthouse.storage.background import in_background
from posthouse.storage.db import Database, PoolKind, Wire, open_pool, open_wire
from posthouse.storage.embedded import EmbeddedPostgres
from posthouse.storage.migrate import migrate
from posthouse.storage.sql import Queries, load_queries, parse

#: Everything that was begun has come to its end within this, on a machine with other things to do. Seconds.
SETTLED_WITHIN: Final = 60.0

_LOOKS: Final = """\
-- name: told_of
SELECT j.job_id, j.status, array_agg(e.type ORDER BY e.occurred_at, e.received_at)
FROM email_job j JOIN email_event e ON e.job_id = j.job_id
WHERE j.to_address LIKE $1
GROUP BY j.job_id, j.status;
-- name: unsettled
SELECT count(*) FROM email_job WHERE status IN ('PENDING', 'QUEUED', 'SENDING', 'UNKNOWN');
-- name: in_state
SELECT count(*) FROM email_job WHERE to_address LIKE $1 AND status = $2;
-- name: longest_wait
SELECT coalesce(max(extract(epoch FROM sent_at - created_at) * 1000), 0)::bigint FROM email_job
WHERE to_address LIKE $1;
-- name: due_doubts
SELECT count(*) FROM email_job WHERE status = 'UNKNOWN' AND due_at <= now();
-- name: inbox
SELECT count(*) FROM relay_inbox WHERE not_before <= now() + interval '1 minute';
-- name: outbox
SELECT count(*) FROM event_outbox;
-- name: stored_events
SELECT event_id FROM email_event;
-- name: declared_dead
SELECT count(*) FROM worker WHERE pid = $1 AND dead_at IS NOT NULL;
-- name: set_aside
SELECT count(*) FROM dead_letter;
-- name: forget
DELETE FROM email_job WHERE job_id = $1;
"""


@dataclass(frozen=True, slots=True)
class Story:
    """What the database tells of one job: where it stands, and its events in order."""

    job_id: UUID
    status: Status
    events: tuple[EventType, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What the database and the far end say of the mails of one test."""

    stories: Mapping[UUID, Story]
    arrivals: Mapping[UUID, int]

    @property
    def unknown(self) -> frozenset[UUID]:
        """Whose timeline says that an outcome was unknown."""
        return frozenset(j for j, s in self.stories.items() if EventType.OUTCOME_UNKNOWN in s.events)

    @property
    def repeated(self) -> frozenset[UUID]:
        return frozenset(job_id for job_id, times in self.arrivals.items() if times > 1)

    @property
    def duplicates(self) -> int:
        return sum(times - 1 for times in self.arrivals.values())

    @property
    def by_status(self) -> Mapping[Status, int]:
        return Counter(story.status for story in self.stories.values())


#: Whether something has nothing to do.
Calm: TypeAlias = Callable[[], Awaitable[bool]]


async def _calm() -> bool:
    return True


class House:
    """`async with running_house_under_test() as house:`"""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        postgres: EmbeddedPostgres,
        db: Database,
        parts: Mapping[str, Part],
        client: Client,
        simulator: Simulator,
        calm: Calm,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.postgres = postgres
        self.db = db
        self.parts = parts
        self.client = client
        self.simulator = simulator
        self._calm = calm
        self._postgres_wanted = asyncio.Event()
        self._postgres_wanted.set()

    @property
    def track_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.house.track_port}"

    # ---- PostgreSQL --------------------------------------------------------------------------------------

    async def keep_postgres(self) -> None:
        """Start it again whenever it ends, as `posthouse up` does, unless a test wants it away."""
        while True:
            await self.postgres.ended()
            await self._postgres_wanted.wait()
            await self.postgres.stop()
            await self.postgres.start()

    def kill_postgres(self, *, stay_away: bool = False) -> None:
        """kill -9 of the postmaster."""
        if stay_away:
            self._postgres_wanted.clear()
        assert self.postgres.pid is not None
        os.kill(self.postgres.pid, signal.SIGKILL)

    def let_postgres_back(self) -> None:
        self._postgres_wanted.set()

    # ---- more of a role ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def another_worker(self, stream: Stream) -> AsyncIterator[Part]:
        """A second worker of a stream, with its probes on a port of its own."""
        (port,) = free_ports(1)
        first = f"{stream} = {self.settings.house.worker_ports[stream]}"
        text = (self.folder / CONFIG).read_text(encoding="utf-8")
        config = self.folder / f"another-{stream}.toml"
        config.write_text(text.replace(first, f"{stream} = {port}"), encoding="utf-8")
        role = Role(f"another-{stream}", ("worker", "--stream", stream.value))
        url = f"http://127.0.0.1:{port}/readyz"
        part = _part(role, self.settings, config, self.postgres.dsn, (self.simulator.session, url))
        async with in_background(part.keep(), role.name):
            await part.up()
            yield part
            await part.down()

    # ---- the simulator's faults --------------------------------------------------------------------------

    async def fault(self, kind: str, account: str, *, times: int | None = None, delay_ms: int = 0) -> None:
        spec = {"kind": kind, "account": account, "times": times, "delay_ms": delay_ms}
        await self._control("POST", msgspec.json.encode(spec))

    async def clear_faults(self) -> None:
        await self._control("DELETE", b"")

    async def _control(self, method: str, body: bytes) -> None:
        url = f"{self.simulator.url}/sim/faults"
        async with self.simulator.session.request(method, url, data=body) as response:
            assert response.status < 300, await response.text()

    # ---- what is so --------------------------------------------------------------------------------------

    async def settled(self, within: float = SETTLED_WITHIN) -> None:
        """Every job at an end, every webhook taken and processed, twice in a row: what happened in between
        the looks of one round is seen by the next."""
        for _ in range(2):
            await until("the house is settled", self._is_calm, within=within, every=0.1)

    async def audit(self) -> Verdict:
        """The three ledgers of the whole house, settled."""
        return await audit_house(self.db, self.client_ledger, self.sink_ledger, settled=True)

    async def assert_clean(self) -> None:
        """Nothing lost, nothing unexplained, books balanced; the examples if not."""
        verdict = await self.audit()
        found = {kind.value: f for kind, f in verdict.comparison.findings.items() if f.count}
        assert not found
        assert not verdict.books.findings

    @property
    def client_ledger(self) -> Path:
        return self.folder / "client.jsonl"

    @property
    def sink_ledger(self) -> Path:
        return self.folder / "simulator" / "ledger.jsonl"

    async def told_of(self, tag: str, stream: Stream | None = None) -> Told:
        """What is said of a tag's mails, or of those of one stream."""
        name = f"{tag}-{stream.value[:2]}" if stream is not None else f"{tag}-"
        async with self.looking() as wire:
            stories = await wire.fetch_into(_story, "told_of", f"%-{name}%")
        arrivals = Counter(UUID(e.job_id) for e in self.arrived(name) if e.job_id is not None)
        return Told({story.job_id: story for story in stories}, arrivals)

    def arrived(self, tag: str) -> list[LedgerEntry]:
        """What the far end took for the people of a test, in order."""
        lines = self.sink_ledger.read_bytes().splitlines()
        entries = (msgspec.json.decode(line, type=LedgerEntry) for line in lines)
        return [entry for entry in entries if f"-{tag}" in entry.to]

    async def count(self, look: str, *arguments: object) -> int:
        async with self.looking() as wire:
            return await wire.value(int, look, *arguments)

    async def is_declared_dead(self, pid: int) -> bool:
        return await self.count("declared_dead", pid) > 0

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[Wire]:
        """A connection with the tests' own queries."""
        wire = await open_wire(self.postgres.dsn, Queries(tuple(parse(_LOOKS, "a test"))), server_settings={})
        try:
            yield wire
        finally:
            await wire.close()

    async def _is_calm(self) -> bool:
        try:
            if await self.count("unsettled") or not (await self.simulator.idle()).idle:
                return False
            return await self.count("inbox") == 0 and await self._calm()
        except NotNow:
            return False


@asynccontextmanager
async def running_house_under_test(
    more: str = "", calm: Calm = _calm, transactional_relays: Sequence[str] = ("sim-smtp",)
) -> AsyncIterator[House]:
    """Started, ready, with a key and two templates; at its end everything is drained and gone. `more`:
    further tables of the configuration. `calm`: whether what is beside the database has nothing to do."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="posthouse-e2e-")))
        os.chmod(folder, 0o755)
        config = folder / CONFIG
        config.write_text(configuration(folder, transactional_relays) + more, encoding="utf-8")
        settings = load(config, {})
        make_simulator_keys(settings)
        postgres = await stack.enter_async_context(EmbeddedPostgres(folder / "postgres"))
        await migrate(postgres.dsn)
        db = await open_pool(postgres.dsn, PoolKind.GENERAL, load_queries(), max_size=2)
        stack.push_async_callback(db.close)
        limit = aiohttp.ClientTimeout(total=10.0)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=limit))
        client = Client(await _api(db, settings, session), folder / "client.jsonl")
        stack.callback(client.close)
        simulator = Simulator(f"http://127.0.0.1:{settings.simulation.control_port}", session)
        parts = _parts(settings, config, postgres.dsn, session)
        house = House(folder, settings, postgres, db, parts, client, simulator, calm)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = [group.create_task(part.keep()) for part in parts.values()]
        tasks.append(group.create_task(house.keep_postgres()))
        stack.push_async_callback(_all_down, list(parts.values()), tasks)
        await asyncio.gather(*(part.up() for part in parts.values()))
        for template in (RECEIPT, NEWSLETTER):
            await client.api.must_post("/v1/templates", template)
        yield house


def _parts(settings: Settings, config: Path, dsn: str, session: aiohttp.ClientSession) -> dict[str, Part]:
    (settings.data_dir / "logs").mkdir()
    control = f"http://127.0.0.1:{settings.simulation.control_port}/sim/idle"
    urls = {**ready_urls(settings), "simulator": control}
    roles = roles_of(settings)
    return {role.name: _part(role, settings, config, dsn, (session, urls[role.name])) for role in roles}


def _part(role: Role, settings: Settings, config: Path, dsn: str, probe: Probe) -> Part:
    environment = {**os.environ, "DATABASE_URL": dsn, "POSTHOUSE_CONFIG": str(config)}
    return Part(role, environment, settings.data_dir / "logs", probe)


async def _api(db: Database, settings: Settings, session: aiohttp.ClientSession) -> Api:
    now = datetime.now(UTC)
    _, secret = await keys.create(
        db, name="e2e", stream=None, from_domains=[], now=now, random_bytes=secrets.token_bytes
    )
    return Api(f"http://127.0.0.1:{settings.house.api_port}", secret, session)


async def _all_down(parts: Sequence[Part], tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*(part.down() for part in parts), return_exceptions=True)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _story(job_id: UUID, status: str, events: Sequence[str]) -> Story:
    return Story(job_id, Status(status), tuple(EventType(event) for event in events))
