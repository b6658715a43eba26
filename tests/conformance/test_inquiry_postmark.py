"""Postmark's outbound search, asked about mail in doubt, under the laws of asking."""

import socket
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

import pytest
from fake_http_relay import NOW, http
from fake_postmark import FakePostmark, record, refusal, search
from inquiry_laws import InquiryHarness, InquiryLaws, Trouble, ask, ask_one, question

from posthouse.clock import ManualClock
from posthouse.domain.ids import RelayAccount
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import CannotTell, Inquiry, WasNotTaken, WasTaken
from posthouse.relays.postmark import PostmarkAccount, PostmarkInquirer
from posthouse.relays.postmark import inquiry as adapter

TOKEN = "a-server-token-that-must-not-show"

TROUBLES = {
    Trouble.ERROR: http("503 Service Unavailable", refusal(100, "Maintenance.")),
    Trouble.FORBIDDEN: http("401 Unauthorized", refusal(10, f"No valid token: {TOKEN}")),
    Trouble.THROTTLE: http("429 Too Many Requests", refusal(429, "Rate limit exceeded.")),
    Trouble.CUT: b"",
}


class PostmarkInquiryHarness:
    proves_after: timedelta | None = timedelta(minutes=5)

    def __init__(self) -> None:
        self.server = FakePostmark()
        self.clock = ManualClock(NOW)

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.server.close()

    def inquirer(self) -> PostmarkInquirer:
        return self._inquirer_at(self.server.address)

    def lonely_inquirer(self) -> PostmarkInquirer:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            return self._inquirer_at(f"127.0.0.1:{nobody.getsockname()[1]}")

    def _inquirer_at(self, address: str) -> PostmarkInquirer:
        settings = PostmarkAccount(
            account=RelayAccount("sim"),
            server_token=TOKEN,
            message_stream="letters",
            base_url=f"http://{address}",
        )
        limits = ClientLimits(connect=0.5, total=0.8, reply_bytes=64 * 1024)
        return PostmarkInquirer(settings, HttpClient(EgressPolicy(frozenset({address})), limits), self.clock)

    def took(self, inquiry: Inquiry, provider_message_id: str) -> None:
        self.server.records.append(record(provider_message_id, str(inquiry.job_id), str(inquiry.attempt)))

    def make_trouble(self, trouble: Trouble) -> None:
        self.server.asides_hang = trouble is Trouble.HANG
        self.server.raw_aside = TROUBLES.get(trouble)

    def garbage(self) -> Sequence[bytes]:
        return [
            b"",
            b"\x00\xff garbage",
            b"HTTP/1.1 200 OK\r\n",
            http("200 OK"),
            http("200 OK", b"{}"),
            http("200 OK", b"[]"),
            http("200 OK", b"null"),
            http("200 OK", b'{"TotalCount":0}'),
            http("200 OK", b'{"Messages":[]}'),
            http("200 OK", b'{"TotalCount":"0","Messages":[]}'),
            http("200 OK", b'{"TotalCount":1,"Messages":[]}'),
            http("200 OK", b'{"TotalCount":0,"Messages":null}'),
            http("200 OK", b'{"TotalCount":1,"Messages":[{}]}'),
            http("200 OK", b'{"TotalCount":1,"Messages":[{"MessageID":5}]}'),
            http("200 OK", b'{"TotalCount":1,"Messages":[{"MessageID":"x"}]}'),
            http("200 OK", b'{"TotalCount":1,"Messages":[{"MessageID":"x","Metadata":null}]}'),
            http(
                "200 OK", b'{"TotalCount":1,"Messages":[{"MessageID":"x","Metadata":{"posthouse_job":"?"}}]}'
            ),
            http("200 OK", b'{"TotalCount":0,"Messages":[]'),
            http("200 OK", b"[" * 50_000),
            http("200 OK", search([record("x" * 100_000, "a", "1")], 1)),
            http("202 Accepted", search([], 0)),
            http("204 No Content"),
            http("302 Found", headers="Location: http://169.254.169.254/"),
            http("404 Not Found", b"\xff\x00"),
            http("500 Error", b"x" * 300_000),
        ]

    def answer_with(self, raw: bytes) -> None:
        self.server.raw_aside = raw

    def asked(self) -> int:
        return len(self.server.asides)


@pytest.fixture
async def harness() -> AsyncIterator[PostmarkInquiryHarness]:
    async with PostmarkInquiryHarness() as opened:
        yield opened


class TestPostmarkInquiry(InquiryLaws):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[InquiryHarness]:
        async with PostmarkInquiryHarness() as opened:
            yield opened


async def test_the_search_is_by_job_and_stream(harness: PostmarkInquiryHarness) -> None:
    inquiry = question(harness, attempt=2)
    elsewhere = record("of-another-stream", str(inquiry.job_id), "2", stream="outbound")
    harness.server.records = [elsewhere, record("the-first", str(inquiry.job_id), "1")]
    harness.took(inquiry, "the-second")
    assert await ask_one(harness.inquirer(), inquiry) == WasTaken("the-second")
    [request] = harness.server.asides
    assert request.lines[0].startswith("GET /messages/outbound?")
    assert f"metadata_posthouse_job={inquiry.job_id}" in request.path
    assert request.headers["x-postmark-server-token"] == TOKEN


async def test_an_earlier_attempt_alone_proves_that_this_one_was_not_taken(
    harness: PostmarkInquiryHarness,
) -> None:
    harness.took(question(harness, attempt=1), "the-first")
    inquiry = question(harness, attempt=2)
    harness.clock.advance(301)
    assert isinstance(await ask_one(harness.inquirer(), inquiry), WasNotTaken)


async def test_a_token_that_is_echoed_is_not_told(harness: PostmarkInquiryHarness) -> None:
    harness.make_trouble(Trouble.FORBIDDEN)
    answer = await ask_one(harness.inquirer(), question(harness))
    assert isinstance(answer, CannotTell)
    assert "401" in answer.reason
    assert TOKEN not in answer.reason


async def test_a_set_ends_in_time_with_what_was_found_out(
    harness: PostmarkInquiryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_WITHIN", 0.2)
    harness.make_trouble(Trouble.HANG)
    answers = await ask(harness.inquirer(), [question(harness, number) for number in range(1, 31)])
    assert {type(answer) for answer in answers} == {CannotTell}
    assert len(answers) == 30
