"""Mail of test keys, from the API through worker and processor to each of its ends; no relay sees it."""

import asyncio
import random
import secrets
import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from api_house import ApiHouse, looking, running_api
from sandbox_stories import STORIES
from stored_jobs import PATIENCE, Eyes, enlisted, open_eyes, residual

from posthouse.app.adapters import build_readers, make_simulator_keys
from posthouse.app.composer import build_composer
from posthouse.app.inbox import build_inbox_readers
from posthouse.bus.port import JobSource
from posthouse.bus.postgres import PostgresCallbacks, PostgresJobs
from posthouse.clock import SystemClock
from posthouse.compose.mime import to_raw
from posthouse.config import DEVELOPMENT, settings_from
from posthouse.delivery.router import Router
from posthouse.delivery.verdict import Backoff
from posthouse.domain.event import Event
from posthouse.domain.ids import RelayAccount
from posthouse.domain.message import RawMail, Rendered
from posthouse.domain.sandbox import SANDBOX_ACCOUNT
from posthouse.domain.stream import Stream
from posthouse.ingest.normalize import Normalized, Refused, normalize
from posthouse.ingest.receive import Received, Receiver
from posthouse.keyring import load_keyring
from posthouse.relays.base import (
    Accepted,
    CallbackReader,
    Capabilities,
    Gate,
    Outcome,
    RawCallback,
    Tell,
    tell_nobody,
)
from posthouse.relays.sandbox import CAPABILITIES, SandboxRelay
from posthouse.status.apply import Applied, Policy
from posthouse.status.record import record
from posthouse.storage import keys
from posthouse.storage.db import Database, Wire
from posthouse.storage.hints import Listener
from posthouse.telemetry import Metrics
from posthouse.worker import processor
from posthouse.worker.composing import Composing
from posthouse.worker.files import FILES_BYTES, Files, load_files
from posthouse.worker.handlers import Tools, handle
from posthouse.worker.poison import PoisonLimit
from posthouse.worker.processor import ProcessorTools
from posthouse.worker.recorder import Recorder
from posthouse.worker.unplaced import suppress_unplaced

BOTH = tuple(Stream)
SENDERS = {Stream.TRANSACTIONAL: "orders@shop.example", Stream.MARKETING: "hello@news.shop.example"}
AT_ONCE = timedelta(0)

#: Whose address may not be mailed any more, and why.
SUPPRESSED = {"bounced": "BOUNCE", "soft-bounced": "BOUNCE", "complained": "SPAM", "suppressed": "MANUAL"}

LOOKS = """\
-- name: owed
SELECT EXISTS (SELECT FROM email_job WHERE status IN ('PENDING', 'SENDING', 'UNKNOWN'))
    OR EXISTS (SELECT FROM relay_inbox);
"""


class LiveRelay:
    """Takes everything, and remembers it."""

    capabilities: Capabilities = CAPABILITIES

    def __init__(self, account: str) -> None:
        self.account = RelayAccount(account)
        self.taken: list[str] = []

    async def send_many(
        self, mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell = tell_nobody
    ) -> list[Outcome]:
        self.taken += [mail.recipient for mail in mails]
        return [Accepted(f"live-{mail.job_id}", "250 ok") for mail in mails]

    async def close(self) -> None: ...


class _Recipient(msgspec.Struct):
    status: str
    relay: str | None
    opened_at: datetime | None
    clicked_at: datetime | None
    complained_at: datetime | None


class _Event(msgspec.Struct):
    type: str
    relay: str | None = None
    reason: str = ""
    machine: bool = False


class _Mail(msgspec.Struct):
    id: UUID
    recipients: list[_Recipient]
    timeline: list[_Event]

    @property
    def story(self) -> tuple[str, list[str]]:
        [recipient] = self.recipients
        assert self.timeline[0].type == "accepted"
        return recipient.status, [event.type for event in self.timeline[1:]]


@dataclass
class House:
    """One worker of each stream and the processor, a step at a time."""

    api: ApiHouse
    eyes: Eyes
    wire: Wire
    db: Database
    secret: str
    relays: dict[Stream, LiveRelay]
    sources: dict[Stream, JobSource]
    tools: dict[Stream, Tools]
    processing: ProcessorTools
    readers: dict[tuple[str, RelayAccount], CallbackReader]
    callbacks: PostgresCallbacks

    async def post(self, address: str, stream: Stream, *, secret: str | None = None) -> str:
        body = {"from": SENDERS[stream], "to": address, "stream": stream, "subject": "Hi", "text": "Hello"}
        answer = await self.api.call("POST", "/v1/emails", body, secret=secret or self.secret)
        assert answer.status == 202, answer.body
        return str(answer.json()["id"])

    async def mail(self, email_id: str) -> _Mail:
        answer = await self.api.call("GET", f"/v1/emails/{email_id}", secret=self.secret)
        return msgspec.json.decode(answer.body, type=_Mail)

    async def settle(self) -> None:
        """Claim, hand over and process until nothing is under way. A retry is due a moment later."""
        async with asyncio.timeout(PATIENCE):
            while await self._work() or await self._owed():
                pass

    async def _work(self) -> int:
        done = 0
        for stream in Stream:
            jobs = await self.sources[stream].take(100)
            done += len(jobs)
            if jobs:
                await handle(self.tools[stream], jobs, lambda _: None)
        return done + await processor.step(self.processing)

    async def _owed(self) -> bool:
        return await self.wire.value(bool, "owed")


@pytest.fixture
async def house(database: Database, queue_database: Database, tmp_path: Path) -> AsyncIterator[House]:
    settings = settings_from(tomllib.loads(DEVELOPMENT.format(folder=tmp_path)), "a test")
    make_simulator_keys(settings)
    clock, rng, metrics = SystemClock(), random.Random(1), Metrics()
    policy = Policy((AT_ONCE,) * 3, dict.fromkeys(Stream, AT_ONCE))
    readers = build_inbox_readers(settings, load_keyring(tmp_path, {}), clock)

    async def recorded(events: Sequence[Event]) -> Applied:
        return await record(queue_database, events, policy, rng)

    async def written(events: Sequence[Event]) -> None:
        await recorded(events)

    def read(callback: RawCallback) -> Normalized | Refused:
        return normalize(callback, readers[callback.relay, callback.account])

    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running_api(database))
        eyes = await open_eyes(database.dsn)
        stack.push_async_callback(eyes.close)
        wire = await stack.enter_async_context(looking(database.dsn, LOOKS))
        listener = await stack.enter_async_context(Listener(database.dsn, rng=rng).running())
        callbacks = PostgresCallbacks(database, listener, lambda _: None)
        composer = build_composer(settings, load_keyring(tmp_path, {}), clock)
        stack.callback(composer.close)
        recorder = Recorder(written)
        recording = asyncio.create_task(recorder.run())
        stack.callback(recording.cancel)
        relays = {stream: LiveRelay(f"live-{stream}") for stream in Stream}
        tools = {
            stream: Tools(
                source=PostgresJobs(
                    queue_database, listener, clock, stream, await enlisted(database, stream)
                ),
                compose=Composing(queue_database, composer, clock),
                files=Files(lambda ids: load_files(queue_database, ids), FILES_BYTES),
                to_raw=to_raw,
                router=Router([relays[stream]], clock, rng),
                sandbox=SandboxRelay(callbacks.append, clock),
                recorder=recorder,
                gate=lambda: True,
                clock=clock,
                rng=rng,
                backoff=Backoff(timedelta(seconds=1), timedelta(minutes=5)),
                metrics=metrics,
            )
            for stream in Stream
        }
        processing = ProcessorTools(
            log=callbacks,
            normalize=read,
            record=recorded,
            suppress=lambda unplaced: suppress_unplaced(database, unplaced, clock.now()),
            poison=PoisonLimit(50),
            clock=clock,
            metrics=metrics,
        )
        _, secret = await keys.create(
            database,
            name="ci",
            stream=None,
            from_domains=[],
            now=datetime.now(UTC),
            random_bytes=secrets.token_bytes,
            sandbox=True,
        )
        sources = {stream: tools[stream].source for stream in Stream}
        yield House(
            api, eyes, wire, queue_database, secret, relays, sources, tools, processing, readers, callbacks
        )


@pytest.mark.parametrize("stream", BOTH)
async def test_every_address_comes_to_its_end_with_its_events(house: House, stream: Stream) -> None:
    ids = {name: await house.post(f"{name}+1@sandbox.invalid", stream) for name in STORIES}
    await house.settle()
    mails = {name: await house.mail(email_id) for name, email_id in ids.items()}
    assert {name: mail.story for name, mail in mails.items()} == STORIES
    handed_over = [mail for name, mail in mails.items() if name != "suppressed"]
    assert {event.relay for mail in handed_over for event in mail.timeline[1:]} == {SANDBOX_ACCOUNT}
    assert {mail.recipients[0].relay for mail in handed_over} == {SANDBOX_ACCOUNT}
    assert all(
        mails[name].timeline[-1].reason for name in ("bounced", "soft-bounced", "rejected", "suppressed")
    )
    assert mails["opened"].recipients[0].opened_at
    assert mails["clicked"].recipients[0].clicked_at
    assert mails["complained"].recipients[0].complained_at
    assert not any(event.machine for mail in mails.values() for event in mail.timeline)
    assert {(address, reason) for address, _, reason, _ in await house.eyes.suppressions()} == {
        (f"{name}+1@sandbox.invalid", reason) for name, reason in SUPPRESSED.items()
    }
    assert await house.eyes.dead_letters() == []
    assert await residual(house.db) == []
    assert [relay.taken for relay in house.relays.values()] == [[], []]


@pytest.mark.parametrize("stream", BOTH)
async def test_no_relay_sees_a_test_keys_mail_and_the_sandbox_sees_no_other(
    house: House, stream: Stream
) -> None:
    live = [f"live{n}@gmail.com" for n in range(20)]
    for number, address in enumerate(live):
        await house.post(address, stream, secret=house.api.secret)
        await house.post(f"person{number}@gmail.com", stream)
        await house.post(f"bounced+{number}@sandbox.invalid", stream)
    await house.settle()
    assert sorted(house.relays[stream].taken) == sorted(live)
    assert {address for address, *_ in await house.eyes.suppressions()} == {
        f"bounced+{n}@sandbox.invalid" for n in range(20)
    }


async def test_a_suppressed_address_of_the_sandbox_takes_the_mail_of_one_recipient_only(house: House) -> None:
    body = {
        "from": SENDERS[Stream.TRANSACTIONAL],
        "to": ["suppressed+a@sandbox.invalid", "delivered+a@sandbox.invalid"],
        "subject": "Hi",
        "text": "Hello",
    }
    answer = await house.api.call("POST", "/v1/emails", body, secret=house.secret)
    await house.settle()
    mail = await house.mail(str(answer.json()["id"]))
    assert [recipient.status for recipient in mail.recipients] == ["suppressed", "delivered"]


async def test_a_live_keys_mail_suppresses_no_address_by_its_name(house: House) -> None:
    await house.post("suppressed+b@sandbox.invalid", Stream.TRANSACTIONAL, secret=house.api.secret)
    assert await house.eyes.suppressions() == []


async def test_a_live_key_may_not_mail_reserved_domains_by_real_relays(house: House) -> None:
    body = {
        "from": SENDERS[Stream.MARKETING],
        "to": "delivered@sandbox.invalid",
        "stream": "marketing",
        "subject": "Hi",
        "text": "Hello",
    }
    answer = await house.api.call("POST", "/v1/emails", body)
    assert (answer.status, answer.code, answer.pointer) == (422, "reserved_domain", "/to")


async def test_a_template_that_cannot_be_rendered_fails_in_the_sandbox_too(house: House) -> None:
    template = {"key": "t", "name": "T", "subject": "{{ 1 / n }}", "text": "x", "publish": True}
    assert (await house.api.call("POST", "/v1/templates", template)).status == 201
    body = {
        "from": SENDERS[Stream.TRANSACTIONAL],
        "to": "delivered@sandbox.invalid",
        "template": {"key": "t", "variables": {"n": 0}},
    }
    answer = await house.api.call("POST", "/v1/emails", body, secret=house.secret)
    await house.settle()
    mail = await house.mail(str(answer.json()["id"]))
    assert mail.story == ("failed", ["failed"])
    assert mail.timeline[-1].reason


async def test_nobody_can_post_in_the_sandboxs_name(house: House, tmp_path: Path) -> None:
    settings = settings_from(tomllib.loads(DEVELOPMENT.format(folder=tmp_path)), "a test")
    callback = RawCallback("sandbox", SANDBOX_ACCOUNT, {}, b"[]")
    receiver = Receiver(build_readers(settings, SystemClock()), house.callbacks)
    assert await receiver.receive(callback) is Received.UNKNOWN_ACCOUNT
    careless = Receiver(house.readers, house.callbacks)
    assert await careless.receive(callback) is Received.BAD_SIGNATURE
    assert (await house.api.call("POST", "/hooks/sandbox/sandbox", [])).status == 404
