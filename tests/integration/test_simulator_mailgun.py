"""The simulated Mailgun, spoken to by the real adapter, asked by the real inquirer, read by the real reader;
and with plain requests, for what the adapter never does."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession, FormData
from aiohttp.test_utils import TestServer
from aiohttp.web import Application, Request, Response, post
from simulator_house import PATIENCE, Entry, Idle

from posthouse.clock import SystemClock
from posthouse.domain.event import Event
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.domain.message import RawMail
from posthouse.domain.suppression import SuppressionReason
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    Inquiry,
    Outcome,
    OutcomeUnknown,
    RawCallback,
    RejectedRecipient,
    TryLater,
    WasTaken,
)
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

    def inquirer(self) -> MailgunInquirer:
        questions = MailgunQuestions(account=NAME, domain=DOMAIN, api_key=KEY, base_url=self.url)
        return MailgunInquirer(questions, self._http(), SystemClock())

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
    folder: Path, *, hook_answers: Sequence[int] = (), hourly_limit: int | None = None
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
            folder=folder / "sim", time_scale=0.0005, max_message_bytes=200_000, mailgun=(account,)
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


@pytest.mark.parametrize(
    ("prefix", "kinds"),
    [
        ("ok", [("delivered", None), ("sent", None)]),
        ("hard", [("bounced", "hard"), ("sent", None)]),
        ("softalways", [("bounced", "soft"), ("sent", None)]),
        ("block", [("bounced", "block"), ("sent", None)]),
        ("defer", [("deferred", None), ("deferred", None), ("delivered", None), ("sent", None)]),
        ("drop", [("rejected", None)]),
        ("async", [("bounced", "hard"), ("delivered", None), ("sent", None)]),
        ("complain", [("complained", None), ("delivered", None), ("sent", None)]),
    ],
)
async def test_what_becomes_of_a_mail_comes_back_with_our_ids(
    tmp_path: Path, prefix: str, kinds: list[tuple[str, str | None]]
) -> None:
    async with simulated(tmp_path) as mailgun:
        one = mail(f"{prefix}-ann@gmail.sim.test")
        [outcome] = await mailgun.send([one])
        assert outcome == Accepted("1@shop.example", "200 Queued. Thank you.")
        await mailgun.idle()
        assert mailgun.hook.kinds() == kinds
        for event in mailgun.hook.events():
            assert (event.job_id, event.attempt) == (one.job_id, 2)
            assert event.provider_message_id == "1@shop.example"
            assert event.recipient == one.recipient
        [entry] = mailgun.ledger()
        assert (entry.job_id, entry.attempt, entry.subject) == (str(one.job_id), 2, "Ваш чек ✓")
        assert (entry.message_id, entry.via) == ("1@shop.example", "mailgun")


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (FaultKind.THROTTLE, TryLater),
        (FaultKind.SERVER_ERROR, TryLater),
        (FaultKind.UNAUTHORIZED, AccountTrouble),
        (FaultKind.CUT_MID_BODY, OutcomeUnknown),
        (FaultKind.CUT_AFTER_BODY, OutcomeUnknown),
    ],
)
async def test_faults_on_the_way_in(tmp_path: Path, kind: FaultKind, outcome: type) -> None:
    async with simulated(tmp_path) as mailgun:
        await mailgun.fault(kind)
        [first] = await mailgun.send([mail("ok-1@gmail.sim.test", 1)])
        [second] = await mailgun.send([mail("ok-2@gmail.sim.test", 2)])
        assert type(first) is outcome
        assert isinstance(second, Accepted)
        assert len(mailgun.ledger()) == (2 if kind is FaultKind.CUT_AFTER_BODY else 1)
        if isinstance(first, TryLater) and kind is FaultKind.THROTTLE:
            assert first.retry_after is not None


async def test_doubt_is_settled_by_asking(tmp_path: Path) -> None:
    async with simulated(tmp_path) as mailgun:
        await mailgun.fault(FaultKind.CUT_AFTER_BODY)
        one = mail("ok-ann@gmail.sim.test")
        [outcome] = await mailgun.send([one])
        assert isinstance(outcome, OutcomeUnknown)
        await mailgun.idle()
        inquirer = mailgun.inquirer()
        inquiry = Inquiry(one.job_id, 2, one.recipient, "<1@shop.example>", datetime.now(UTC))
        first, second = await inquirer.ask([inquiry, replace(inquiry, attempt=1)])
        await inquirer.close()
        assert first == WasTaken("1@shop.example")
        assert not isinstance(second, WasTaken)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bounces", SuppressionReason.BOUNCE),
        ("unsubscribes", SuppressionReason.UNSUBSCRIBE),
        ("complaints", SuppressionReason.SPAM),
    ],
)
async def test_an_address_on_a_list_is_taken_and_not_tried(
    tmp_path: Path, name: str, reason: SuppressionReason
) -> None:
    async with simulated(tmp_path) as mailgun:
        address = "ok-ann@gmail.sim.test"
        status, _ = await mailgun.ask("POST", f"{DOMAIN}/{name}", FormData({"address": address}))
        assert status == 200
        assert (await mailgun.ask("GET", f"{DOMAIN}/{name}/{address}"))[0] == 200
        [outcome] = await mailgun.send([mail(address)])
        assert isinstance(outcome, Accepted)
        await mailgun.idle()
        assert {event.mirrored for event in mailgun.hook.events()} == {None, reason}
        assert mailgun.hook.kinds() == [("rejected", None), ("sent", None)]
        assert (await mailgun.ask("DELETE", f"{DOMAIN}/{name}/{address}"))[0] == 200
        assert (await mailgun.ask("DELETE", f"{DOMAIN}/{name}/{address}"))[0] == 404
        assert (await mailgun.ask("GET", f"{DOMAIN}/{name}/{address}"))[0] == 404


async def test_a_hard_bounce_puts_its_address_on_the_list(tmp_path: Path) -> None:
    async with simulated(tmp_path) as mailgun:
        await mailgun.send([mail("hard-ann@gmail.sim.test")])
        await mailgun.idle()
        _, body = await mailgun.ask("GET", f"{DOMAIN}/bounces")
        [listed] = msgspec.json.decode(body)["items"]
        assert listed["address"] == "hard-ann@gmail.sim.test"
        await mailgun.send([mail("hard-ann@gmail.sim.test", 2)])
        await mailgun.idle()
        assert ("rejected", None) in mailgun.hook.kinds()


async def test_the_hours_limit_refuses_until_the_hour_is_over(tmp_path: Path) -> None:
    async with simulated(tmp_path, hourly_limit=1) as mailgun:
        assert isinstance((await mailgun.send([mail("ok-1@gmail.sim.test")]))[0], Accepted)
        [refused] = await mailgun.send([mail("ok-2@gmail.sim.test", 2)])
        assert isinstance(refused, TryLater)
        assert refused.slow_relay
        assert "420" in refused.reply
        async with asyncio.timeout(PATIENCE):  # the simulated hour is 1.8 s
            while isinstance(refused, TryLater):
                await asyncio.sleep(0.1)
                [refused] = await mailgun.send([mail("ok-2@gmail.sim.test", 2)])
        assert len(mailgun.ledger()) == 2


async def test_keys_domains_and_paths(tmp_path: Path) -> None:
    async with simulated(tmp_path) as mailgun:
        one = mail("ok-a@gmail.sim.test")
        [wrong_key] = await mailgun.send([one], key="another")
        assert wrong_key == AccountTrouble("401 Forbidden")
        [wrong_domain] = await mailgun.send([one], domain="mail.other.example")
        assert wrong_domain == AccountTrouble("404 Domain not found: mail.other.example")
        assert await mailgun.ask("POST", f"{DOMAIN}/messages.mme") == (200, b"Mailgun Magnificent API")
        assert (await mailgun.ask("GET", f"{DOMAIN}/events?begin=soon"))[0] == 400
        assert mailgun.ledger() == []


async def test_forms_that_are_refused(tmp_path: Path) -> None:
    async with simulated(tmp_path) as mailgun:
        path = f"{DOMAIN}/messages.mime"
        assert (await mailgun.ask("POST", path, FormData({"to": "ann@example.org"})))[0] == 400
        for to in ("nobody", "a@b", "a@example.org,,b"):
            form = FormData({"to": to})
            form.add_field("message", b"Subject: x\r\n\r\n", filename="m.eml")
            assert (await mailgun.ask("POST", path, form))[0] == 400
        form = FormData()
        form.add_field("message", b"Subject: x\r\n\r\n", filename="m.eml")
        assert (await mailgun.ask("POST", path, form))[0] == 400
        form = FormData({"to": "ok-a@gmail.sim.test"})
        form.add_field("message", bytes(300_000), filename="m.eml")
        assert (await mailgun.ask("POST", path, form))[0] == 413
        form = FormData({"to": "ok-a@gmail.sim.test", "o:testmode": "yes"})
        form.add_field("message", b"Subject: x\r\n\r\n", filename="m.eml")
        assert (await mailgun.ask("POST", path, form))[0] == 200
        [invalid] = await mailgun.send([mail("ann@localhost")])
        assert isinstance(invalid, RejectedRecipient)
        assert mailgun.ledger() == []


async def test_a_webhook_is_called_again_after_503_and_never_after_406(tmp_path: Path) -> None:
    async with simulated(tmp_path, hook_answers=[503, 401, 200]) as mailgun:
        await mailgun.send([mail("drop-ann@gmail.sim.test")])
        await mailgun.idle()
        assert len(mailgun.hook.calls) == 3
    async with simulated(tmp_path / "again", hook_answers=[406]) as mailgun:
        await mailgun.send([mail("drop-ann@gmail.sim.test")])
        await mailgun.idle()
        assert len(mailgun.hook.calls) == 1


async def test_mailgun_gives_up_after_its_six_waits(tmp_path: Path) -> None:
    """10, 15, 30 minutes, 1, 2 and 4 hours, of a world that goes faster."""
    assert list(MAILGUN_HABITS.retry_waits) == [600, 900, 1800, 3600, 7200, 14_400]
    async with simulated(tmp_path, hook_answers=[503] * 20) as mailgun:
        await mailgun.send([mail("drop-ann@gmail.sim.test")])
        await mailgun.idle()
        assert len(mailgun.hook.calls) == 7
