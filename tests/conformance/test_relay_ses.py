"""SES's adapter against a fake SES that can misbehave in every scripted way."""

from collections.abc import AsyncIterator, Sequence
from email import message_from_string
from email.policy import SMTP

import pytest
from fake_http_relay import NOW, http
from fake_ses import UNLIMITED, FakeSes, error, message_of, received
from http_harness import HttpHarness
from msgspec.structs import replace
from raw_letters import JOB, raw, rendered
from relay_laws import Fault, Letter, Received, RelayHarness, RelayLaws, open_gate, send, send_one

from posthouse.clock import ManualClock, SystemClock
from posthouse.domain.errors import Misconfigured
from posthouse.domain.event import BounceClass
from posthouse.domain.ids import RelayAccount
from posthouse.domain.message import RawMail, Rendered
from posthouse.domain.suppression import SuppressionReason
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    NotBegun,
    NotTried,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    TryLater,
)
from posthouse.relays.ses.api import AwsApi, endpoint
from posthouse.relays.ses.sender import QUOTA_EVERY, SesAccount, SesRelay, capabilities
from posthouse.relays.ses.sigv4 import Credentials, Scope

KEYS = Credentials("AKIDEXAMPLE", "a-secret-that-must-not-show", "a-session-token")


class SesHarness(HttpHarness[FakeSes, SesRelay]):
    def __init__(self, account: object = UNLIMITED) -> None:
        super().__init__(FakeSes(account))

    def relay_at(
        self,
        base_url: str,
        *,
        max_concurrency: int = 32,
        clock: ManualClock | None = None,
    ) -> SesRelay:
        host = base_url.partition("://")[2]
        limits = ClientLimits(connect=0.5, total=0.8, connections=max_concurrency)
        clock = clock or ManualClock(NOW)
        api = AwsApi(HttpClient(EgressPolicy(frozenset({host})), limits), lambda: KEYS, clock)
        settings = SesAccount(
            account=RelayAccount("sim"),
            endpoint=endpoint(base_url, Scope("eu-west-1", "ses"), "base_url"),
            configuration_set="main",
            capabilities=capabilities(hears_events=True),
            max_concurrency=max_concurrency,
            slot_wait=1.0,
        )
        return SesRelay(settings, api, clock)

    def mail(self, letter: Letter) -> RawMail:
        return raw(letter)

    def unsupported(self) -> Sequence[Rendered | RawMail]:
        plain = raw(Letter())
        return [
            rendered(),
            replace(plain, smtputf8=True),
            replace(plain, recipient=""),
            replace(plain, recipient="grüße@example.org"),
            replace(plain, data=b"Subject: nobody's\r\n\r\nFrom: body@shop.example\r\n"),
            replace(plain, data=b"From:  \r\n\r\n"),
            replace(plain, data=plain.data + bytes(40_000_000)),
        ]

    def garbage(self) -> Sequence[bytes]:
        return [
            b"",
            b"\x00\xff\xfe garbage",
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 OK\r\n",
            http("200 OK"),
            http("200 OK", b'{"MessageId":""}'),
            http("200 OK", b'{"MessageId":"  "}'),
            http("200 OK", b'{"MessageId":5}'),
            http("200 OK", b'{"messageId":"x"}'),
            http("200 OK", b'["MessageId"]'),
            http("200 OK", b"[" * 50_000),
            http("200 OK", b"<SendEmailResponse><MessageId>x</MessageId></SendEmailResponse>"),
            http("201 Created", b'{"MessageId":"x"}'),
            http("202 Accepted", b'{"MessageId":"x"}'),
            http("302 Found", headers="Location: http://169.254.169.254/"),
            http("999 What", b'{"MessageId":"x"}'),
            b"HTTP/1.1 99999 Huh\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            http("400 Bad Request", b"[" * 50_000),
            http("400 Bad Request", b'{"message":5,"__type":[]}', "x-amzn-ErrorType: "),
            http("400 Bad Request", b"\xff\xfe\x00" * 1000),
            http("500 Error", b"x" * 1_000_000),
            http("429 Too Many", b"", "Retry-After: never"),
        ]

    def received(self) -> Sequence[Received]:
        return [received(request) for request in self.server.requests]


@pytest.fixture
async def harness() -> AsyncIterator[SesHarness]:
    async with SesHarness() as opened:
        yield opened


class TestSes(RelayLaws):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[RelayHarness]:
        async with SesHarness() as opened:
            yield opened


async def test_the_request_says_all_of_the_mail(harness: SesHarness) -> None:
    long_name = "Žofie Łukasz 山田 " * 8
    mail = raw(Letter(sender_name=long_name.strip(), text="Grüße\n"), attempt=3)
    assert isinstance(await send_one(harness.relay(), mail), Accepted)
    [request] = harness.server.requests
    assert request.lines[0] == "POST /v2/email/outbound-emails HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-amz-security-token"] == "a-session-token"
    assert request.headers["authorization"].startswith(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260301/eu-west-1/ses/aws4_request, "
        "SignedHeaders=content-type;host;user-agent;x-amz-date;x-amz-security-token, Signature="
    )
    body = dict(request.json)
    sender, content = body.pop("FromEmailAddress"), body.pop("Content")
    assert set(content) == {"Raw"}
    assert body == {
        "Destination": {"ToAddresses": ["ann@example.org"]},
        "EmailTags": [
            {"Name": "posthouse_job", "Value": str(JOB)},
            {"Name": "posthouse_attempt", "Value": "3"},
        ],
        "ConfigurationSetName": "main",
    }
    assert "\n" not in sender
    assert sender.endswith("<hello@shop.example>")
    assert message_from_string(f"From: {sender}\n\n", policy=SMTP)["From"] == message_of(request)["From"]


@pytest.mark.parametrize(
    ("status", "name", "message", "kind"),
    [
        ("429 Too Many", "TooManyRequestsException", "Maximum sending rate exceeded.", TryLater),
        ("429 Too Many", "TooManyRequestsException", "Daily message quota exceeded.", TryLater),
        ("400 Bad", "Throttling", "Maximum sending rate exceeded.", TryLater),
        ("400 Bad", "ThrottlingException", "Rate exceeded", TryLater),
        ("400 Bad", "LimitExceededException", "Too many instances", TryLater),
        ("400 Bad", "MessageRejected", "Email address is not verified. x@shop.example", AccountTrouble),
        ("400 Bad", "MessageRejected", "Address blacklisted.", NotTried),
        ("400 Bad", "MessageRejected", "Address is on the suppression list", NotTried),
        ("400 Bad", "MessageRejected", "Message contains illegal content", RejectedMessage),
        ("400 Bad", "MailFromDomainNotVerifiedException", "not configured", AccountTrouble),
        ("400 Bad", "AccountSuspendedException", "The account's ability to send is lost", AccountTrouble),
        ("400 Bad", "SendingPausedException", "Sending is paused", AccountTrouble),
        ("400 Bad", "BadRequestException", "Invalid email address <ann@example.org>.", RejectedRecipient),
        ("400 Bad", "BadRequestException", "Invalid email address <hello@shop.example>.", RejectedMessage),
        ("400 Bad", "BadRequestException", "Expected 'MIME-Version'", RejectedMessage),
        ("400 Bad", "ValidationException", "1 validation error detected", RejectedMessage),
        ("400 Bad", "ExpiredTokenException", "The security token is expired", AccountTrouble),
        ("404 Not Found", "NotFoundException", "Configuration set <main> does not exist.", AccountTrouble),
        ("403 Forbidden", "AccessDeniedException", "not authorized to perform ses:SendEmail", AccountTrouble),
        ("403 Forbidden", "SignatureDoesNotMatch", "Signature expired: 20260301T000000Z", AccountTrouble),
        ("403 Forbidden", "InvalidClientTokenId", "The security token is invalid", AccountTrouble),
        ("403 Forbidden", "ExpiredTokenException", "The security token is expired", AccountTrouble),
        ("403 Forbidden", "com.amazon.coral.service#UnrecognizedClientException", "x", AccountTrouble),
        ("409 Conflict", "ConflictException", "being changed", TryLater),
        ("413 Too Large", "RequestEntityTooLargeException", "too large", RejectedMessage),
        ("500 Error", "InternalServiceErrorException", "x", TryLater),
        ("503 Unavailable", "ServiceUnavailableException", "x", TryLater),
        ("418 Teapot", "SomethingNew", "x", RejectedMessage),
        ("404 Not Found", "", "x", AccountTrouble),
        ("301 Moved", "", "x", AccountTrouble),
        ("502 Bad Gateway", "", "x", TryLater),
        ("504 Gateway Timeout", "", "x", OutcomeUnknown),
        ("408 Request Timeout", "", "x", TryLater),
        ("204 No Content", "", "", OutcomeUnknown),
    ],
)
async def test_documented_answers_have_their_class(
    harness: SesHarness, status: str, name: str, message: str, kind: type
) -> None:
    body, header = error(name, message)
    harness.answer_with("ann@example.org", http(status, body, header))
    outcome = await send_one(harness.relay(), raw(Letter()))
    assert type(outcome) is kind, outcome


async def test_a_used_up_day_waits_and_a_wrong_clock_is_named(harness: SesHarness) -> None:
    over = error("TooManyRequestsException", "Daily message quota exceeded.")
    late = error("SignatureDoesNotMatch", "Signature not yet current: 20260301T000000Z")
    harness.answer_with("quota@example.org", http("429 Too Many", *over))
    harness.answer_with("clock@example.org", http("403 Forbidden", *late))
    relay = harness.relay()
    day, clock = await send(relay, [raw(Letter("quota@example.org")), raw(Letter("clock@example.org"))])
    assert isinstance(day, TryLater)
    assert (day.retry_after, day.slow_relay) == (600.0, True)
    assert isinstance(clock, AccountTrouble)
    assert "clock" in clock.reply


async def test_only_an_address_that_is_none_bounces_and_a_listed_one_was_not_tried(
    harness: SesHarness,
) -> None:
    harness.script("gone@example.org", Fault.REJECT_RECIPIENT)
    harness.answer_with("ann@example.org", http("400 Bad", *error("MessageRejected", "Address blacklisted.")))
    gone, listed = await send(harness.relay(), [raw(Letter("gone@example.org")), raw(Letter())])
    assert isinstance(gone, RejectedRecipient)
    assert gone.bounce is BounceClass.HARD
    assert isinstance(listed, NotTried)
    assert listed.listed_for is SuppressionReason.BOUNCE


async def test_an_echoed_token_is_not_stored(harness: SesHarness) -> None:
    body, header = error("AccessDenied", "you sent a-session-token \0")
    harness.answer_with("ann@example.org", http("403 Forbidden", body, header))
    outcome = await send_one(harness.relay(), raw(Letter()))
    assert isinstance(outcome, AccountTrouble)
    assert "a-session-token" not in outcome.reply
    assert "\0" not in outcome.reply
    assert "secret" not in repr(KEYS)
    assert "session" not in repr(KEYS).replace("session_token", "")


async def test_without_credentials_the_account_is_in_trouble(harness: SesHarness) -> None:
    def none() -> Credentials:
        raise Misconfigured("The secret file /run/key cannot be read.")

    host = harness.server.address
    api = AwsApi(HttpClient(EgressPolicy(frozenset({host}))), none, ManualClock(NOW))
    settings = SesAccount(
        account=RelayAccount("a"),
        endpoint=endpoint(f"http://{host}", Scope("eu-west-1", "ses"), "base_url"),
        configuration_set="",
        capabilities=capabilities(hears_events=False),
    )
    outcome = await send_one(SesRelay(settings, api, ManualClock(NOW)), raw(Letter()))
    assert outcome == AccountTrouble("The secret file /run/key cannot be read.")
    assert harness.begun() == 0


async def test_the_accounts_rate_is_kept_and_nothing_waits_long() -> None:
    limited = {"SendQuota": {"Max24HourSend": 200, "MaxSendRate": 2, "SentLast24Hours": 190}}
    async with SesHarness(limited) as harness:
        clock = ManualClock(NOW)
        relay = harness.relay_at(f"http://{harness.server.address}", clock=clock)
        await relay.send_many([raw(Letter())], open_gate)
        await harness.server.asked(1)
        clock.advance(10.0)
        while True:  # until the answer is read
            outcomes = await relay.send_many([raw(Letter(f"r{n}@example.org")) for n in range(9)], open_gate)
            waiting = [o for o in outcomes if isinstance(o, NotBegun)]
            if waiting:
                break
            clock.advance(10.0)
        assert [type(o) for o in outcomes].count(
            Accepted
        ) == 3  # half a second made up for, one now, one waited
        assert all(o.resumes_in is not None and 0.5 < o.resumes_in <= 5.0 for o in waiting)
        await relay.close()


async def test_the_quota_is_asked_for_again_after_a_while(harness: SesHarness) -> None:
    clock = ManualClock(NOW)
    relay = harness.relay_at(f"http://{harness.server.address}", clock=clock)
    await relay.send_many([raw(Letter())], open_gate)
    await harness.server.asked(1)
    await relay.send_many([raw(Letter())], open_gate)
    assert len(harness.server.asides) == 1
    clock.advance(QUOTA_EVERY)
    await relay.send_many([raw(Letter())], open_gate)
    await harness.server.asked(2)
    await relay.close()


async def test_a_private_base_url_is_the_operators_trouble(harness: SesHarness) -> None:
    api = AwsApi(HttpClient(EgressPolicy()), lambda: KEYS, SystemClock())
    settings = SesAccount(
        account=RelayAccount("a"),
        endpoint=endpoint(f"https://{harness.server.address}", Scope("eu-west-1", "ses"), "base_url"),
        configuration_set="",
        capabilities=capabilities(hears_events=True),
    )
    outcome = await send_one(SesRelay(settings, api, SystemClock()), raw(Letter()))
    assert isinstance(outcome, AccountTrouble)
    assert harness.server.connections == 0


@pytest.mark.parametrize(
    "url", ["", "ses", "ftp://ses.example", "https://user@ses.example", "https://x/?a=b"]
)
def test_a_url_that_is_none_names_its_setting(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"relays\.ses\.base_url"):
        endpoint(url, Scope("eu-west-1", "ses"), "relays.ses.base_url")
