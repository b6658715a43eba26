"""A running simulator, and a house on the other side of it: tracking, unsubscribe page, webhook receiver."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import msgspec
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from aiohttp.web import Application, Request, Response, get, post
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from posthouse.simulator.main import Endpoints, run
from posthouse.simulator.settings import (
    FaultKind,
    SendGridAccount,
    SimulatorSettings,
    SmtpAccount,
    WebhookHabits,
)

QUIET = WebhookHabits(duplicate_share=0.0, late_share=0.0, retry_first=1.0)
KEY = "SG.test"
PATIENCE = 20.0  # seconds until a wait is a failure


class Entry(msgspec.Struct):
    """A ledger line, as its readers see it."""

    n: int
    account: str
    via: str
    to: str
    sender: str = msgspec.field(name="from")
    message_id: str
    job_id: str | None
    attempt: int | None
    subject: str
    outcome: str


class SentEvent(msgspec.Struct):
    """What the tests look at in an event of the Event Webhook."""

    event: str
    email: str
    timestamp: int
    sg_event_id: str
    sg_message_id: str | None = None
    type: str | None = None
    status: str | None = None
    reason: str | None = None
    response: str | None = None
    posthouse_job: str | None = None
    posthouse_attempt: str | None = None
    sg_machine_open: bool | None = None


class Summary(msgspec.Struct):
    decided: dict[str, int]
    done: dict[str, int]
    failed: dict[str, int]
    refused: dict[str, int]
    undelivered: int
    people: dict[str, int]


class Idle(msgspec.Struct):
    idle: bool


@dataclass(slots=True)
class House:
    """What the simulated people and SendGrid did to us."""

    hits: list[tuple[str, str, str]] = field(default_factory=list)  # method and path, user agent, body
    batches: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    fail_webhooks: int = 0  # this many answers of 503 first
    base: str = ""

    def app(self) -> Application:
        app = Application()
        app.add_routes(
            [
                get("/o/{rest:.*}", self._pixel),
                get("/c/{rest:.*}", self._click),
                get("/u/{token}", self._page),
                post("/u/{token}", self._leave),
                post("/hooks", self._hook),
            ]
        )
        return app

    def events(self) -> list[SentEvent]:
        return [event for body in self.taken for event in msgspec.json.decode(body, type=list[SentEvent])]

    def paths(self) -> list[str]:
        return [what for what, _, _ in self.hits]

    async def _note(self, request: Request) -> None:
        agent = request.headers.get("User-Agent", "")
        self.hits.append((f"{request.method} {request.path}", agent, await request.text()))

    async def _pixel(self, request: Request) -> Response:
        await self._note(request)
        return Response(body=b"GIF89a", content_type="image/gif")

    async def _click(self, request: Request) -> Response:
        await self._note(request)
        return Response(status=302, headers={"Location": "https://shop.example/never-opened"})

    async def _page(self, request: Request) -> Response:
        await self._note(request)
        form = '<form method="post" action=""><input name="scope" value="all"><button>Leave</button></form>'
        return Response(text=form, content_type="text/html")

    async def _leave(self, request: Request) -> Response:
        await self._note(request)
        return Response(text="done")

    async def _hook(self, request: Request) -> Response:
        body = await request.read()
        self.batches.append((dict(request.headers), body))
        if self.fail_webhooks > 0:
            self.fail_webhooks -= 1
            return Response(status=503)
        self.taken.append(body)
        return Response()


@dataclass(slots=True)
class Simulation:
    settings: SimulatorSettings
    endpoints: Endpoints
    client: ClientSession
    stop: asyncio.Event
    ended: asyncio.Task[None]

    def port(self, account: str) -> int:
        return next(a.port for a in self.endpoints.accounts if a.name == account)

    def ledger(self) -> list[Entry]:
        lines = self.settings.ledger_path.read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Entry) for line in lines]

    async def get(self, path: str) -> bytes:
        async with self.client.get(self.endpoints.control_url + path) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.read()

    async def summary(self) -> Summary:
        return msgspec.json.decode(await self.get("/sim/events/summary"), type=Summary)

    async def fault(
        self, kind: FaultKind, account: str, *, times: int | None = None, delay_ms: int = 0
    ) -> None:
        order = {"kind": kind, "account": account, "times": times, "delay_ms": delay_ms}
        async with self.client.post(f"{self.endpoints.control_url}/sim/faults", json=order) as answer:
            assert answer.status == 201, await answer.text()

    async def clear(self) -> None:
        async with self.client.delete(f"{self.endpoints.control_url}/sim/faults") as answer:
            assert answer.status == 204

    async def idle(self) -> None:
        """Waits until nobody means to do anything more."""
        async with asyncio.timeout(PATIENCE):
            # It is asked as another program would ask it: there is nothing to await.
            while not msgspec.json.decode(await self.get("/sim/idle"), type=Idle).idle:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def send(self, order: dict[str, object], key: str = KEY) -> tuple[int, str, bytes]:
        """Status, X-Message-Id and body of a mail/send."""
        url = f"http://127.0.0.1:{self.port('transactional')}/v3/mail/send"
        async with self.client.post(url, json=order, headers={"Authorization": f"Bearer {key}"}) as answer:
            return answer.status, answer.headers.get("X-Message-Id", ""), await answer.read()


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    made = House()
    async with TestServer(made.app()) as server:
        made.base = str(server.make_url("")).rstrip("/")
        yield made


@asynccontextmanager
async def simulating(
    folder: Path,
    *,
    webhook_url: str | None = None,
    habits: WebhookHabits = QUIET,
    smtp: SmtpAccount | None = None,
    fsync: bool = False,
    keep_bodies: bool = True,
    time_scale: float = 0.0005,
) -> AsyncIterator[Simulation]:
    settings = SimulatorSettings(
        folder=folder / "sim",
        time_scale=time_scale,
        fsync=fsync,
        keep_bodies=keep_bodies,
        max_message_bytes=200_000,
        sendgrid=(
            SendGridAccount(
                name="transactional",
                api_key=KEY,
                key_path=folder / "key.pem",
                webhook_url=webhook_url,
                habits=habits,
            ),
        ),
        smtp=(smtp or SmtpAccount(name="marketing"),),
    )
    stop = asyncio.Event()
    ready: asyncio.Future[Endpoints] = asyncio.get_running_loop().create_future()
    ended = asyncio.create_task(run(settings, stop, ready.set_result))
    await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        ended.result()
    async with ClientSession() as client:
        try:
            yield Simulation(settings, await ready, client, stop, ended)
        finally:
            stop.set()
            async with asyncio.timeout(PATIENCE):
                await ended
            left = [task for task in asyncio.all_tasks() if "posthouse/simulator" in repr(task)]
            assert left == []


def order(
    to: str, subject: str = "Hello", *, html: str = "<p>Hi</p>", unsubscribe: str = ""
) -> dict[str, object]:
    """A mail/send as Posthouse makes it."""
    headers = {"List-Unsubscribe": f"<{unsubscribe}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    arguments = {"posthouse_job": "0198c0de-0000-7000-8000-000000000001", "posthouse_attempt": "3"}
    return {
        "personalizations": [{"to": [{"email": to}], "custom_args": arguments}],
        "from": {"email": "news@shop.example", "name": "Shop"},
        "subject": subject,
        "content": [{"type": "text/plain", "value": "Hi"}, {"type": "text/html", "value": html}],
        "headers": headers if unsubscribe else {},
    }


def mail(to: str, subject: str = "Hello", *, html: str = "<p>Hi</p>", unsubscribe: str = "") -> EmailMessage:
    """The same mail as MIME."""
    message = EmailMessage()
    message["From"] = "Shop <news@shop.example>"
    message["To"] = to
    message["Subject"] = subject
    message["Message-ID"] = "<1@shop.example>"
    message["X-Posthouse-Id"] = "0198c0de-0000-7000-8000-000000000002.4"
    if unsubscribe:
        message["List-Unsubscribe"] = f"<{unsubscribe}>, <mailto:leave@shop.example>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content("Hi")
    message.add_alternative(html, subtype="html")
    return message


def is_signed(public_key: str, headers: dict[str, str], body: bytes) -> bool:
    """Verified as SendGrid's documentation says, with nothing of the simulator's."""
    key = load_der_public_key(b64decode(public_key))
    assert isinstance(key, ec.EllipticCurvePublicKey)
    signature = b64decode(headers["X-Twilio-Email-Event-Webhook-Signature"])
    timestamp = headers["X-Twilio-Email-Event-Webhook-Timestamp"].encode()
    try:
        key.verify(signature, timestamp + body, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
