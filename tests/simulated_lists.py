"""Simulated relays with lists, and the adapters that read them."""

import asyncio
import base64
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiohttp import ClientSession, FormData

from posthouse.clock import SystemClock
from posthouse.domain.ids import RelayAccount
from posthouse.net.client import ClientLimits, HttpClient, Reply
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import SuppressionList
from posthouse.relays.lists import PAGE_BYTES
from posthouse.relays.mailgun.suppressions import MailgunLists, MailgunSuppressions
from posthouse.relays.postmark.account import PostmarkAccount
from posthouse.relays.postmark.suppressions import PostmarkSuppressions
from posthouse.relays.sendgrid.sender import SendGridAccount
from posthouse.relays.sendgrid.suppressions import SendGridSuppressions
from posthouse.relays.ses.api import AwsApi, endpoint
from posthouse.relays.ses.sigv4 import Credentials, Scope
from posthouse.relays.ses.suppressions import SesSuppressions
from posthouse.simulator.main import Endpoints, run
from posthouse.simulator.settings import MailgunAccount as SimulatedMailgun
from posthouse.simulator.settings import PostmarkAccount as SimulatedPostmark
from posthouse.simulator.settings import SendGridAccount as SimulatedSendGrid
from posthouse.simulator.settings import SesAccount as SimulatedSes
from posthouse.simulator.settings import SimulatorSettings

KEY = "key-that-must-not-show"
DOMAIN = "mail.shop.example"
NAME = RelayAccount("listed")
_PATIENCE = 20.0
_QUICK = 1e-6  # seconds of ours for one of the simulated world


class Idle(msgspec.Struct):
    idle: bool


class SimulatedHarness(ABC):
    """One account of the simulator."""

    def __init__(self, endpoints: Endpoints, client: ClientSession) -> None:
        self._endpoints = endpoints
        self._client = client

    @property
    def url(self) -> str:
        return self._endpoints.accounts[0].url

    @abstractmethod
    def suppressions(self, server: str | None = None) -> SuppressionList: ...

    @abstractmethod
    def garbage(self) -> Sequence[bytes]: ...

    @abstractmethod
    async def hand_over(self, address: str) -> None: ...

    async def mail(self, address: str) -> None:
        await self.hand_over(address)
        async with asyncio.timeout(_PATIENCE):
            while True:
                async with self._client.get(f"{self._endpoints.control_url}/sim/idle") as answer:
                    if msgspec.json.decode(await answer.read(), type=Idle).idle:
                        return
                await asyncio.sleep(0.01)

    async def post(self, path: str, headers: Mapping[str, str], **body: object) -> None:
        form, json = body.get("form"), body.get("json")
        data = form if isinstance(form, FormData) else None
        async with self._client.post(f"{self.url}{path}", headers=headers, data=data, json=json) as answer:
            assert answer.status in (200, 202), await answer.text()

    def base_url(self, server: str | None) -> str:
        return self.url if server is None else f"http://{server}"

    def http(self, server: str | None) -> HttpClient:
        allowed = frozenset({self.base_url(server).removeprefix("http://")})
        limits = ClientLimits(connect=1.0, total=10.0, reply_bytes=PAGE_BYTES)
        return HttpClient(EgressPolicy(allowed), limits)


class MailgunHarness(SimulatedHarness):
    def suppressions(self, server: str | None = None) -> SuppressionList:
        lists = MailgunLists(account=NAME, domain=DOMAIN, api_key=KEY, base_url=self.base_url(server))
        return MailgunSuppressions(lists, self.http(server), SystemClock())

    async def hand_over(self, address: str) -> None:
        form = FormData()
        form.add_field("to", address)
        raw = f"From: a@{DOMAIN}\r\nTo: {address}\r\nSubject: x\r\n\r\nHi\r\n"
        form.add_field("message", raw.encode(), filename="message.eml", content_type="message/rfc822")
        key = base64.b64encode(f"api:{KEY}".encode()).decode()
        await self.post(f"/v3/{DOMAIN}/messages.mime", {"Authorization": f"Basic {key}"}, form=form)

    def garbage(self) -> Sequence[bytes]:
        return (
            b"Mailgun Magnificent API",
            b'{"items": {}}',
            b'{"items": [1]}',
            b'{"items": [{"address": "a@b.example"}], "paging": []}',
            *(
                msgspec.json.encode({"items": [{"address": "a@b.example"}], "paging": {"next": link}})
                for link in (
                    "http://evil.example/v3/mail.shop.example/bounces?page=next",
                    "//evil.example/",
                    "/v3/other.example/bounces",
                    "http://[",
                    "file:///etc/passwd",
                )
            ),
        )


class PostmarkHarness(SimulatedHarness):
    def suppressions(self, server: str | None = None) -> SuppressionList:
        account = PostmarkAccount(account=NAME, server_token=KEY, base_url=self.base_url(server))
        return PostmarkSuppressions(account, self.http(server), SystemClock())

    async def hand_over(self, address: str) -> None:
        order = {"From": f"a@{DOMAIN}", "To": address, "Subject": "x", "TextBody": "Hi"}
        headers = {"X-Postmark-Server-Token": KEY, "Accept": "application/json"}
        await self.post("/email", headers, json=order)

    def garbage(self) -> Sequence[bytes]:
        return (b"{}", b'{"Suppressions": {}}', b'{"Suppressions": [{"EmailAddress": 1}]}')


class SendGridHarness(SimulatedHarness):
    def suppressions(self, server: str | None = None) -> SuppressionList:
        account = SendGridAccount(account=NAME, api_key=KEY, base_url=self.base_url(server))
        return SendGridSuppressions(account, self.http(server), SystemClock())

    async def hand_over(self, address: str) -> None:
        order = {
            "personalizations": [{"to": [{"email": address}]}],
            "from": {"email": f"a@{DOMAIN}"},
            "subject": "x",
            "content": [{"type": "text/plain", "value": "Hi"}],
        }
        await self.post("/v3/mail/send", {"Authorization": f"Bearer {KEY}"}, json=order)

    def garbage(self) -> Sequence[bytes]:
        return (b"{}", b'{"errors": []}', b"[1]", b"[[]]")


class SesHarness(SimulatedHarness):
    def suppressions(self, server: str | None = None) -> SuppressionList:
        where = endpoint(self.base_url(server), Scope("eu-west-1", "ses"), "base_url")
        return SesSuppressions(NAME, where, self._api(server), SystemClock())

    async def hand_over(self, address: str) -> None:
        raw = f"From: a@{DOMAIN}\r\nTo: {address}\r\nSubject: x\r\n\r\nHi\r\n"
        order = {
            "FromEmailAddress": f"a@{DOMAIN}",
            "Destination": {"ToAddresses": [address]},
            "Content": {"Raw": {"Data": base64.b64encode(raw.encode()).decode()}},
        }
        where, api = endpoint(self.url, Scope("eu-west-1", "ses"), "base_url"), self._api(None)
        headers = {"Content-Type": "application/json"}
        url, body = where.url / "v2/email/outbound-emails", msgspec.json.encode(order)
        reply = await api.post(where, url, headers, body, lambda: True)
        assert isinstance(reply, Reply)
        assert reply.status == 200, reply.body
        await api.close()

    def _api(self, server: str | None) -> AwsApi:
        return AwsApi(self.http(server), lambda: Credentials("AKIATEST", KEY, ""), SystemClock())

    def garbage(self) -> Sequence[bytes]:
        entry = b'{"SuppressedDestinationSummaries": [{"EmailAddress": "a@b.example"}], "NextToken": "x"}'
        return (b"{}", b'{"SuppressedDestinationSummaries": {}}', entry)


@asynccontextmanager
async def _running(settings: SimulatorSettings) -> AsyncIterator[tuple[Endpoints, ClientSession]]:
    stop = asyncio.Event()
    ready: asyncio.Future[Endpoints] = asyncio.get_running_loop().create_future()
    ended = asyncio.create_task(run(settings, stop, ready.set_result))
    await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        ended.result()
    async with ClientSession() as client:
        try:
            yield await ready, client
        finally:
            stop.set()
            await ended


@asynccontextmanager
async def mailgun_lists(folder: Path) -> AsyncIterator[MailgunHarness]:
    account = SimulatedMailgun(name=NAME, domain=DOMAIN, api_key=KEY, signing_key="a-signing-key")
    async with _running(_settings(folder, mailgun=(account,))) as running:
        yield MailgunHarness(*running)


@asynccontextmanager
async def postmark_lists(folder: Path) -> AsyncIterator[PostmarkHarness]:
    account = SimulatedPostmark(name=NAME, server_token=KEY)
    async with _running(_settings(folder, postmark=(account,))) as running:
        yield PostmarkHarness(*running)


@asynccontextmanager
async def sendgrid_lists(folder: Path) -> AsyncIterator[SendGridHarness]:
    account = SimulatedSendGrid(name=NAME, api_key=KEY, key_path=folder / "key.pem")
    async with _running(_settings(folder, sendgrid=(account,))) as running:
        yield SendGridHarness(*running)


@asynccontextmanager
async def ses_lists(folder: Path) -> AsyncIterator[SesHarness]:
    account = SimulatedSes(
        name=NAME,
        access_key_id="AKIATEST",
        secret_access_key=KEY,
        key_path=folder / "sns.pem",
        port=_free_port(),
    )
    async with _running(_settings(folder, ses=(account,))) as running:
        yield SesHarness(*running)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _settings(
    folder: Path,
    mailgun: tuple[SimulatedMailgun, ...] = (),
    postmark: tuple[SimulatedPostmark, ...] = (),
    sendgrid: tuple[SimulatedSendGrid, ...] = (),
    ses: tuple[SimulatedSes, ...] = (),
) -> SimulatorSettings:
    return SimulatorSettings(
        folder=folder / "sim",
        time_scale=_QUICK,
        fsync=False,
        mailgun=mailgun,
        postmark=postmark,
        sendgrid=sendgrid,
        ses=ses,
    )
