"""Postmark's adapter and a fake of its API, as the laws of the relay port ask for them."""

import json
from collections.abc import Mapping, Sequence

from fake_http_relay import NOW, http
from fake_postmark import FakePostmark, mails, message_id, taken_as
from http_harness import HttpHarness
from msgspec.structs import replace
from relay_laws import Letter, Received

from posthouse.clock import ManualClock
from posthouse.domain.address import parse_mailbox
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.domain.message import Addressing, Attachment, Mailbox, RawMail, Rendered
from posthouse.domain.stream import Stream
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.postmark import PostmarkAccount, PostmarkRelay
from posthouse.relays.postmark import sender as adapter

TOKEN = "a-server-token-that-must-not-show"
TOGETHER = 5


def job_id(number: int) -> JobId:
    return JobId(uuid7(int(NOW.timestamp() * 1000), number))


def rendered(letter: Letter, number: int = 1, stream: Stream = Stream.TRANSACTIONAL) -> Rendered:
    return Rendered(
        job_id=job_id(number),
        attempt=1,
        stream=stream,
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


class PostmarkHarness(HttpHarness[FakePostmark, PostmarkRelay]):
    stream = Stream.TRANSACTIONAL

    def __init__(self) -> None:
        super().__init__(FakePostmark())

    def relay_at(
        self, base_url: str, *, max_concurrency: int = 32, slot_wait: float = 1.0, max_batch: int = TOGETHER
    ) -> PostmarkRelay:
        host = base_url.partition("://")[2]
        settings = PostmarkAccount(
            account=RelayAccount("sim"),
            server_token=TOKEN,
            message_stream="letters",
            base_url=base_url,
            max_batch=max_batch,
            max_concurrency=max_concurrency,
            slot_wait=slot_wait,
        )
        limits = ClientLimits(
            connect=0.5, total=0.8, connections=max_concurrency, reply_bytes=adapter.REPLY_BYTES
        )
        client = HttpClient(EgressPolicy(frozenset({host})), limits)
        return PostmarkRelay(settings, client, ManualClock(NOW))

    def mail(self, letter: Letter) -> Rendered:
        return rendered(letter, stream=self.stream)

    def unsupported(self) -> Sequence[Rendered | RawMail]:
        plain = self.mail(Letter())
        shown = Addressing(to=(Mailbox("ann@example.org"), Mailbox("bob@example.org")))
        return [
            RawMail(plain.job_id, 1, "b@shop.example", "ann@example.org", b"Subject: x\r\n\r\n", False),
            replace(plain, addressing=shown),
            replace(plain, addressing=Addressing(to=(Mailbox("bob@example.org"),))),
            replace(plain, addressing=Addressing(cc=(Mailbox("ann@example.org"),))),
            replace(plain, headers=(("DKIM-Signature", "v=1"),)),
            replace(plain, headers=(("X-PM-Bounce-Type", "HardBounce"),)),
            replace(plain, headers=(("Bad Name", "x"),)),
            replace(plain, headers=(("X-A", "1"), ("x-a", "2"))),
            replace(plain, headers=(("X-A", "1\r\nBcc: eve@example.org"),)),
            replace(plain, subject="one\ntwo"),
            replace(plain, text=""),
            replace(plain, text="half a pair: \ud83d"),
            replace(plain, recipient=""),
            replace(plain, recipient="ann@example.org,eve@example.org", addressing=Addressing()),
            replace(plain, sender=Mailbox("grüße@shop.example")),
            replace(plain, attachments=(Attachment("a.bin", "application/x", bytes(8_000_000)),)),
        ]

    def garbage(self) -> Sequence[bytes]:
        return [
            b"",
            b"\x00\xff\xfe garbage",
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 OK\r\n",
            http("200 OK"),
            http("200 OK", b"OK"),
            http("200 OK", b"{}"),
            http("200 OK", b"null"),
            http("200 OK", b"[]"),
            http("200 OK", json.dumps([taken_as(1)]).encode()),
            http("200 OK", b'{"Message":"OK","MessageID":"%s"}' % message_id(1).encode()),
            http("200 OK", b'{"ErrorCode":0,"Message":"OK"}'),
            http("200 OK", b'{"ErrorCode":"0","Message":"OK","MessageID":"%s"}' % message_id(1).encode()),
            http("200 OK", b'{"ErrorCode":0,"MessageID":"   "}'),
            http("200 OK", b'{"ErrorCode":0,"MessageID":"00000000-0000-0000-0000-000000000000"}'),
            http("200 OK", b'{"ErrorCode":0,"MessageID":7}'),
            http("200 OK", json.dumps(taken_as(1)).encode()[:-1]),
            http("200 OK", b"[" * 100_000),
            http("201 Created", json.dumps(taken_as(1)).encode()),
            http("202 Accepted", json.dumps(taken_as(1)).encode()),
            http("204 No Content"),
            http("302 Found", headers="Location: http://169.254.169.254/"),
            http("422 Unprocessable", json.dumps(taken_as(1)).encode()),
            http("500 Error", json.dumps(taken_as(1)).encode()),
            http("999 What", json.dumps(taken_as(1)).encode()),
            b"HTTP/1.1 99999 Huh\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"220 mail.example ESMTP\r\n250 OK\r\n",
            http("422 Unprocessable", b"[" * 50_000),
            http("422 Unprocessable", b'{"ErrorCode":{},"Message":[]}'),
            http("422 Unprocessable", b"\xff\xfe\x00" * 1000),
            http("500 Error", b"x" * 2_000_000),
            http("429 Too Many", b"", "Retry-After: never"),
        ]

    def received(self) -> Sequence[Received]:
        return [received(mail) for request in self.server.requests for mail in mails(request)]


def received(mail: Mapping[str, object]) -> Received:
    headers = mail["Headers"]
    assert isinstance(headers, list)
    return Received(
        recipient=parse_mailbox(str(mail["To"])).address,
        subject=str(mail["Subject"]),
        sender_name=parse_mailbox(str(mail["From"])).name,
        text=str(mail["TextBody"]),
        headers={header["Name"].lower(): header["Value"] for header in headers},
    )


class BatchHarness(PostmarkHarness):
    together = TOGETHER
    stream = Stream.MARKETING
