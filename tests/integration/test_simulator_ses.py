"""The simulated SES against our adapter, which shares no code with it: requests, quotas, topics, queues."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import msgspec
import pytest
from aiohttp.test_utils import TestServer
from aiohttp.web import Application, Request, Response, post
from simulator_house import PATIENCE, Entry

from posthouse.app.vendors.ses import SesVendor
from posthouse.cli.demo.houses import free_ports
from posthouse.cli.doctor.check import State
from posthouse.cli.doctor.relays import relay_check
from posthouse.clock import Clock, ManualClock, SystemClock
from posthouse.config import SesAccountSettings, settings_from
from posthouse.domain.event import BounceClass, Event, EventType
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.domain.message import RawMail
from posthouse.domain.suppression import SuppressionReason
from posthouse.ingest.receive import Receiver
from posthouse.net.client import HttpClient, Reply
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    CallbackReader,
    Handshaker,
    Outcome,
    RawCallback,
    RejectedMessage,
    TryLater,
)
from posthouse.relays.ses.api import AwsApi, endpoint
from posthouse.relays.ses.quota import account_state
from posthouse.relays.ses.sigv4 import Scope
from posthouse.simulator.main import Endpoints, run
from posthouse.simulator.settings import FaultKind, FaultSpec, SesAccount, SimulatorSettings, WebhookHabits
from posthouse.telemetry import Metrics
from posthouse.worker.puller import step

NAME = RelayAccount("ses")
ARN = "arn:aws:sns:eu-west-1:123456789012:ses"
QUIET = WebhookHabits(
    batch_max=1, in_flight=8, retry_waits=(1.0, 1.0, 1.0), duplicate_share=0.0, late_share=0.0
)


@dataclass(slots=True)
class Log:
    """A sink in memory."""

    stored: list[RawCallback] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def append(self, callbacks: Sequence[RawCallback]) -> None:
        self.stored.extend(callbacks)
        self.came.set()


@dataclass(slots=True)
class Ses:
    """A running simulated account, as the house would be configured for it."""

    settings: SimulatorSettings
    vendor: SesVendor
    reader: CallbackReader
    log: Log

    def ledger(self) -> list[Entry]:
        lines = self.settings.ledger_path.read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Entry) for line in lines]

    async def send(self, *mails: RawMail, clock: Clock | None = None) -> list[Outcome]:
        relay = self.vendor.relay(clock or SystemClock(), random.Random(1))
        try:
            return await relay.send_many(mails, lambda: True)
        finally:
            await relay.close()

    async def events(self, count: int) -> list[Event]:
        """The first so many that were stored."""
        async with asyncio.timeout(PATIENCE):
            while True:
                read = [event for one in self.log.stored for event in self.reader.parse(one)[0]]
                if len(read) >= count:
                    return read
                self.log.came.clear()
                await self.log.came.wait()

    def api(self) -> AwsApi:
        host = self.vendor.server.removeprefix("http://")
        client = HttpClient(EgressPolicy(frozenset({host})))
        return AwsApi(client, self.vendor.read_credentials, SystemClock())


@asynccontextmanager
async def simulated(
    folder: Path, *, queue: bool = False, faults: tuple[FaultSpec, ...] = (), **changed: object
) -> AsyncIterator[Ses]:
    [port] = free_ports(1)
    secret = folder / "ses.key"
    secret.write_text("a-secret\n")
    base_url = f"http://127.0.0.1:{port}"
    table = SesAccountSettings(
        region="eu-west-1",
        configuration_set="main",
        access_key_id="AKIASIMULATOR",
        secret_access_key_file=str(secret),
        topic_arns=[] if queue else [ARN],
        queue_url=f"{base_url}/123456789012/events" if queue else "",
        base_url=base_url,
        simulator=True,
    )
    vendor, log = SesVendor(NAME, table), Log()
    async with door(vendor, log) as (reader, hook_url):
        account = vendor.simulated(hook_url)
        assert isinstance(account, SesAccount)
        settings = SimulatorSettings(
            folder=folder / "sim",
            time_scale=0.0005,
            ses=(msgspec.structs.replace(account, habits=QUIET, **changed),),
            faults=faults,
        )
        stop = asyncio.Event()
        ready: asyncio.Future[Endpoints] = asyncio.get_running_loop().create_future()
        ended = asyncio.create_task(run(settings, stop, ready.set_result))
        await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
        try:
            yield Ses(settings, vendor, reader, log)
        finally:
            stop.set()
            async with asyncio.timeout(PATIENCE):
                await ended


@asynccontextmanager
async def door(vendor: SesVendor, log: Log) -> AsyncIterator[tuple[CallbackReader, str]]:
    """/hooks/ses/ses, with our own receiver behind it."""
    reader = vendor.reader(SystemClock())
    assert reader is not None
    receiver = Receiver({("ses", NAME): reader}, log)

    async def hook(request: Request) -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        told = await receiver.receive(RawCallback("ses", NAME, headers, await request.read()))
        return Response(status=told.value)

    app = Application()
    app.add_routes([post("/hooks/ses/ses", hook)])
    async with TestServer(app) as server:
        yield reader, str(server.make_url("/hooks/ses/ses"))
    if isinstance(reader, Handshaker):
        await reader.close()


def mail(to: str, number: int = 1, data: bytes | None = None) -> RawMail:
    message = EmailMessage(policy=SMTP)
    message["From"] = "Žofie <news@shop.example>"
    message["To"] = to
    message["Subject"] = "Hello"
    message.set_content("Hi\n")
    job_id = JobId(uuid7(int(datetime.now(UTC).timestamp() * 1000) - 5000, number))
    return RawMail(job_id, 3, "bounce@shop.example", to, data or message.as_bytes(), False)


async def test_a_mail_is_taken_and_reported_through_a_topic_that_was_confirmed(tmp_path: Path) -> None:
    async with simulated(tmp_path) as ses:
        sent = mail("ok-ann@gmail.sim.test")
        [outcome] = await ses.send(sent)
        assert isinstance(outcome, Accepted)
        [entry] = ses.ledger()
        assert (entry.via, entry.to, entry.job_id, entry.attempt) == (
            "ses",
            "ok-ann@gmail.sim.test",
            str(sent.job_id),
            3,
        )
        assert entry.message_id == outcome.provider_message_id
        events = await ses.events(2)
        assert {event.type for event in events} == {EventType.SENT, EventType.DELIVERED}
        for event in events:
            assert (event.job_id, event.attempt) == (sent.job_id, 3)
            assert event.provider_message_id == outcome.provider_message_id


@pytest.mark.parametrize("version", ["1", "2"])
async def test_either_version_of_snss_signature_is_believed(tmp_path: Path, version: str) -> None:
    async with simulated(tmp_path, signature_version=version) as ses:
        await ses.send(mail("ok-ann@gmail.sim.test"))
        await ses.events(2)


@pytest.mark.parametrize(
    ("prefix", "kinds"),
    [
        ("hard", {EventType.SENT: None, EventType.BOUNCED: BounceClass.HARD}),
        ("softalways", {EventType.SENT: None, EventType.BOUNCED: BounceClass.SOFT}),
        ("block", {EventType.SENT: None, EventType.BOUNCED: BounceClass.BLOCK}),
        ("defer", {EventType.SENT: None, EventType.DEFERRED: None, EventType.DELIVERED: None}),
        ("drop", {EventType.REJECTED: None}),
        ("complain", {EventType.SENT: None, EventType.DELIVERED: None, EventType.COMPLAINED: None}),
    ],
)
async def test_each_fate_comes_back_as_our_kind_of_event(
    tmp_path: Path, prefix: str, kinds: dict[EventType, BounceClass | None]
) -> None:
    async with simulated(tmp_path) as ses:
        await ses.send(mail(f"{prefix}-ann@gmail.sim.test"))
        events = await ses.events(len(kinds))
        while {event.type for event in events} != set(kinds):
            events = await ses.events(len(events) + 1)
        assert {event.type: event.bounce for event in events} == kinds


async def test_who_bounced_is_on_sess_own_list_and_not_tried_again(tmp_path: Path) -> None:
    async with simulated(tmp_path) as ses:
        await ses.send(mail("hard-ann@gmail.sim.test"))
        await ses.events(2)
        await ses.send(mail("hard-ann@gmail.sim.test", number=2))
        [refused] = [event for event in await ses.events(4) if event.type is EventType.REJECTED]
        assert refused.mirrored is SuppressionReason.BOUNCE
        api = ses.api()
        where = endpoint(ses.vendor.server, Scope("eu-west-1", "ses"), "x")
        listed = where.url / "v2/email/suppression/addresses"
        shown = await api.get(where, listed)
        assert isinstance(shown, Reply)
        assert b"hard-ann@gmail.sim.test" in shown.body
        missing = await api.get(where, listed / "other@gmail.sim.test")
        assert isinstance(missing, Reply)
        assert (missing.status, missing.headers["x-amzn-errortype"][:17]) == (404, "NotFoundException")
        await api.close()


async def test_wrong_keys_and_wrong_clocks_are_not_let_in(tmp_path: Path) -> None:
    async with simulated(tmp_path) as ses:
        for off in (timedelta(minutes=10), timedelta(minutes=-10)):
            [outcome] = await ses.send(mail("ann@gmail.sim.test"), clock=ManualClock(datetime.now(UTC) + off))
            assert isinstance(outcome, AccountTrouble)
            assert "is this machine's clock right?" in outcome.reply
        (tmp_path / "ses.key").write_text("another\n")
        [outcome] = await ses.send(mail("ann@gmail.sim.test"))
        assert isinstance(outcome, AccountTrouble)
        assert outcome.reply.startswith("403 SignatureDoesNotMatch")
        assert ses.ledger() == []


async def test_quotas_are_kept_and_shown(tmp_path: Path) -> None:
    async with simulated(tmp_path, max_24_hour_send=2, max_send_rate=500.0) as ses:
        outcomes = [(await ses.send(mail(f"ok-{n}@gmail.sim.test", n)))[0] for n in range(3)]
        assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted, TryLater]
        api = ses.api()
        where = endpoint(ses.vendor.server, Scope("eu-west-1", "ses"), "x")
        shown = await api.get(where, where.url / "v2/email/account")
        assert isinstance(shown, Reply)
        state = account_state(shown.body)
        assert state is not None
        assert (state.send_quota.max_send_rate, state.send_quota.sent_last24_hours) == (500.0, 2.0)
        assert state.concerns() == ["2 of the 2 mails of 24 hours are sent"]
        await api.close()


async def test_what_ses_refuses_is_refused(tmp_path: Path) -> None:
    twice = b"From: a@shop.example\r\nDKIM-Signature: a\r\nDKIM-Signature: b\r\n\r\nx\r\n"
    async with simulated(tmp_path) as ses:
        double, bad = await ses.send(
            mail("ann@gmail.sim.test", data=twice), mail("two@at@signs@gmail.sim.test")
        )
        assert isinstance(double, RejectedMessage)
        assert "Duplicate header" in double.reply
        assert "Invalid email address" in getattr(bad, "reply", "")
        assert ses.ledger() == []


async def test_a_line_cut_after_the_mail_is_a_doubt_that_the_send_event_settles(tmp_path: Path) -> None:
    cut = FaultSpec(kind=FaultKind.CUT_AFTER_BODY, account=NAME, times=1)
    async with simulated(tmp_path, faults=(cut,)) as ses:
        sent = mail("ok-ann@gmail.sim.test")
        [outcome] = await ses.send(sent)
        assert not isinstance(outcome, Accepted)
        [entry] = ses.ledger()
        told = {event.type: event for event in await ses.events(2)}
        assert told[EventType.SENT].provider_message_id == entry.message_id


async def test_the_same_attempt_twice_is_two_mails_and_one_fact(tmp_path: Path) -> None:
    async with simulated(tmp_path) as ses:
        sent = mail("ok-ann@gmail.sim.test")
        outcomes = await ses.send(sent, sent)
        ids = {outcome.provider_message_id for outcome in outcomes if isinstance(outcome, Accepted)}
        assert len(ids) == 2, "SES knows no idempotency key"
        events = await ses.events(4)
        assert len({event.event_id for event in events if event.type is EventType.SENT}) == 1
        assert len({event.event_id for event in events if event.type is EventType.DELIVERED}) == 2


async def test_events_wait_in_a_queue_until_they_are_stored(tmp_path: Path) -> None:
    async with simulated(tmp_path, queue=True) as ses:
        source = ses.vendor.source(SystemClock())
        assert source is not None
        metrics = Metrics()
        await ses.send(*(mail(f"ok-{n}@gmail.sim.test", n) for n in range(6)))
        async with asyncio.timeout(PATIENCE):
            while len(ses.log.stored) < 12:
                await step(source, ses.log, metrics)
        events = await ses.events(12)
        assert len({event.event_id for event in events}) == 12, "each once, since each was deleted"
        await source.close()


async def test_the_doctor_asks_ses_who_we_are_and_what_we_may_send(tmp_path: Path) -> None:
    async with simulated(tmp_path, max_24_hour_send=1, max_send_rate=500.0) as ses:
        table = {**msgspec.to_builtins(ses.vendor.table), "kind": "ses"}
        other = {
            "from_domains": ["b.example"],
            "tracking_url": "http://b.example",
            "bounce_domain": "c.example",
        }
        mine = {
            "from_domains": ["a.example"],
            "tracking_url": "http://a.example",
            "bounce_domain": "d.example",
        }
        settings = settings_from(
            {
                "streams": {
                    "transactional": {"relays": [NAME], **mine},
                    "marketing": {"relays": ["x"], **other},
                },
                "relays": {NAME: table, "x": {"kind": "smtp", "host": "x.example"}},
            },
            "a test",
        )
        well = await relay_check(settings, NAME)
        assert (well.state, well.found) == (
            State.OK,
            f"{ses.vendor.server} lets us in; 500 mails a second, 0 sent in 24 hours (limit: 1)",
        )
        await ses.send(mail("ok-ann@gmail.sim.test"))
        assert (await relay_check(settings, NAME)).state is State.WARNING
        (tmp_path / "ses.key").write_text("another\n")
        wrong = await relay_check(settings, NAME)
        assert wrong.state is State.FAILED
        assert "SignatureDoesNotMatch" in wrong.found
        assert "[relays.ses]" in wrong.todo
