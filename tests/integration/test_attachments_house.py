"""Attachments from the API to the wire: what was posted arrives, stored once, never too much in memory."""

import asyncio
import base64
import random
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage

import compose_kit
import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP, Envelope, Session
from api_house import ApiHouse, looking, mail, running_api
from mimecheck import violations
from recorded_events import POLICY
from stored_jobs import PATIENCE, enlisted

from posthouse.bus.postgres import PostgresJobs
from posthouse.clock import SystemClock
from posthouse.compose.mime import to_raw
from posthouse.delivery.router import Router
from posthouse.delivery.verdict import Backoff
from posthouse.domain.event import Event
from posthouse.domain.ids import RelayAccount
from posthouse.domain.message import RawMail, Rendered
from posthouse.domain.stream import Stream
from posthouse.relays.base import Accepted, Capabilities, Gate, Outcome, Relay, Tell, tell_nobody
from posthouse.relays.sandbox import CAPABILITIES, SandboxRelay
from posthouse.relays.smtp import SmtpAccount, SmtpRelay, Tls
from posthouse.status.record import record
from posthouse.storage import partitions
from posthouse.storage.db import Database, Wire
from posthouse.storage.hints import Listener
from posthouse.telemetry import Metrics
from posthouse.worker.composing import Composing
from posthouse.worker.files import Files, load_files
from posthouse.worker.handlers import Tools, handle
from posthouse.worker.loop import Worker
from posthouse.worker.recorder import Recorder
from posthouse.worker.slots import Slots

_LOOKS = """\
-- name: files
SELECT count(*) FROM email_attachment;
-- name: owed
SELECT count(*) FROM email_job WHERE status IN ('PENDING', 'SENDING', 'UNKNOWN');
-- name: states
SELECT DISTINCT status FROM email_job;
"""
_MAX_BODY = 20_000_000


@dataclass
class Post:
    """A server of other people's for what is sent."""

    taken: list[EmailMessage] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.raw.append(envelope.content)
        parsed = message_from_bytes(envelope.content, EmailMessage, policy=policy.SMTP)
        self.taken.append(parsed)
        return "250 2.0.0 Ok"


@asynccontextmanager
async def smtp_relay(post: Post) -> AsyncIterator[Relay]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(post, hostname="mx.example.test", data_size_limit=30_000_000), "127.0.0.1", 0
    )
    relay = SmtpRelay(
        SmtpAccount(
            account=RelayAccount("post"),
            host="127.0.0.1",
            port=server.sockets[0].getsockname()[1],
            helo_name="posthouse.example",
            tls=Tls.NONE,
        ),
        clock=SystemClock(),
        rng=random.Random(1),
    )
    try:
        yield relay
    finally:
        await relay.close()
        server.close()
        await server.wait_closed()


class Scales:
    """A relay that weighs what is in its hands, and takes its time so that others come meanwhile."""

    capabilities: Capabilities = CAPABILITIES
    account = RelayAccount("scales")

    def __init__(self) -> None:
        self.holds = 0
        self.most = 0
        self.mails = 0

    async def send_many(
        self, mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell = tell_nobody
    ) -> list[Outcome]:
        whole = [mail for mail in mails if isinstance(mail, Rendered)]
        weight = sum(len(file.content) for mail in whole for file in mail.attachments)
        self.holds += weight
        self.most = max(self.most, self.holds)
        await asyncio.sleep(0.01)
        self.holds -= weight
        self.mails += len(mails)
        return [Accepted(f"id-{mail.job_id}", "250 ok") for mail in mails]

    async def close(self) -> None: ...


@dataclass
class House:
    api: ApiHouse
    queue: Database
    wire: Wire

    async def post(self, *files: object, **fields: object) -> str:
        answer = await self.api.call("POST", "/v1/emails", {**mail(attachments=files), **fields})
        assert answer.status == 202, answer.body
        return str(answer.json()["id"])

    async def stored(self) -> int:
        return await self.wire.value(int, "files")

    async def send(
        self, relay: Relay, files: Files | None = None, stream: Stream = Stream.TRANSACTIONAL
    ) -> None:
        """By a worker of its own, until nothing is owed."""
        clock, rng = SystemClock(), random.Random(1)
        composer = compose_kit.composer()
        recorder = Recorder(self._record)
        async with Listener(self.queue.dsn, rng=rng).running() as listener, asyncio.timeout(PATIENCE):
            source = PostgresJobs(self.queue, listener, clock, stream, await enlisted(self.queue, stream))
            tools = Tools(
                source=source,
                compose=Composing(self.queue, composer, clock),
                files=files or self.files(1_000_000),
                to_raw=to_raw,
                router=Router([relay], clock, rng),
                sandbox=SandboxRelay(_no_callbacks, clock),
                recorder=recorder,
                gate=lambda: True,
                clock=clock,
                rng=rng,
                backoff=Backoff(timedelta(seconds=1), timedelta(minutes=5)),
                metrics=Metrics(),
            )
            worker = Worker(
                source, tools.router, Slots(128, clock), lambda jobs, finished: handle(tools, jobs, finished)
            )
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                recording = group.create_task(recorder.run())
                working = group.create_task(worker.run(stop))
                while await self.wire.value(int, "owed"):  # noqa: ASYNC110  # the database's state
                    await asyncio.sleep(0.02)
                stop.set()
                await working
                recording.cancel()
        composer.close()
        assert await self.wire.column(str, "states") == ["SENT"]

    def files(self, room: int) -> Files:
        return Files(lambda ids: load_files(self.queue, ids), room)

    async def _record(self, events: Sequence[Event]) -> None:
        await record(self.queue, events, POLICY, random.Random(1))


async def _no_callbacks(callbacks: object) -> None:
    raise AssertionError("there is no mail of test keys here")


@pytest_asyncio.fixture
async def house(database: Database, queue_database: Database) -> AsyncIterator[House]:
    async with (
        running_api(database, max_body=_MAX_BODY, max_attachments=2_000_000) as api,
        looking(database.dsn, _LOOKS) as wire,
    ):
        yield House(api, queue_database, wire)


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def part_of(message: EmailMessage, name: str) -> EmailMessage:
    (part,) = [part for part in message.walk() if part.get_filename() == name]
    assert isinstance(part, EmailMessage)
    return part


async def test_both_forms_arrive_byte_for_byte(house: House) -> None:
    large, small = secrets.token_bytes(300_000), bytes(range(256))
    await house.post(
        {"filename": "Größe 资料.bin", "content": base64_of(large)},
        {"filename": "a.pdf", "content": list(small), "content_type": "application/pdf"},
    )
    post = Post()
    async with smtp_relay(post) as relay:
        await house.send(relay)
    (message,) = post.taken
    assert violations(post.raw[0]) == []
    assert message.get_content_type() == "multipart/mixed"
    assert part_of(message, "Größe 资料.bin").get_payload(decode=True) == large
    paper = part_of(message, "a.pdf")
    assert (paper.get_content_type(), paper.get_content_disposition()) == ("application/pdf", "attachment")
    assert paper.get_payload(decode=True) == small
    assert b"filename*" in post.raw[0]  # RFC 2231


async def test_a_picture_is_shown_within_the_html_that_refers_to_it(house: House) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + secrets.token_bytes(500)
    await house.post(
        {"filename": "logo.png", "content": base64_of(picture), "content_id": "logo"},
        {"filename": "also.png", "content": "eA==", "content_id": "also", "disposition": "attachment"},
        html='<p><img src="cid:logo"></p>',
        text="Hello",
    )
    post = Post()
    async with smtp_relay(post) as relay:
        await house.send(relay)
    (message,) = post.taken
    (related,) = [part for part in message.walk() if part.get_content_type() == "multipart/related"]
    html, shown = related.iter_parts()
    assert 'src="cid:logo"' in html.get_content()
    assert (shown["Content-ID"], shown.get_content_disposition()) == ("<logo>", "inline")
    assert shown.get_payload(decode=True) == picture
    also = part_of(message, "also.png")
    assert (also["Content-ID"], also.get_content_disposition()) == ("<also>", "attachment")


async def test_a_template_takes_files_with_it(house: House) -> None:
    template = {"key": "receipt", "subject": "Order {{ n }}", "html": "<p>{{ n }}</p>", "publish": True}
    assert (await house.api.call("POST", "/v1/templates", template)).status == 201
    email_id = await house.post(
        {"filename": "a.pdf", "content": base64_of(b"%PDF-1.7")},
        template={"key": "receipt", "variables": {"n": "17"}},
        subject=None,
        text=None,
    )
    post = Post()
    async with smtp_relay(post) as relay:
        await house.send(relay)
    (message,) = post.taken
    assert message["Subject"] == "Order 17"
    assert part_of(message, "a.pdf").get_payload(decode=True) == b"%PDF-1.7"
    shown = await house.api.call("GET", f"/v1/emails/{email_id}?include=content")
    assert shown.json()["content"]["attachments"] == [  # type: ignore[index]
        {
            "filename": "a.pdf",
            "content_type": "application/pdf",
            "size": 8,
            "content_id": None,
            "disposition": "attachment",
        }
    ]


async def test_equal_files_of_a_day_are_one_row_and_go_with_their_day(house: House) -> None:
    same = {"filename": "terms.pdf", "content": base64_of(b"%PDF same")}
    for number in range(3):
        await house.post(same, {**same, "filename": f"copy-{number}.pdf"}, text=f"Hello {number}")
    batch = [mail(n, attachments=[same]) for n in range(5)]
    assert (await house.api.call("POST", "/v1/emails/batch", batch)).status == 202
    assert await house.stored() == 1
    await house.post({"filename": "terms.pdf", "content": base64_of(b"%PDF other")})
    assert await house.stored() == 2
    post = Post()
    async with smtp_relay(post) as relay:
        await house.send(relay)
    assert len(post.taken) == 9
    later = datetime.now(UTC).date() + timedelta(days=60)
    await partitions.drop_older_than(
        house.api.deps.database, later, partitions.Retention(), rng=random.Random(1)
    )
    assert await house.stored() == 0


async def test_a_backlog_of_500_mails_with_files_stays_within_the_room(house: House) -> None:
    size, room = 20_000, 200_000
    batch = [
        mail(
            n,
            **{"from": "n@news.shop.example", "to": f"p{n}@gmail.com", "stream": "marketing"},
            attachments=[{"filename": "a.bin", "content": base64_of(n.to_bytes(2, "big") * (size // 2))}],
        )
        for n in range(500)
    ]
    assert (await house.api.call("POST", "/v1/emails/batch", batch)).status == 202
    relay, files = Scales(), house.files(room)
    await house.send(relay, files, Stream.MARKETING)
    assert relay.mails == 500
    assert size * 2 <= relay.most <= room
    assert files.held == 0


@pytest.mark.parametrize(
    ("file", "code", "pointer"),
    [
        ({"filename": "a", "content": "AAAA" * 700_000}, "attachments_too_large", ""),
        ({"filename": "a", "content": [0] * 2_000_001}, "attachments_too_large", ""),
        ({"filename": "a", "content": "not base64!"}, "invalid_attachment", "/0/content"),
        ({"path": "http://10.0.0.1/"}, "attachment_url_refused", "/0/path"),
        ({"filename": "a.exe", "content": "eA=="}, "attachment_type_blocked", "/0/filename"),
    ],
    ids=["base64", "list", "nonsense", "path", "program"],
)
async def test_what_is_too_large_or_wrong_stores_nothing(
    house: House, file: object, code: str, pointer: str
) -> None:
    answer = await house.api.call("POST", "/v1/emails", mail(attachments=[file]))
    assert (answer.status, answer.code, answer.pointer) == (422, code, f"/attachments{pointer}")
    assert await house.stored() == 0


async def test_a_batch_says_which_mail_has_the_wrong_file(house: House) -> None:
    batch = [mail(0), mail(1, attachments=[{"path": "https://shop.example/a.pdf"}])]
    answer = await house.api.call("POST", "/v1/emails/batch", batch)
    assert (answer.status, answer.pointer) == (422, "/1/attachments/0/path")
    permissive = await house.api.call(
        "POST", "/v1/emails/batch", batch, headers={"x-batch-validation": "permissive"}
    )
    assert permissive.status == 202
    assert [error["index"] for error in permissive.json()["errors"]] == [1]  # type: ignore[attr-defined]


async def test_files_that_are_slow_to_store_hold_up_no_other_mail(house: House, pg_dsn: str) -> None:
    file = {"filename": "a.pdf", "content": "eA=="}
    async with looking(pg_dsn, "") as wire, asyncio.timeout(PATIENCE):
        async with wire.transaction() as tx:
            await tx.script("LOCK TABLE email_attachment IN ACCESS EXCLUSIVE MODE")
            waiting = [asyncio.create_task(house.post(file)) for _ in range(10)]
            for number in range(20):
                answer = await house.api.call("POST", "/v1/emails", mail(number))
                assert answer.status == 202
            assert not any(post.done() for post in waiting)
        await asyncio.gather(*waiting)
    assert await house.stored() == 1


async def test_a_retry_with_its_files_is_one_mail(house: House) -> None:
    key = {"idempotency-key": "order-4711"}
    first, again, other = [
        await house.api.call(
            "POST",
            "/v1/emails",
            mail(attachments=[{"filename": "a.pdf", "content": base64_of(content)}]),
            headers=key,
        )
        for content in (b"one", b"one", b"two")
    ]
    assert (first.status, again.body) == (202, first.body)
    assert (other.status, other.code) == (422, "invalid_idempotent_request")
    assert await house.wire.value(int, "owed") == 1
