"""A running simulated Mailgun with what it calls back, and the real adapter at it."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import msgspec
from aiohttp import ClientSession, FormData
from aiohttp.test_utils import TestServer
from aiohttp.web import Application, Request, Response, post
from simulator_house import PATIENCE, Entry, Idle

from posthouse.clock import Clock, SystemClock
from posthouse.domain.event import Event
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.domain.message import RawMail
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import Outcome, RawCallback
from posthouse.relays.mailgun import MailgunAccount, MailgunInquirer, MailgunQuestions, MailgunRelay
from posthouse.relays.mailgun.callbacks import MailgunCallbacks
from posthouse.relays.mailgun.inquiry import REPLY_BYTES
from posthouse.relays.mailgun.sender import capabilities
from posthouse.simulator.main import Endpoints, run
from posthouse.simulator.settings import MAILGUN_HABITS, FaultKind, SimulatorSettings
from posthouse.simulator.settings import MailgunAccount as Simulated

KEY, SIGNING_KEY, DOMAIN = "key-account", "a-signing-key", "mail.shop.example"
NAME = RelayAccount("mg")
QUIET = msgspec.structs.replace(MAILGUN_HABITS, duplicate_share=0.0, late_share=0.0)


@dataclass(slots=True)
class Hook:
    """Where Mailgun calls back."""

    calls: list[tuple[dict[str, str], bytes]]
    answers: list[int]  # to the first calls; then 200

    async def take(self, request: Request) -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append((headers, await request.read()))
        return Response(status=self.answers.pop(0) if self.answers else 200)

    def events(self) -> list[Event]:
        """Every call, verified and read; each token once."""
        reader = MailgunCallbacks(NAME, SIGNING_KEY, SystemClock())
        found: list[Event] = []
        tokens: set[str] = set()
        for headers, body in self.calls:
            callback = RawCallback("mailgun", NAME, headers, body)
            assert reader.verify(callback)
            tokens.add(reader.token(callback))
            events, unplaced = reader.parse(callback)
            assert unplaced == []
            found += events
        assert len(tokens) == len(self.calls)
        return found

    def kinds(self) -> list[tuple[str, str | None]]:
        return sorted((event.type.value, event.bounce) for event in self.events())


@dataclass(slots=True)
class Mailgun:
    hook: Hook
    settings: SimulatorSettings
    endpoints: Endpoints
    client: ClientSession

    @property
    def url(self) -> str:
        return self.endpoints.accounts[0].url

    def relay(self, key: str = KEY, domain: str = DOMAIN) -> MailgunRelay:
        account = MailgunAccount(
            account=NAME,
            domain=domain,
            capabilities=capabilities(hears_acceptance=True),
            api_key=key,
            base_url=self.url,
        )
        return MailgunRelay(account, self._http(), SystemClock())

    def inquirer(self, clock: Clock | None = None) -> MailgunInquirer:
        questions = MailgunQuestions(account=NAME, domain=DOMAIN, api_key=KEY, base_url=self.url)
        return MailgunInquirer(questions, self._http(), clock or SystemClock())

    def _http(self) -> HttpClient:
        allowed = frozenset({self.url.removeprefix("http://")})
        limits = ClientLimits(connect=1.0, total=3.0, reply_bytes=REPLY_BYTES)
        return HttpClient(EgressPolicy(allowed), limits)

    async def send(self, mails: Sequence[RawMail], key: str = KEY, domain: str = DOMAIN) -> list[Outcome]:
        relay = self.relay(key, domain)
        try:
            return await relay.send_many(mails, lambda: True)
        finally:
            await relay.close()

    async def fault(self, kind: FaultKind) -> None:
        order = {"kind": kind, "account": NAME, "times": 1}
        async with self.client.post(f"{self.endpoints.control_url}/sim/faults", json=order) as answer:
            assert answer.status == 201, await answer.text()

    async def ask(self, method: str, path: str, form: FormData | None = None) -> tuple[int, bytes]:
        headers = {"Authorization": f"Basic {b64encode(f'api:{KEY}'.encode()).decode()}"}
        url = f"{self.url}/v3/{path}"
        async with self.client.request(method, url, headers=headers, data=form) as answer:
            return answer.status, await answer.read()

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
    folder: Path,
    *,
    hook_answers: Sequence[int] = (),
    hourly_limit: int | None = None,
    time_scale: float = 0.0005,
) -> AsyncIterator[Mailgun]:
    hook = Hook([], list(hook_answers))
    app = Application()
    app.add_routes([post("/hooks", hook.take)])
    async with TestServer(app) as server, ClientSession() as client:
        account = Simulated(
            name=NAME,
            domain=DOMAIN,
            api_key=KEY,
            signing_key=SIGNING_KEY,
            webhook_url=str(server.make_url("/hooks")),
            hourly_limit=hourly_limit,
            habits=QUIET,
        )
        settings = SimulatorSettings(
            folder=folder / "sim", time_scale=time_scale, max_message_bytes=200_000, mailgun=(account,)
        )
        stop = asyncio.Event()
        ready: asyncio.Future[Endpoints] = asyncio.get_running_loop().create_future()
        ended = asyncio.create_task(run(settings, stop, ready.set_result))
        await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
        try:
            yield Mailgun(hook, settings, await ready, client)
        finally:
            stop.set()
            async with asyncio.timeout(PATIENCE):
                await ended


def mail(to: str, number: int = 1, *, subject: str = "Ваш чек ✓", attempt: int = 2) -> RawMail:
    message = EmailMessage(policy=SMTP)
    message["From"] = "Shop <hello@shop.example>"
    message["To"] = to
    message["Subject"] = subject
    message["Message-ID"] = f"<{number}@shop.example>"
    message.set_content("Grüße\n")
    made = int(datetime.now(UTC).timestamp() * 1000) - 1000
    return RawMail(JobId(uuid7(made, number)), attempt, "b@shop.example", to, message.as_bytes(), False)
