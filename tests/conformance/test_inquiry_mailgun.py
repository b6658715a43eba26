"""Asking Mailgun's Events API under the laws of asking."""

import json
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

import pytest
from fake_http_relay import NOW, Request, http
from fake_questions import FakeQuestions
from inquiry_laws import InquiryHarness, InquiryLaws, Trouble, ask_one, question

from posthouse.clock import ManualClock
from posthouse.domain.ids import RelayAccount
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import CannotTell, Inquiry, WasTaken
from posthouse.relays.mailgun import MailgunInquirer, MailgunQuestions
from posthouse.relays.mailgun.inquiry import REPLY_BYTES

KEY = "key-that-must-not-show"
DOMAIN = "mail.shop.example"


class FakeEvents(FakeQuestions):
    """GET /v3/DOMAIN/events with the filters that are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, object]] = []

    def answer(self, request: Request) -> bytes:
        method, target, _ = request.lines[0].split(" ")
        parts = urlsplit(target)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert (method, parts.path) == ("GET", f"/v3/{DOMAIN}/events")
        assert asked["ascending"] == "yes"
        found = [
            event
            for event in self.events
            if event["event"] == asked["event"]
            and event["about"] == asked["message-id"]
            and float(str(event["timestamp"])) >= float(asked["begin"])
        ]
        items = found[: int(asked["limit"])]
        return json.dumps({"items": items, "paging": {"next": "https://never.followed.example/"}}).encode()


class EventsHarness:
    proves_after: timedelta | None = timedelta(minutes=30)

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.server = FakeEvents()

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.server.close()

    def inquirer(self) -> MailgunInquirer:
        return self._inquirer_at(self.server.address)

    def _inquirer_at(self, address: str) -> MailgunInquirer:
        settings = MailgunQuestions(
            account=RelayAccount("sim"), domain=DOMAIN, api_key=KEY, base_url=f"http://{address}"
        )
        limits = ClientLimits(connect=0.5, total=0.8, connections=16, reply_bytes=REPLY_BYTES)
        return MailgunInquirer(settings, HttpClient(EgressPolicy(frozenset({address})), limits), self.clock)

    def lonely_inquirer(self) -> MailgunInquirer:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            return self._inquirer_at(f"127.0.0.1:{nobody.getsockname()[1]}")

    def took(self, inquiry: Inquiry, provider_message_id: str) -> None:
        self.server.events.append(
            {
                "event": "accepted",
                "timestamp": (inquiry.in_doubt_since - timedelta(seconds=30)).timestamp(),
                "about": inquiry.message_id.strip("<>"),
                "user-variables": {
                    "posthouse_job": str(inquiry.job_id),
                    "posthouse_attempt": str(inquiry.attempt),
                },
                "message": {"headers": {"message-id": provider_message_id}},
            }
        )

    def make_trouble(self, trouble: Trouble) -> None:
        self.server.trouble = trouble

    def garbage(self) -> Sequence[bytes]:
        event = b'{"event":"accepted","user-variables":[],"message":{"headers":{"message-id":"x"}}}'
        return [
            b"",
            b"\x00\xff\xfe garbage",
            b"HTTP/1.1 200 OK\r\n",
            http("200 OK"),
            http("200 OK", b"Mailgun Magnificent API"),
            http("200 OK", b"{}"),
            http("200 OK", b'{"items":5}'),
            http("200 OK", b'{"items":[5]}'),
            http("200 OK", b'{"items":[{"event":"accepted"}' + b',{"event":"accepted"}' * 99 + b"]}"),
            http("200 OK", b'{"items":[' + b",".join([event] * 100) + b"]}"),
            http("200 OK", b"[" * 50_000),
            http("200 OK", b'{"items":[' + b"x" * 2_000_000),
            http("201 Created", b'{"items":[]}'),
            http("204 No Content"),
            http("302 Found", headers="Location: http://169.254.169.254/"),
            http("404 Not Found", b"\0\xff"),
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        ]

    def answer_with(self, raw: bytes) -> None:
        self.server.raw_answer = raw

    def asked(self) -> int:
        return len(self.server.requests)


@pytest.fixture
async def harness() -> AsyncIterator[EventsHarness]:
    async with EventsHarness() as opened:
        yield opened


class TestMailgunInquiry(InquiryLaws):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[InquiryHarness]:
        async with EventsHarness() as opened:
            yield opened


async def test_what_mailgun_may_have_forgotten_proves_nothing(harness: EventsHarness) -> None:
    inquiry = question(harness)
    harness.clock.advance(21 * 3600.0)
    assert isinstance(await ask_one(harness.inquirer(), inquiry), CannotTell)


async def test_a_mail_is_found_among_many_attempts(harness: EventsHarness) -> None:
    for attempt in range(1, 60):
        harness.took(question(harness, attempt=attempt), f"id-{attempt}")
    assert await ask_one(harness.inquirer(), question(harness, attempt=59)) == WasTaken("id-59")


async def test_an_echoed_key_is_not_told(harness: EventsHarness) -> None:
    harness.answer_with(http("400 Bad Request", f"you sent {KEY}".encode()))
    answer = await ask_one(harness.inquirer(), question(harness))
    assert isinstance(answer, CannotTell)
    assert KEY not in answer.reason


async def test_an_event_without_an_id_is_no_evidence(harness: EventsHarness) -> None:
    inquiry = question(harness)
    harness.took(inquiry, "")
    answer = await ask_one(harness.inquirer(), replace(inquiry))
    assert isinstance(answer, CannotTell)
