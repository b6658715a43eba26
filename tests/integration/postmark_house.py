"""A simulated Postmark with the real adapter, inquirer and reader on our side, and a hook that it calls."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from aiohttp.web import Application, Request, Response, post
from simulator_house import PATIENCE, Entry, Idle

from posthouse.clock import Clock, SystemClock
from posthouse.domain.event import Event
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.domain.message import Addressing, Attachment, Mailbox, Rendered
from posthouse.domain.stream import Stream
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import Outcome, RawCallback
from posthouse.relays.postmark import (
    PostmarkAccount,
    PostmarkCallbacks,
    PostmarkInquirer,
    PostmarkRelay,
    PostmarkSecrets,
)
from posthouse.simulator.main import Endpoints, run
from posthouse.simulator.settings import POSTMARK_HABITS, FaultKind, SimulatorSettings
from posthouse.simulator.settings import PostmarkAccount as Simulated

TOKEN = "the-server-token"
NAME = RelayAccount("pm")
SECRETS = PostmarkSecrets(user="posthouse", password="pass", header_name="X-Hook", header_value="secret")
QUIET = msgspec.structs.replace(POSTMARK_HABITS, duplicate_share=0.0, late_share=0.0)


@dataclass(slots=True)
class Hook:
    """Where Postmark calls back."""

    calls: list[tuple[dict[str, str], bytes]]
    answers: list[int]  # to the first calls; then 200
    base: str = ""

    async def take(self, request: Request) -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append((headers, await request.read()))
        return Response(status=self.answers.pop(0) if self.answers else 200)

    def events(self) -> list[Event]:
        """Every call, verified and read."""
        reader = PostmarkCallbacks(NAME, SECRETS, SystemClock())
        found: list[Event] = []
        for headers, body in self.calls:
            callback = RawCallback("postmark", NAME, headers, body)
            assert reader.verify(callback)
            events, unplaced = reader.parse(callback)
            assert unplaced == []
            found += events
        return found

    def kinds(self) -> list[tuple[str, str | None]]:
        return sorted((event.type.value, event.bounce) for event in self.events())


@dataclass(slots=True)
class Postmark:
    hook: Hook
    settings: SimulatorSettings
    endpoints: Endpoints
    client: ClientSession

    @property
    def url(self) -> str:
        return self.endpoints.accounts[0].url

    def relay(self, token: str = TOKEN) -> PostmarkRelay:
        return PostmarkRelay(self.account(token), self._http(), SystemClock())

    def inquirer(self, clock: Clock | None = None) -> PostmarkInquirer:
        return PostmarkInquirer(self.account(TOKEN), self._http(), clock or SystemClock())

    def account(self, token: str) -> PostmarkAccount:
        return PostmarkAccount(account=NAME, server_token=token, base_url=self.url)

    def _http(self) -> HttpClient:
        allowed = frozenset({self.url.removeprefix("http://")})
        return HttpClient(EgressPolicy(allowed), ClientLimits(connect=1.0, total=1.5, reply_bytes=1_000_000))

    async def send(self, mails: Sequence[Rendered], token: str = TOKEN) -> list[Outcome]:
        relay = self.relay(token)
        try:
            return await relay.send_many(mails, lambda: True)
        finally:
            await relay.close()

    async def fault(self, kind: FaultKind, times: int | None = 1) -> None:
        order = {"kind": kind, "account": NAME, "times": times}
        async with self.client.post(f"{self.endpoints.control_url}/sim/faults", json=order) as answer:
            assert answer.status == 201, await answer.text()

    async def ask(self, method: str, path: str, **more: object) -> tuple[int, object]:
        headers = {"X-Postmark-Server-Token": TOKEN, "Accept": "application/json"}
        async with self.client.request(method, self.url + path, headers=headers, **more) as answer:  # type: ignore[arg-type]
            body = await answer.read()
            return answer.status, msgspec.json.decode(body) if body else None

    async def idle(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                async with self.client.get(f"{self.endpoints.control_url}/sim/idle") as answer:
                    if msgspec.json.decode(await answer.read(), type=Idle).idle:
                        return
                await asyncio.sleep(0.01)

    def ledger(self) -> list[Entry]:
        lines = self.settings.ledger_path.read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Entry) for line in lines]


@asynccontextmanager
async def simulated(
    folder: Path, *, hook_answers: Sequence[int] = (), mails_paid: int | None = None
) -> AsyncIterator[Postmark]:
    hook = Hook([], list(hook_answers))
    app = Application()
    app.add_routes([post("/hooks", hook.take)])
    async with TestServer(app) as server, ClientSession() as client:
        account = Simulated(
            name=NAME,
            server_token=TOKEN,
            webhook_url=str(server.make_url("/hooks")),
            webhook_user="posthouse",
            webhook_password="pass",
            webhook_header="X-Hook",
            webhook_secret="secret",
            credits=mails_paid,
            habits=QUIET,
        )
        settings = SimulatorSettings(folder=folder / "sim", time_scale=0.0005, postmark=(account,))
        stop = asyncio.Event()
        ready: asyncio.Future[Endpoints] = asyncio.get_running_loop().create_future()
        ended = asyncio.create_task(run(settings, stop, ready.set_result))
        await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
        try:
            yield Postmark(hook, settings, await ready, client)
        finally:
            stop.set()
            async with asyncio.timeout(PATIENCE):
                await ended


def mail(to: str, number: int = 1, stream: Stream = Stream.TRANSACTIONAL) -> Rendered:
    now = datetime.now(UTC)
    return Rendered(
        job_id=JobId(uuid7(int(now.timestamp() * 1000) - 1000, number)),
        attempt=2,
        stream=stream,
        return_path="bounce@shop.example",
        recipient=to,
        sender=Mailbox("hello@shop.example", "Žofie, 山田"),
        addressing=Addressing(to=(Mailbox(to, "Ann"),)),
        subject="Ваш чек ✓",
        text="Grüße\n",
        html="<p>Grüße</p>",
        message_id=f"<{number}@shop.example>",
        date=now,
        attachments=(
            Attachment("a.pdf", "application/pdf", b"%PDF"),
            Attachment("l.png", "image/png", b"x", "l"),
        ),
    )
