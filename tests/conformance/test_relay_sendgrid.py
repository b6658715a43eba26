"""SendGrid's adapter against a fake mail/send that can misbehave in every scripted way."""

import base64
from collections.abc import AsyncIterator, Sequence

import pytest
from fake_http_relay import NOW, Request, http
from fake_sendgrid import FakeSendGrid, error
from http_harness import HttpHarness
from msgspec.structs import replace
from relay_laws import Fault, Letter, Received, RelayHarness, RelayLaws, open_gate, send, send_one

from posthouse.clock import ManualClock
from posthouse.domain.event import BounceClass
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.domain.message import Addressing, Attachment, Disposition, Mailbox, RawMail, Rendered
from posthouse.domain.stream import Stream
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
from posthouse.relays.sendgrid import SendGridAccount, SendGridRelay

KEY = "SG.a-key-that-must-not-show"


def job_id(number: int) -> JobId:
    return JobId(uuid7(int(NOW.timestamp() * 1000), number))


def rendered(letter: Letter, number: int = 1) -> Rendered:
    return Rendered(
        job_id=job_id(number),
        attempt=1,
        stream=Stream.TRANSACTIONAL,
        return_path="bounce@shop.example",
        recipient=letter.recipient,
        sender=Mailbox("hello@shop.example", letter.sender_name),
        addressing=Addressing(to=(Mailbox(letter.recipient),)),
        subject=letter.subject,
        text=letter.text,
        html=None,
        message_id=f"<{number}@shop.example>",
        date=NOW,
        headers=letter.headers,
    )


class SendGridHarness(HttpHarness[FakeSendGrid, SendGridRelay]):
    def __init__(self) -> None:
        super().__init__(FakeSendGrid())

    def relay_at(self, base_url: str, *, max_concurrency: int = 32, slot_wait: float = 1.0) -> SendGridRelay:
        host = base_url.partition("://")[2]
        settings = SendGridAccount(
            account=RelayAccount("sim"),
            api_key=KEY,
            base_url=base_url,
            max_concurrency=max_concurrency,
            slot_wait=slot_wait,
        )
        limits = ClientLimits(connect=0.5, total=0.8, connections=max_concurrency)
        client = HttpClient(EgressPolicy(frozenset({host})), limits)
        return SendGridRelay(settings, client, ManualClock(NOW))

    def mail(self, letter: Letter) -> Rendered:
        return rendered(letter)

    def unsupported(self) -> Sequence[Rendered | RawMail]:
        plain = rendered(Letter())
        shown = Addressing(to=(Mailbox("ann@example.org"), Mailbox("bob@example.org")))
        return [
            RawMail(plain.job_id, 1, "b@shop.example", "ann@example.org", b"Subject: x\r\n\r\n", False),
            replace(plain, addressing=shown),
            replace(plain, addressing=Addressing(to=(Mailbox("bob@example.org"),))),
            replace(plain, addressing=Addressing(cc=(Mailbox("ann@example.org"),))),
            replace(plain, headers=(("DKIM-Signature", "v=1"),)),
            replace(plain, headers=(("Bad Name", "x"),)),
            replace(plain, headers=(("X-A", "1"), ("x-a", "2"))),
            replace(plain, headers=(("X-A", "1\r\nBcc: eve@example.org"),)),
            replace(plain, subject="one\ntwo"),
            replace(plain, text=""),
            replace(plain, text="half a pair: \ud83d"),
            replace(plain, recipient=""),
            replace(plain, sender=Mailbox("grüße@shop.example")),
            replace(plain, attachments=(Attachment("a.bin", "application/x", bytes(25_000_000)),)),
        ]

    def garbage(self) -> Sequence[bytes]:
        return [
            b"",
            b"\x00\xff\xfe garbage",
            b"HTTP/1.1 202",
            b"HTTP/1.1 202 Accepted\r\n",
            http("202 Accepted"),
            http("202 Accepted", b'{"message_id":"in the body"}'),
            http("202 Accepted", headers="X-Message-Id:   "),
            http("200 OK", headers="X-Message-Id: sandbox"),
            http("201 Created", headers="X-Message-Id: x"),
            http("204 No Content", headers="X-Message-Id: x"),
            http("302 Found", headers="Location: http://169.254.169.254/"),
            http("307 Temporary Redirect", headers="Location: https://example.com/\r\nX-Message-Id: x"),
            http("999 What", headers="X-Message-Id: x"),
            b"HTTP/1.1 99999 Huh\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 202 Accepted\r\nX-Message-Id: " + b"x" * 100_000 + b"\r\n\r\n",
            b"220 mail.example ESMTP\r\n250 OK\r\n",
            http("400 Bad Request", b"[" * 50_000),
            http("400 Bad Request", b'{"errors":[{"message":5,"field":[]}]}'),
            http("400 Bad Request", b'{"errors":null}'),
            http("400 Bad Request", b"\xff\xfe\x00" * 1000),
            http("500 Error", b"x" * 1_000_000),
            http("429 Too Many", b"", "Retry-After: never\r\nX-RateLimit-Reset: -1"),
        ]

    def received(self) -> Sequence[Received]:
        return [received(request) for request in self.server.requests]


def received(request: Request) -> Received:
    body = request.json
    return Received(
        recipient=body["personalizations"][0]["to"][0]["email"],
        subject=body["subject"],
        sender_name=body["from"].get("name", ""),
        text=body["content"][0]["value"],
        headers={name.lower(): value for name, value in body["headers"].items()},
    )


@pytest.fixture
async def harness() -> AsyncIterator[SendGridHarness]:
    async with SendGridHarness() as opened:
        yield opened


class TestSendGrid(RelayLaws):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[RelayHarness]:
        async with SendGridHarness() as opened:
            yield opened


async def test_the_request_says_all_of_the_mail(harness: SendGridHarness) -> None:
    mail = replace(
        rendered(Letter(headers=(("List-Id", "<news.shop.example>"),)), number=7),
        attempt=3,
        addressing=Addressing(
            to=(Mailbox("Ann@example.org", 'Roe, Ann; "the <first>"'),),
            reply_to=(Mailbox("help@shop.example", "Help, please"), Mailbox("two@shop.example")),
        ),
        html="<p>Thank you</p>",
        attachments=(
            Attachment("receipt.pdf", "application/pdf", b"\x00\x01"),
            Attachment("logo.png", "image/png", b"png", "logo", Disposition.INLINE),
        ),
    )
    assert isinstance(await send_one(harness.relay(), mail), Accepted)
    [request] = harness.server.requests
    assert request.lines[0] == "POST /v3/mail/send HTTP/1.1"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert "accept-encoding" not in request.headers
    assert request.json == {
        "personalizations": [
            {
                "to": [{"email": "ann@example.org", "name": "Roe Ann the first"}],
                "custom_args": {"posthouse_job": str(job_id(7)), "posthouse_attempt": "3"},
            }
        ],
        "from": {"email": "hello@shop.example"},
        "reply_to_list": [
            {"email": "help@shop.example", "name": "Help, please"},
            {"email": "two@shop.example"},
        ],
        "subject": "Your receipt",
        "content": [
            {"type": "text/plain", "value": "Thank you.\n"},
            {"type": "text/html", "value": "<p>Thank you</p>"},
        ],
        "headers": {"Message-ID": "<7@shop.example>", "List-Id": "<news.shop.example>"},
        "attachments": [
            {
                "content": base64.b64encode(b"\x00\x01").decode(),
                "filename": "receipt.pdf",
                "type": "application/pdf",
                "disposition": "attachment",
            },
            {
                "content": base64.b64encode(b"png").decode(),
                "filename": "logo.png",
                "type": "image/png",
                "disposition": "inline",
                "content_id": "logo",
            },
        ],
        "tracking_settings": {
            "click_tracking": {"enable": False, "enable_text": False},
            "open_tracking": {"enable": False},
            "subscription_tracking": {"enable": False},
            "ganalytics": {"enable": False},
        },
    }


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http("400 Bad Request", error("The subject is required.", "subject")), RejectedMessage),
        (http("403 Forbidden", error("The from address is not verified", "from")), AccountTrouble),
        (http("401 Unauthorized", error("Maximum credits exceeded", None)), AccountTrouble),
        (http("404 Not Found"), AccountTrouble),
        (http("405 Method Not Allowed"), AccountTrouble),
        (http("415 Unsupported Media Type"), AccountTrouble),
        (http("301 Moved", headers="Location: /elsewhere"), AccountTrouble),
        (http("408 Request Timeout"), TryLater),
        (http("422 Unprocessable"), RejectedMessage),
        (http("500 Error"), TryLater),
        (http("502 Bad Gateway"), TryLater),
        (http("504 Gateway Timeout"), TryLater),
        (http("200 OK"), OutcomeUnknown),
    ],
)
async def test_statuses_have_their_class(harness: SendGridHarness, answer: bytes, kind: type) -> None:
    harness.answer_with("ann@example.org", answer)
    outcome = await send_one(harness.relay(), rendered(Letter()))
    assert type(outcome) is kind, outcome


@pytest.mark.parametrize(
    ("message", "field", "hard"),
    [
        ("Does not contain a valid address.", "personalizations.0.to", True),
        ("Does not contain a valid address.", "personalizations.0.to.0.email", True),
        ("Invalid email address", "personalizations.0.to.0.email", True),
        ("Does not contain a valid address.", "from.email", False),
        ("The to array is required and must have at least one valid email", "personalizations.0.to", False),
        ("Does not contain a valid address.", None, False),
    ],
)
async def test_only_a_clear_word_about_the_recipient_is_a_hard_bounce(
    harness: SendGridHarness, message: str, field: str | None, hard: bool
) -> None:
    harness.answer_with("ann@example.org", http("400 Bad Request", error(message, field)))
    outcome = await send_one(harness.relay(), rendered(Letter()))
    if hard:
        assert isinstance(outcome, RejectedRecipient)
        assert outcome.bounce is BounceClass.HARD
    else:
        assert isinstance(outcome, RejectedMessage)
    assert message in outcome.reply


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ("Retry-After: 7", 7.0),
        ("Retry-After: Sun, 01 Mar 2026 00:00:20 GMT", 20.0),
        ("Retry-After: Sat, 28 Feb 2026 00:00:00 GMT", None),
        ("Retry-After: 99999999999999", 3600.0),
        (f"X-RateLimit-Reset: {int(NOW.timestamp()) + 12}", 12.0),
        (f"X-RateLimit-Reset: {int(NOW.timestamp()) - 12}", None),
        ("X-RateLimit-Reset: soon", None),
    ],
)
async def test_throttling_hints(harness: SendGridHarness, headers: str, seconds: float | None) -> None:
    harness.answer_with("ann@example.org", http("429 Too Many Requests", b"", headers))
    outcome = await send_one(harness.relay(), rendered(Letter()))
    assert outcome == TryLater("429", retry_after=seconds, slow_relay=True)


async def test_an_echoed_key_is_not_stored(harness: SendGridHarness) -> None:
    harness.answer_with("ann@example.org", http("400 Bad Request", f"you sent Bearer {KEY}\0".encode()))
    outcome = await send_one(harness.relay(), rendered(Letter()))
    assert isinstance(outcome, RejectedMessage)
    assert KEY not in outcome.reply
    assert "\0" not in outcome.reply
    assert KEY not in repr(SendGridAccount(account=RelayAccount("a"), api_key=KEY))


async def test_no_slot_in_time_is_not_begun(harness: SendGridHarness) -> None:
    harness.script("slow@example.org", Fault.HANG_AFTER_BODY)
    relay = harness.relay_at(f"http://{harness.server.address}", max_concurrency=1, slot_wait=0.05)
    outcomes = await send(relay, [rendered(Letter("slow@example.org")), rendered(Letter())])
    assert isinstance(outcomes[0], OutcomeUnknown)
    assert isinstance(outcomes[1], NotBegun)
    assert harness.begun() == 1


async def test_requests_run_side_by_side_on_kept_connections(harness: SendGridHarness) -> None:
    relay = harness.relay_at(f"http://{harness.server.address}", max_concurrency=4)
    outcomes = await send(relay, [rendered(Letter(f"r{n}@example.org")) for n in range(40)])
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 40
    assert harness.server.connections <= 4


async def test_a_private_base_url_is_the_operators_trouble(harness: SendGridHarness) -> None:
    settings = SendGridAccount(
        account=RelayAccount("a"), api_key=KEY, base_url=f"https://{harness.server.address}"
    )
    relay = SendGridRelay(settings, HttpClient(EgressPolicy()), ManualClock(NOW))
    outcome = await send_one(relay, rendered(Letter()))
    assert isinstance(outcome, AccountTrouble)
    assert harness.server.connections == 0


async def test_a_body_that_never_left_whole_was_not_taken(harness: SendGridHarness) -> None:
    """20 MB are more than two kernels' buffers hold while the server reads nothing of them."""
    harness.script("ann@example.org", Fault.CUT_MID_BODY)
    mail = replace(rendered(Letter()), text="x" * 20_000_000)
    outcome = await send_one(harness.relay(), mail)
    assert isinstance(outcome, TryLater), outcome
    assert outcome.slow_relay


async def test_after_close_nothing_is_begun(harness: SendGridHarness) -> None:
    relay = harness.relay()
    await relay.close()
    [outcome] = await relay.send_many([rendered(Letter())], open_gate)
    assert isinstance(outcome, TryLater)
    assert harness.begun() == 0
