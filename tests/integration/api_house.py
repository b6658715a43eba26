"""The API as its clients meet it: a real server on a free port, on a real database."""

import asyncio
import base64
import hashlib
import io
import itertools
import random
import secrets
import socket
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import aiohttp
import compose_kit
import msgspec
from recorded_events import POLICY

from posthouse.bus.port import EventLog
from posthouse.clock import ManualClock, SystemClock
from posthouse.compose.aside import ComposerAside
from posthouse.compose.header_text import refuse_breaks
from posthouse.compose.headers import check_headers
from posthouse.domain.errors import NotNow
from posthouse.domain.ids import RelayAccount
from posthouse.domain.stream import Stream
from posthouse.ingest.receive import Receiver
from posthouse.intake.group import Intake
from posthouse.intake.policy import StreamPolicy
from posthouse.intake.rows import RowMaker
from posthouse.intake.validate import Rules
from posthouse.net.guard import EgressPolicy
from posthouse.outhooks.desk import Desk
from posthouse.outhooks.signing import SecretBox
from posthouse.relays.base import RawCallback
from posthouse.status.changes import Changes
from posthouse.storage import keys, partitions
from posthouse.storage.db import Database, Wire, open_wire
from posthouse.storage.dbclock import DatabaseClock
from posthouse.storage.keys import ALL_SCOPES, ApiKey, KeyScope, KeySecret
from posthouse.storage.sql import Queries, parse
from posthouse.telemetry import Metrics
from posthouse.web.api.deps import ApiDeps, api_deps
from posthouse.web.api.rate_limit import RateLimit
from posthouse.web.application import build_api
from posthouse.web.granian_server import serve_on_granian
from posthouse.worker.composing import find_source

MAX_BODY = 1_000_000

POLICIES = {
    Stream.TRANSACTIONAL: StreamPolicy(
        frozenset({"shop.example", "help.example"}),
        timedelta(hours=24),
        shows_other_recipients=True,
        simulated=True,
    ),
    Stream.MARKETING: StreamPolicy(
        frozenset({"news.shop.example"}), timedelta(hours=72), shows_other_recipients=False, simulated=False
    ),
}
#: Where endpoints may be beside the public Internet.
WEBHOOK_HOSTS = frozenset({"127.0.0.1:8099"})
UNLIMITED = RateLimit(per_second=1e6, burst=1_000_000)
RULES = Rules(POLICIES, 50, check_headers, refuse_breaks)


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        decoded = msgspec.json.decode(self.body, type=dict[str, object])
        if self.status >= 400:
            assert self.headers["content-type"] == "application/problem+json"
            assert decoded["status"] == self.status
            assert decoded["instance"] == self.headers["x-request-id"]
        return decoded

    @property
    def code(self) -> object:
        return self.json()["code"]

    @property
    def pointer(self) -> object:
        """Of the one field at fault."""
        errors = msgspec.convert(self.json().get("errors", []), list[dict[str, str]])
        assert len(errors) == 1
        return errors[0]["pointer"]


_calls = itertools.count()


class SignedByLength:
    """A relay's way back, as simple as can be: its signature is the length of the body."""

    relay = "sendgrid"
    account = RelayAccount("mail-one")

    def verify(self, callback: RawCallback) -> bool:
        return callback.headers.get("x-signature") == str(len(callback.body))

    def token(self, callback: RawCallback) -> str:
        """One of its own for each call, unless it brings one."""
        return callback.headers.get("x-token") or str(next(_calls))

    def parse(self, callback: RawCallback) -> tuple[list[object], list[object]]:
        raise NotImplementedError("the receiver never parses")


@dataclass
class Inbox:
    """Where callbacks are stored; `away` as a database would be."""

    callbacks: list[RawCallback] = field(default_factory=list)
    away: bool = False

    async def append(self, callbacks: list[RawCallback]) -> None:
        if self.away:
            raise NotNow("The database is not available.")
        self.callbacks.extend(callbacks)


@dataclass
class ApiHouse:
    deps: ApiDeps
    clock: ManualClock  # of the API's memories, not of its mail
    key: ApiKey
    secret: KeySecret
    base: str
    client: aiohttp.ClientSession
    inbox: Inbox
    told: Counter[Stream]
    woken: list[Stream]  # streams whose workers were woken, beside those that `told` says

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        secret: str | None = None,
    ) -> Answer:
        """`body` as JSON, or `raw` as it is; with this house's key unless another `secret` is given."""
        encoded = msgspec.json.encode(body) if body is not None else raw
        data = None if encoded is None else io.BytesIO(encoded)
        sent = {"authorization": f"Bearer {self.secret if secret is None else secret}"}
        if data is not None:
            sent["content-type"] = "application/json"
        async with self.client.request(
            method, self.base + path, data=data, headers={**sent, **(headers or {})}
        ) as response:
            return Answer(response.status, response.headers.copy(), await response.read())

    async def another_key(
        self,
        *,
        stream: Stream | None = None,
        from_domains: list[str] | None = None,
        scopes: frozenset[KeyScope] = ALL_SCOPES,
        sandbox: bool = False,
    ) -> str:
        _, secret = await create_key(
            self.deps.database, stream, from_domains or [], scopes=scopes, sandbox=sandbox
        )
        return secret


def mail(number: int = 0, **more: object) -> dict[str, object]:
    """A good mail as it is posted, to a reader of its own."""
    return {
        "from": "Shop <orders@shop.example>",
        "to": f"p{number}@inbox.test",
        "subject": "Hi",
        "text": "Hello",
        **more,
    }


async def create_key(
    database: Database,
    stream: Stream | None,
    from_domains: list[str],
    *,
    scopes: frozenset[KeyScope] = ALL_SCOPES,
    sandbox: bool = False,
) -> tuple[ApiKey, KeySecret]:
    return await keys.create(
        database,
        name="test",
        stream=stream,
        from_domains=from_domains,
        now=datetime.now(UTC),
        random_bytes=secrets.token_bytes,
        scopes=scopes,
        sandbox=sandbox,
    )


async def ready_clock(database: Database) -> DatabaseClock:
    """The database's clock, with the partitions that its day needs."""
    clock = DatabaseClock(database, SystemClock())
    await clock.measure()
    await partitions.ensure(database, clock.today(), rng=random.Random(1))
    return clock


@asynccontextmanager
async def running_api(
    database: Database,
    limit: RateLimit = UNLIMITED,
    *,
    max_body: int = MAX_BODY,
    max_attachments: int = RULES.max_attachment_bytes,
) -> AsyncIterator[ApiHouse]:
    database_clock = await ready_clock(database)
    key, secret = await create_key(database, None, [])
    clock, inbox, told = ManualClock(), Inbox(), Counter[Stream]()
    woken: list[Stream] = []

    def tell(stream: Stream, count: int) -> None:
        told[stream] += count

    intake = Intake(
        database,
        RowMaker(b"a test's content key", random.Random(2).getrandbits),
        now_ms=database_clock.now_ms,
        accepted=tell,
    )
    reader = SignedByLength()
    log: EventLog = inbox  # type: ignore[assignment]  # only what a receiver uses of it
    deps = api_deps(
        database=database,
        intake=intake,
        changes=Changes(database, POLICY, random.Random(3)),
        jobs_due=woken.append,
        rules=replace(RULES, max_attachment_bytes=max_attachments),
        receiver=Receiver({(reader.relay, reader.account): reader}, log, max_bytes=500_000),  # type: ignore[dict-item]  # never parses
        metrics=Metrics(),
        clock=clock,
        now_ms=database_clock.now_ms,
        max_body_bytes=max_body,
        composer=ComposerAside(compose_kit.composer()),
        rate_limit=limit,
        find_source=lambda job: find_source(database, job),
        webhooks=Desk(
            database,
            SecretBox([bytes(32)]),
            EgressPolicy(WEBHOOK_HOSTS),
            secrets.token_bytes,
            secrets.randbits,
        ),
    )
    with closing(deps.composer):
        async with serving(deps) as base, aiohttp.ClientSession() as client:
            yield ApiHouse(deps, clock, key, secret, base, client, inbox, told, woken)
    await intake.drain()


@asynccontextmanager
async def serving(deps: ApiDeps, *, header_seconds: float = 30.0) -> AsyncIterator[str]:
    """The API on a free port of loopback; its base URL."""
    port, stop = free_port(), asyncio.Event()
    server = asyncio.create_task(
        serve_on_granian(build_api(deps), "127.0.0.1", port, stop, header_seconds=header_seconds)
    )
    await until_listening(port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop.set()
        await server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until_listening(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


@asynccontextmanager
async def looking(dsn: str, queries: str) -> AsyncIterator[Wire]:
    """A connection with a test's own queries, to look at what was stored without the program's eyes."""
    wire = await open_wire(dsn, Queries(tuple(parse(queries, "a test"))), server_settings={})
    try:
        yield wire
    finally:
        await wire.close()


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def not_a_key() -> str:
    return keys.LIVE_PREFIX + base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()
