"""The simulated Postmark, spoken to by the real adapter, asked by the real inquirer, read by the real reader;
and with plain requests, for what the adapter never does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from aiohttp.web import Application, Request, Response, post
from simulator_house import PATIENCE, Entry, Idle

from posthouse.clock import SystemClock
from posthouse.domain.event import BounceClass, Event
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.domain.message import Addressing, Attachment, Mailbox, Rendered
from posthouse.domain.stream import Stream
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    Inquiry,
    Outcome,
    OutcomeUnknown,
    RawCallback,
    RejectedMessage,
    RejectedRecipient,
    TryLater,
    WasTaken,
)
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

    def inquirer(self) -> PostmarkInquirer:
        return PostmarkInquirer(self.account(TOKEN), self._http(), SystemClock())

    def account(self, token: str) -> PostmarkAccount:
        return PostmarkAccount(account=NAME, server_token=token, base_url=self.url)

    def _http(self) -> HttpClient:
        allowed = frozenset({self.url.removeprefix("http://")})
        return HttpClient(EgressPolicy(allowed), ClientLimits(connect=1.0, total=2.0, reply_bytes=1_000_000))

    async def send(self, mails: Sequence[Rendered], token: str = TOKEN) -> list[Outcome]:
        relay = self.relay(token)
        try:
            return await relay.send_many(mails, lambda: True)
        finally:
            await relay.close()

    async def fault(self, kind: FaultKind) -> None:
        order = {"kind": kind, "account": NAME, "times": 1}
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


@pytest.mark.parametrize(
    ("prefix", "kinds"),
    [
        ("ok", [("delivered", None)]),
        ("hard", [("bounced", "hard"), ("unknown", None)]),
        ("softalways", [("bounced", "soft")]),
        ("block", [("bounced", "block")]),
        ("defer", [("deferred", None), ("deferred", None), ("delivered", None)]),
        ("drop", [("rejected", None)]),
        ("async", [("bounced", "hard"), ("delivered", None), ("unknown", None)]),
        ("complain", [("complained", None), ("delivered", None), ("unknown", None)]),
    ],
)
async def test_what_becomes_of_a_mail_comes_back_with_our_ids(
    tmp_path: Path, prefix: str, kinds: list[tuple[str, str | None]]
) -> None:
    async with simulated(tmp_path) as postmark:
        one = mail(f"{prefix}-ann@gmail.sim.test")
        [outcome] = await postmark.send([one])
        assert isinstance(outcome, Accepted), outcome
        await postmark.idle()
        assert postmark.hook.kinds() == kinds
        for event in postmark.hook.events():
            assert (event.job_id, event.attempt) == (one.job_id, 2)
            assert event.provider_message_id == outcome.provider_message_id
            assert event.recipient == one.recipient
        [entry] = postmark.ledger()
        assert (entry.job_id, entry.attempt, entry.subject) == (str(one.job_id), 2, "Ваш чек ✓")
        assert entry.message_id == outcome.provider_message_id


async def test_a_batch_is_judged_mail_by_mail(tmp_path: Path) -> None:
    async with simulated(tmp_path) as postmark:
        many = [mail(f"ok-{n}@gmail.sim.test", n, Stream.MARKETING) for n in range(40)]
        many[7] = replace(many[7], attachments=(Attachment("virus.exe", "application/x", b"MZ"),))
        many[9] = replace(many[9], recipient="ok-9@localhost", addressing=Addressing())
        outcomes = await postmark.send(many)
        assert isinstance(outcomes[7], RejectedMessage)
        assert isinstance(outcomes[9], RejectedRecipient)
        assert outcomes[9].bounce is BounceClass.HARD
        assert sum(isinstance(outcome, Accepted) for outcome in outcomes) == 38
        assert {entry.to for entry in postmark.ledger()} == {
            one.recipient for n, one in enumerate(many) if n not in (7, 9)
        }


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (FaultKind.THROTTLE, TryLater),
        (FaultKind.SERVER_ERROR, TryLater),
        (FaultKind.UNAUTHORIZED, AccountTrouble),
        (FaultKind.CUT_MID_BODY, OutcomeUnknown),
    ],
)
@pytest.mark.parametrize("stream", list(Stream))
async def test_faults_on_the_way_in(tmp_path: Path, kind: FaultKind, outcome: type, stream: Stream) -> None:
    async with simulated(tmp_path) as postmark:
        await postmark.fault(kind)
        outcomes = await postmark.send([mail(f"ok-{n}@gmail.sim.test", n, stream) for n in range(1, 3)])
        assert outcome in {type(one) for one in outcomes}
        assert len(postmark.ledger()) == sum(isinstance(one, Accepted) for one in outcomes)


async def test_doubt_is_settled_by_asking(tmp_path: Path) -> None:
    async with simulated(tmp_path) as postmark:
        await postmark.fault(FaultKind.CUT_AFTER_BODY)
        one = mail("ok-ann@gmail.sim.test")
        [outcome] = await postmark.send([one])
        assert isinstance(outcome, OutcomeUnknown)
        [entry] = postmark.ledger()
        await postmark.idle()
        inquirer = postmark.inquirer()
        inquiry = Inquiry(one.job_id, 2, one.recipient, one.message_id, datetime.now(UTC))
        other = replace(inquiry, attempt=1)
        first, second = await inquirer.ask([inquiry, other])
        await inquirer.close()
        assert first == WasTaken(entry.message_id)
        assert not isinstance(second, WasTaken)


async def test_an_address_that_bounced_is_refused_from_then_on(tmp_path: Path) -> None:
    async with simulated(tmp_path) as postmark:
        address = "hard-ann@gmail.sim.test"
        await postmark.send([mail(address)])
        await postmark.idle()
        [again] = await postmark.send([mail(address, 2)])
        assert isinstance(again, RejectedRecipient)
        assert again.bounce is BounceClass.BLOCK
        assert "ErrorCode 406" in again.reply
        status, dump = await postmark.ask("GET", "/message-streams/outbound/suppressions/dump")
        assert status == 200
        assert isinstance(dump, dict)
        assert [entry["SuppressionReason"] for entry in dump["Suppressions"]] == ["HardBounce"]
        order = {"Suppressions": [{"EmailAddress": address}]}
        status, said = await postmark.ask("POST", "/message-streams/outbound/suppressions/delete", json=order)
        assert (status, said) == (
            200,
            {"Suppressions": [{"EmailAddress": address, "Status": "Deleted", "Message": None}]},
        )
        [third] = await postmark.send([mail(address, 3)])
        assert isinstance(third, Accepted)


async def test_the_suppressions_api_refuses_as_postmark_does(tmp_path: Path) -> None:
    async with simulated(tmp_path) as postmark:
        lists = "/message-streams/outbound/suppressions"
        many = {"Suppressions": [{"EmailAddress": f"a{n}@gmail.sim.test"} for n in range(51)]}
        assert (await postmark.ask("POST", lists, json=many))[0] == 422
        assert (await postmark.ask("POST", lists, data=b"x"))[0] == 422
        assert (await postmark.ask("GET", "/message-streams/nowhere/suppressions/dump"))[0] == 422
        one = {"Suppressions": [{"EmailAddress": "Ann@gmail.sim.test"}, {"EmailAddress": "nobody"}]}
        _, said = await postmark.ask("POST", lists, json=one)
        assert isinstance(said, dict)
        assert [entry["Status"] for entry in said["Suppressions"]] == ["Suppressed", "Failed"]
        [outcome] = await postmark.send([mail("ann@gmail.sim.test")])
        assert isinstance(outcome, RejectedRecipient)


async def test_credits_and_tokens(tmp_path: Path) -> None:
    async with simulated(tmp_path, mails_paid=1) as postmark:
        [wrong] = await postmark.send([mail("ok-a@gmail.sim.test")], token="another")
        assert isinstance(wrong, AccountTrouble)
        [test] = await postmark.send([mail("ok-a@gmail.sim.test")], token="POSTMARK_API_TEST")
        assert isinstance(test, Accepted)
        [left] = await postmark.send([mail("ok-a@gmail.sim.test")])
        assert isinstance(left, AccountTrouble)
        assert postmark.ledger() == []


async def test_a_webhook_is_called_again_after_503_and_never_after_401(tmp_path: Path) -> None:
    async with simulated(tmp_path, hook_answers=[503, 429, 200]) as postmark:
        await postmark.send([mail("ok-ann@gmail.sim.test")])
        await postmark.idle()
        assert len(postmark.hook.calls) == 3
        assert len({headers["x-pm-webhook-trace-id"] for headers, _ in postmark.hook.calls}) == 1
    async with simulated(tmp_path / "again", hook_answers=[401]) as postmark:
        await postmark.send([mail("ok-ann@gmail.sim.test")])
        await postmark.idle()
        assert len(postmark.hook.calls) == 1


def mail_with(more: bytes) -> bytes:
    return b'{"From":"a@shop.example","To":"b@sim.test","TextBody":"x",%s}' % more


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/email", b"{", 422, 402),
        ("POST", "/email", b'{"From":7}', 422, 403),
        ("POST", "/email", b'{"From":"a@shop.example","TextBody":"x"}', 422, 300),
        ("POST", "/email", b'{"From":"a@shop.example","To":"b@sim.test"}', 422, 300),
        ("POST", "/email", mail_with(b'"MessageStream":"?"'), 422, 1235),
        ("POST", "/email", mail_with(b'"Tag":"%s"' % (b"x" * 1001)), 422, 300),
        ("POST", "/email", mail_with(b'"Metadata":{"%s":"x"}' % (b"k" * 21)), 422, 300),
        ("POST", "/email", mail_with(b'"Cc":"%s"' % b",".join([b"c@sim.test"] * 50)), 422, 300),
        ("POST", "/email/batch", b"{}", 422, 402),
        ("POST", "/email/batch", b"[" + b",".join([b"{}"] * 501) + b"]", 422, 410),
        ("GET", "/messages/outbound", b"", 422, 700),
        ("GET", "/messages/outbound?count=501&offset=0", b"", 422, 700),
        ("GET", "/nowhere", b"", 404, 0),
        ("GET", "/email", b"", 405, 0),
    ],
)  # fmt: skip
async def test_bad_requests_are_told_in_postmarks_shape(
    tmp_path: Path, method: str, path: str, body: bytes, status: int, code: int
) -> None:
    async with simulated(tmp_path) as postmark:
        headers = {"X-Postmark-Server-Token": TOKEN, "Content-Type": "application/json"}
        async with postmark.client.request(method, postmark.url + path, data=body, headers=headers) as answer:
            said = msgspec.json.decode(await answer.read())
            assert (answer.status, said["ErrorCode"]) == (status, code)
            assert said["Message"]
        assert postmark.ledger() == []


async def test_a_list_of_addresses_is_taken_apart_outside_of_quotes(tmp_path: Path) -> None:
    """A display name never becomes a recipient, whatever commas and addresses are in it."""
    async with simulated(tmp_path) as postmark:
        name = 'Roe, Ann" <eve@sim.test>, "'
        one = replace(
            mail("ok-ann@gmail.sim.test"), addressing=Addressing(to=(Mailbox("ok-ann@gmail.sim.test", name),))
        )
        [outcome] = await postmark.send([one])
        assert isinstance(outcome, Accepted)
        assert [entry.to for entry in postmark.ledger()] == ["ok-ann@gmail.sim.test"]
