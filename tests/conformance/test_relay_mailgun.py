"""Mailgun's adapter against a fake messages.mime that can misbehave in every scripted way."""

from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import msgspec
import pytest
from fake_http_relay import NOW, http
from fake_mailgun import DOMAIN, FakeMailgun, form_of, received, said
from http_harness import HttpHarness
from raw_letters import JOB, raw, rendered
from relay_laws import Fault, Letter, Received, RelayHarness, RelayLaws, open_gate, send, send_one

from posthouse.clock import ManualClock
from posthouse.domain.errors import Misconfigured
from posthouse.domain.event import BounceClass
from posthouse.domain.ids import RelayAccount
from posthouse.domain.message import RawMail, Rendered
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    NotBegun,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    TryLater,
)
from posthouse.relays.mailgun import MailgunAccount, MailgunRelay
from posthouse.relays.mailgun.sender import capabilities

KEY = "key-that-must-not-show"


def account(base_url: str, *, max_concurrency: int = 32, slot_wait: float = 1.0) -> MailgunAccount:
    return MailgunAccount(
        account=RelayAccount("sim"),
        domain=DOMAIN,
        capabilities=capabilities(hears_acceptance=True),
        api_key=KEY,
        base_url=base_url,
        max_concurrency=max_concurrency,
        slot_wait=slot_wait,
    )


class MailgunHarness(HttpHarness[FakeMailgun, MailgunRelay]):
    def __init__(self) -> None:
        super().__init__(FakeMailgun())

    def relay_at(self, base_url: str, *, max_concurrency: int = 32, slot_wait: float = 1.0) -> MailgunRelay:
        host = base_url.partition("://")[2]
        limits = ClientLimits(connect=0.5, total=0.8, connections=max_concurrency)
        settings = account(base_url, max_concurrency=max_concurrency, slot_wait=slot_wait)
        return MailgunRelay(settings, HttpClient(EgressPolicy(frozenset({host})), limits), ManualClock(NOW))

    def mail(self, letter: Letter) -> RawMail:
        return raw(letter)

    def unsupported(self) -> Sequence[Rendered | RawMail]:
        plain = raw(Letter())
        names = "".join(f"posthouse-{JOB.hex}{'x' * n} " for n in range(40))
        return [
            rendered(),
            msgspec.structs.replace(plain, smtputf8=True),
            msgspec.structs.replace(plain, recipient=""),
            msgspec.structs.replace(plain, recipient="ann"),
            msgspec.structs.replace(plain, recipient="ann@example.org,eve@example.org"),
            msgspec.structs.replace(plain, recipient="ann@example.org\r\nX: y"),
            msgspec.structs.replace(plain, recipient='ann@example.org"; name="to'),
            msgspec.structs.replace(plain, recipient="grüße@example.org"),
            msgspec.structs.replace(plain, data=plain.data + bytes(25_000_000)),
            msgspec.structs.replace(plain, data=plain.data + names.encode()),
        ]

    def garbage(self) -> Sequence[bytes]:
        good = b'{"id":"<1@mail.shop.example>","message":"Queued. Thank you."}'
        return [
            b"",
            b"\x00\xff\xfe garbage",
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 OK\r\n",
            http("200 OK"),
            http("200 OK", b"Mailgun Magnificent API"),
            http("200 OK", b'{"id":""}'),
            http("200 OK", b'{"id":"<>"}'),
            http("200 OK", b'{"id":5}'),
            http("200 OK", b'{"message":"Queued. Thank you."}'),
            http("200 OK", b'["id"]'),
            http("200 OK", b"[" * 50_000),
            http("200 OK", b"<id>x</id>"),
            http("201 Created", good),
            http("202 Accepted", good),
            http("302 Found", good, headers="Location: http://169.254.169.254/"),
            http("999 What", good),
            b"HTTP/1.1 99999 Huh\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            http("400 Bad Request", b"[" * 50_000),
            http("400 Bad Request", b'{"message":5}'),
            http("400 Bad Request", b"\xff\xfe\x00" * 1000),
            http("500 Error", b"x" * 1_000_000),
            http("429 Too Many", b'{"message":"try again after Tomorrow"}', "Retry-After: never"),
        ]

    def received(self) -> Sequence[Received]:
        return [received(request) for request in self.server.requests]


@pytest.fixture
async def harness() -> AsyncIterator[MailgunHarness]:
    async with MailgunHarness() as opened:
        yield opened


class TestMailgun(RelayLaws):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[RelayHarness]:
        async with MailgunHarness() as opened:
            yield opened


async def test_the_request_says_all_of_the_mail(harness: MailgunHarness) -> None:
    mail = raw(Letter(), attempt=3)
    mail = msgspec.structs.replace(mail, data=mail.data + b"\r\n--posthouse-x\r\n\xff\x00")
    assert isinstance(await send_one(harness.relay(), mail), Accepted)
    [request] = harness.server.requests
    assert request.lines[0] == f"POST /v3/{DOMAIN}/messages.mime HTTP/1.1"
    assert request.headers["authorization"] == "Basic " + b64encode(f"api:{KEY}".encode()).decode()
    assert "accept-encoding" not in request.headers
    assert form_of(request) == {
        "to": b"ann@example.org",
        "o:tracking": b"no",
        "v:posthouse_job": str(JOB).encode(),
        "v:posthouse_attempt": b"3",
        "message": mail.data,
    }


async def test_mailguns_id_has_no_brackets(harness: MailgunHarness) -> None:
    """As its webhooks and its events name the mail."""
    outcome = await send_one(harness.relay(), raw(Letter()))
    assert outcome == Accepted(f"1@{DOMAIN}", "200 Queued. Thank you.")


async def test_a_mail_that_holds_the_boundary_gets_another(harness: MailgunHarness) -> None:
    plain = raw(Letter())
    mail = msgspec.structs.replace(plain, data=plain.data + f"\r\n--posthouse-{JOB.hex}--\r\n".encode())
    assert isinstance(await send_one(harness.relay(), mail), Accepted)
    [request] = harness.server.requests
    assert form_of(request)["message"] == mail.data


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http("400 Bad Request", said("from parameter is missing")), RejectedMessage),
        (http("400 Bad Request", said("'from' parameter is not a valid address.")), RejectedMessage),
        (http("400 Bad Request", said("Domain x is not allowed to send: disabled")), AccountTrouble),
        (http("400 Bad Request", said("Sandbox subdomains are for test purposes only.")), AccountTrouble),
        (http("401 Unauthorized", b"Forbidden"), AccountTrouble),
        (http("402 Payment Required", said("Request failed")), AccountTrouble),
        (http("403 Forbidden", said("IP is not on the allow-list")), AccountTrouble),
        (http("403 Forbidden", said("Domain x is not allowed to send: Sandbox subdomains")), AccountTrouble),
        (http("404 Not Found", said("Domain not found: mail.shop.example")), AccountTrouble),
        (http("405 Method Not Allowed"), AccountTrouble),
        (http("200 OK", b"Mailgun Magnificent API"), AccountTrouble),
        (http("301 Moved", headers="Location: /elsewhere"), AccountTrouble),
        (http("408 Request Timeout"), TryLater),
        (http("413 Request Entity Too Large"), RejectedMessage),
        (http("422 Unprocessable"), RejectedMessage),
        (http("500 Error", said("Internal Server Error")), TryLater),
        (http("502 Bad Gateway"), TryLater),
        (http("503 Service Unavailable"), TryLater),
        (http("504 Gateway Timeout"), OutcomeUnknown),
        (http("200 OK", said("Queued. Thank you.")), OutcomeUnknown),
    ],
)
async def test_statuses_have_their_class(harness: MailgunHarness, answer: bytes, kind: type) -> None:
    harness.answer_with("ann@example.org", answer)
    outcome = await send_one(harness.relay(), raw(Letter()))
    assert type(outcome) is kind, outcome


async def test_only_a_clear_word_about_the_recipient_is_a_hard_bounce(harness: MailgunHarness) -> None:
    harness.script("gone@example.org", Fault.REJECT_RECIPIENT)
    outcome = await send_one(harness.relay(), raw(Letter("gone@example.org")))
    assert isinstance(outcome, RejectedRecipient)
    assert outcome.bounce is BounceClass.HARD


@pytest.mark.parametrize(
    ("status", "words", "headers", "seconds"),
    [
        ("429 Too Many", "slow down", "Retry-After: 7", 7.0),
        ("429 Too Many", "slow down", "X-Other: 1", None),
        ("429 Too Many", "slow down", f"X-RateLimit-Reset: {int(NOW.timestamp()) + 12}", 12.0),
        ("429 Too Many", "slow down", f"X-RateLimit-Reset: {int(NOW.timestamp()) + 12}000", 12.0),
        ("429 Too Many", "limit exceeded, try again after Sun, 01 Mar 2026 00:00:20 GMT", "A: b", 20.0),
        ("420 Calm", "Domain x is not allowed to send: try again after Sun, 01 Mar 2026 00:01:00 UTC",
         "A: b", 60.0),
        ("403 No", "hourly limit exceeded, try again after Sat, 28 Feb 2026 00:00:00 UTC", "A: b", None),
        ("400 Bad", "messages limit exceeded, try again after never", "A: b", None),
    ],
)  # fmt: skip
async def test_throttling_hints(
    harness: MailgunHarness, status: str, words: str, headers: str, seconds: float | None
) -> None:
    harness.answer_with("ann@example.org", http(status, said(words), headers))
    outcome = await send_one(harness.relay(), raw(Letter()))
    assert outcome == TryLater(f"{status[:3]} {words}", retry_after=seconds, slow_relay=True)


async def test_an_echoed_key_is_not_stored(harness: MailgunHarness) -> None:
    basic = b64encode(f"api:{KEY}".encode()).decode()
    harness.answer_with("ann@example.org", http("400 Bad Request", f"you sent {KEY} {basic}\0".encode()))
    outcome = await send_one(harness.relay(), raw(Letter()))
    assert outcome == RejectedMessage("400 you sent [redacted] [redacted]\ufffd")
    assert KEY not in repr(account("https://api.mailgun.net"))


async def test_no_slot_in_time_is_not_begun(harness: MailgunHarness) -> None:
    harness.script("slow@example.org", Fault.HANG_AFTER_BODY)
    relay = harness.relay_at(f"http://{harness.server.address}", max_concurrency=1, slot_wait=0.05)
    outcomes = await send(relay, [raw(Letter("slow@example.org")), raw(Letter())])
    assert isinstance(outcomes[0], OutcomeUnknown)
    assert isinstance(outcomes[1], NotBegun)
    assert harness.begun() == 1


async def test_a_private_base_url_is_the_operators_trouble(harness: MailgunHarness) -> None:
    settings = account(f"https://{harness.server.address}")
    outcome = await send_one(
        MailgunRelay(settings, HttpClient(EgressPolicy()), ManualClock(NOW)), raw(Letter())
    )
    assert isinstance(outcome, AccountTrouble)
    assert harness.server.connections == 0


@pytest.mark.parametrize(
    "wrong",
    [
        replace(account("https://api.mailgun.net"), api_key=""),
        replace(account("https://api.mailgun.net"), api_key="key\n"),
        replace(account("https://api.mailgun.net"), domain="mail.shop.example/../x"),
        replace(account("https://api.mailgun.net"), domain=""),
        account("api.mailgun.net"),
        account("https://user@api.mailgun.net"),
        account("https://api.mailgun.net?x=y"),
    ],
)
def test_what_cannot_be_used_is_said_at_the_start(wrong: MailgunAccount) -> None:
    with pytest.raises(Misconfigured):
        MailgunRelay(wrong, HttpClient(EgressPolicy()), ManualClock(NOW))


async def test_after_close_nothing_is_begun(harness: MailgunHarness) -> None:
    relay = harness.relay()
    await relay.close()
    [outcome] = await relay.send_many([raw(Letter())], open_gate)
    assert isinstance(outcome, TryLater)
    assert harness.begun() == 0
