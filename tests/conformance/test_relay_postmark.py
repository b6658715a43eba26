"""Postmark's adapter against a fake /email and /email/batch that can misbehave in every scripted way."""

import base64
import json
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fake_http_relay import NOW, http
from fake_postmark import INACTIVE, mails, message_id, refusal, taken_as
from msgspec.structs import replace
from postmark_harness import TOKEN, BatchHarness, PostmarkHarness, job_id, rendered
from relay_laws import (
    Fault,
    Letter,
    RelayHarness,
    RelayLaws,
    gate_for,
    open_gate,
    send,
    send_one,
)

from posthouse.clock import ManualClock
from posthouse.domain.errors import Misconfigured
from posthouse.domain.event import BounceClass
from posthouse.domain.ids import RelayAccount
from posthouse.domain.message import Addressing, Attachment, Mailbox
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import SuppressionReason
from posthouse.net.client import HttpClient
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
from posthouse.relays.postmark import PostmarkAccount, PostmarkRelay, lists
from posthouse.relays.postmark import sender as adapter
from posthouse.relays.postmark.replies import CODES


@pytest.fixture
async def harness() -> AsyncIterator[PostmarkHarness]:
    async with PostmarkHarness() as opened:
        yield opened


@pytest.fixture
async def batches() -> AsyncIterator[BatchHarness]:
    async with BatchHarness() as opened:
        yield opened


class TestPostmark(RelayLaws):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[RelayHarness]:
        async with PostmarkHarness() as opened:
            yield opened


class TestPostmarkBatches(RelayLaws):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[RelayHarness]:
        async with BatchHarness() as opened:
            yield opened


async def test_the_request_says_all_of_the_mail(harness: PostmarkHarness) -> None:
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
            Attachment("logo.png", "image/png", b"png", content_id="<logo>"),
        ),
    )
    outcome = await send_one(harness.relay(), mail)
    assert outcome == Accepted(message_id(1), "200 ErrorCode 0: OK")
    [request] = harness.server.requests
    assert request.lines[0] == "POST /email HTTP/1.1"
    assert request.headers["x-postmark-server-token"] == TOKEN
    assert request.headers["accept"] == request.headers["content-type"] == "application/json"
    assert "accept-encoding" not in request.headers
    assert request.json == {
        "From": "hello@shop.example",
        "To": "\"Roe, Ann; 'the <first>'\" <ann@example.org>",
        "ReplyTo": '"Help, please" <help@shop.example>, two@shop.example',
        "Subject": "Your receipt",
        "TextBody": "Thank you.\n",
        "HtmlBody": "<p>Thank you</p>",
        "MessageStream": "letters",
        "Metadata": {"posthouse_job": str(job_id(7)), "posthouse_attempt": "3"},
        "TrackOpens": False,
        "TrackLinks": "None",
        "Headers": [
            {"Name": "Message-ID", "Value": "<7@shop.example>"},
            {"Name": "X-PM-KeepID", "Value": "true"},
            {"Name": "List-Id", "Value": "<news.shop.example>"},
        ],
        "Attachments": [
            {
                "Name": "receipt.pdf",
                "Content": base64.b64encode(b"\x00\x01").decode(),
                "ContentType": "application/pdf",
            },
            {
                "Name": "logo.png",
                "Content": base64.b64encode(b"png").decode(),
                "ContentType": "image/png",
                "ContentID": "cid:logo",
            },
        ],
    }
    for key, value in request.json["Metadata"].items():
        assert len(key) <= 20
        assert len(value) <= 80


async def test_no_name_brings_an_address_of_its_own(harness: PostmarkHarness) -> None:
    """Whatever Postmark makes of escaped quotes: there is none, so a quoted name ends where we end it."""
    name = 'Roe\\", eve@example.org, "'
    mail = replace(rendered(Letter()), addressing=Addressing(to=(Mailbox("ann@example.org", name),)))
    assert isinstance(await send_one(harness.relay(), mail), Accepted)
    [request] = harness.server.requests
    assert request.json["To"].count('"') == 2
    assert "\\" not in request.json["To"]
    assert request.json["To"].startswith('"')
    assert request.json["To"].endswith('" <ann@example.org>')


#: What a person must see to is the account's, what is wrong with a mail is the mail's.
CLASSES = {
    "message": RejectedMessage,
    "account": AccountTrouble,
    "throttled": TryLater,
    "down": TryLater,
    "doubt": OutcomeUnknown,
    "inactive": NotTried,
}


@pytest.mark.parametrize("code", [code for code in CODES if code != 0])
async def test_every_documented_code_has_its_class(harness: PostmarkHarness, code: int) -> None:
    answer = http("422 Unprocessable Entity", refusal(code, "Words."))
    harness.answer_with("ann@example.org", answer)
    outcome = await send_one(harness.relay(), rendered(Letter()))
    assert type(outcome) is CLASSES[CODES[code].reply_class], outcome
    assert f"ErrorCode {code}: Words." in repr(outcome)


async def test_a_code_means_the_same_within_a_batch(batches: BatchHarness) -> None:
    names = {code: f"c{code}@example.org" for code in CODES if code != 0}
    body = [{"ErrorCode": code, "Message": "Words."} for code in names]
    batches.answer_with(names[10], http("200 OK", json.dumps(body).encode()))
    relay = batches.relay_at(f"http://{batches.server.address}", max_batch=len(names))
    outcomes = await send(relay, [batches.mail(Letter(name)) for name in names.values()])
    for code, outcome in zip(names, outcomes, strict=True):
        assert type(outcome) is CLASSES[CODES[code].reply_class], (code, outcome)


def test_every_code_of_the_documentation_is_in_the_table() -> None:
    documented = {10, 11, 100, 101, 300, 402, 403, 406, 410, 411, 412, 413, 422, 1235, 1236, 1480}
    formerly = {0, 400, 401, 405, 409, 429, 1226}
    assert set(CODES) == documented | formerly
    assert all(row.meaning for row in CODES.values())
    table = tomllib.loads((Path(adapter.__file__).parent / "codes.toml").read_text())
    assert len(table["code"]) == len(CODES), "a code stands twice"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http("400 Bad Request"), RejectedMessage),
        (http("401 Unauthorized"), AccountTrouble),
        (http("401 Unauthorized", refusal(10, "No token.")), AccountTrouble),
        (http("403 Forbidden", b"<html>"), AccountTrouble),
        (http("404 Not Found"), AccountTrouble),
        (http("405 Method Not Allowed"), AccountTrouble),
        (http("408 Request Timeout"), TryLater),
        (http("413 Payload Too Large"), RejectedMessage),
        (http("413 Payload Too Large", refusal(413, "Too large.")), RejectedMessage),
        (http("415 Unsupported Media Type"), AccountTrouble),
        (http("422 Unprocessable", refusal(7777, "A code of tomorrow")), RejectedMessage),
        (http("422 Unprocessable", refusal(400, "The 'From' is no Sender Signature")), AccountTrouble),
        (http("422 Unprocessable", refusal(0, "Contradicts itself")), RejectedMessage),
        (http("500 Error", refusal(101, "An error that should not have occurred")), OutcomeUnknown),
        (http("500 Error"), OutcomeUnknown),
        (http("502 Bad Gateway"), OutcomeUnknown),
        (http("503 Unavailable"), TryLater),
        (http("503 Unavailable", refusal(100, "Maintenance")), TryLater),
        (http("504 Gateway Timeout"), OutcomeUnknown),
        (http("521 Web Server Is Down"), TryLater),
        (http("524 A Timeout Occurred"), OutcomeUnknown),
        (http("301 Moved", headers="Location: /elsewhere"), AccountTrouble),
        (http("202 Accepted"), OutcomeUnknown),
    ],
)
@pytest.mark.parametrize("stream", list(Stream))
async def test_statuses_have_their_class(
    harness: PostmarkHarness, answer: bytes, kind: type, stream: Stream
) -> None:
    harness.answer_with("ann@example.org", answer)
    harness.answer_with("bob@example.org", answer)
    letters = [rendered(Letter(f"{name}@example.org"), stream=stream) for name in ("ann", "bob")]
    for outcome in await send(harness.relay(), letters):
        assert type(outcome) is kind, outcome


@pytest.mark.parametrize(
    ("code", "message", "bounce"),
    [
        (300, "Invalid 'To' address: 'ann@nowhere'.", BounceClass.HARD),
        (300, "Error parsing 'To': Illegal email address 'ann'.", BounceClass.HARD),
        (300, "Invalid 'From' address: 'x'.", None),
        (300, "Provide either email TextBody or HtmlBody or both.", None),
    ],
)
async def test_only_a_clear_word_about_the_recipient_is_a_hard_bounce(
    harness: PostmarkHarness, code: int, message: str, bounce: BounceClass | None
) -> None:
    status = "200 OK" if code == 0 else "422 Unprocessable"
    body = json.dumps({**taken_as(1), "ErrorCode": code, "Message": message}).encode()
    harness.answer_with("ann@example.org", http(status, body))
    outcome = await send_one(harness.relay(), rendered(Letter()))
    if bounce is None:
        assert isinstance(outcome, RejectedMessage)
    else:
        assert isinstance(outcome, RejectedRecipient)
        assert outcome.bounce is bounce
    assert message in outcome.reply


@pytest.mark.parametrize(("headers", "seconds"), [("Retry-After: 7", 7.0), ("X-Nothing: 1", None)])
async def test_throttling_hints(harness: PostmarkHarness, headers: str, seconds: float | None) -> None:
    harness.answer_with("ann@example.org", http("429 Too Many Requests", b"", headers))
    outcome = await send_one(harness.relay(), rendered(Letter()))
    assert outcome == TryLater("429", retry_after=seconds, slow_relay=True)


async def test_an_echoed_token_is_not_stored(harness: PostmarkHarness) -> None:
    harness.answer_with("ann@example.org", http("422 Huh", refusal(300, f"you sent {TOKEN}\0")))
    outcome = await send_one(harness.relay(), rendered(Letter()))
    assert isinstance(outcome, RejectedMessage)
    assert TOKEN not in outcome.reply
    assert "\0" not in outcome.reply
    assert TOKEN not in repr(PostmarkAccount(account=RelayAccount("a"), server_token=TOKEN))


async def test_transactional_mail_goes_alone_and_marketing_mail_together(harness: PostmarkHarness) -> None:
    both = [
        rendered(Letter(f"r{n}@example.org"), stream=Stream.MARKETING if n % 2 else Stream.TRANSACTIONAL)
        for n in range(12)
    ]
    outcomes = await send(harness.relay(), both)
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 12
    seen = sorted((request.lines[0], len(mails(request))) for request in harness.server.requests)
    alone, batch = ("POST /email HTTP/1.1", 1), ("POST /email/batch HTTP/1.1", 5)
    # Six of marketing: one batch of five, and one that is left and needs no batch.
    assert seen == [alone] * 7 + [batch]


async def test_a_batch_stays_below_postmarks_limit_of_bytes(
    batches: BatchHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "MAX_BATCH_BYTES", 3_000)
    letters = [batches.mail(Letter(f"r{n}@example.org", text="x" * 500)) for n in range(10)]
    outcomes = await send(batches.relay_at(f"http://{batches.server.address}", max_batch=500), letters)
    assert [type(outcome) for outcome in outcomes] == [Accepted] * 10
    sizes = [len(request.body) for request in batches.server.requests]
    assert max(sizes) <= 3_000
    assert len(sizes) == 4


@pytest.mark.parametrize("stream", list(Stream))
async def test_an_address_on_postmarks_own_list_is_not_tried_and_its_reason_is_looked_up(
    harness: PostmarkHarness, stream: Stream
) -> None:
    harness.server.listed = {
        "Bounced@example.org": ("HardBounce", "Recipient"),
        "spam@example.org": ("SpamComplaint", "Recipient"),
        "left@example.org": ("ManualSuppression", "Recipient"),
        "off@example.org": ("ManualSuppression", "Customer"),
        "new@example.org": ("ReasonOfTomorrow", "Recipient"),
    }
    names = ["bounced", "spam", "left", "off", "new", "gone"]
    said = [{"ErrorCode": 406, "Message": INACTIVE}] * len(names)
    for name in names:
        alone = http("422 Unprocessable", json.dumps(said[0]).encode())
        batch = http("200 OK", json.dumps(said).encode())
        harness.answer_with(f"{name}@example.org", batch if stream is Stream.MARKETING else alone)
    relay = harness.relay_at(f"http://{harness.server.address}", max_batch=50)
    letters = [rendered(Letter(f"{name}@example.org"), stream=stream) for name in names]
    outcomes = await send(relay, letters)
    found = [outcome.listed_for for outcome in outcomes if isinstance(outcome, NotTried)]
    bounce, spam, left = SuppressionReason.BOUNCE, SuppressionReason.SPAM, SuppressionReason.UNSUBSCRIBE
    assert found == [bounce, spam, left, None, None, None]
    for outcome in outcomes:
        assert isinstance(outcome, NotTried)
        assert INACTIVE in outcome.reply


@pytest.mark.parametrize(
    "raw",
    [b"", http("401 Unauthorized"), http("200 OK", b"[]"), http("200 OK", b'{"Suppressions":[5]}'), None],
)
async def test_a_list_that_tells_nothing_changes_nothing_and_holds_nobody_up(
    harness: PostmarkHarness, monkeypatch: pytest.MonkeyPatch, raw: bytes | None
) -> None:
    monkeypatch.setattr(lists, "_WITHIN", 0.2)
    harness.server.asides_hang, harness.server.raw_aside = raw is None, raw
    harness.answer_with("ann@example.org", http("422 Unprocessable", refusal(406, INACTIVE)))
    outcomes = await send(harness.relay(), [rendered(Letter()), rendered(Letter("bob@example.org"))])
    assert outcomes[0] == NotTried(f"422 ErrorCode 406: {INACTIVE}")
    assert isinstance(outcomes[1], Accepted)


async def test_mail_that_is_taken_and_delivered_to_nobody_is_not_sent(harness: PostmarkHarness) -> None:
    message = "Message OK, but will not deliver to these inactive addresses: ann@example.org"
    body = json.dumps({**taken_as(1), "Message": message}).encode()
    harness.answer_with("ann@example.org", http("200 OK", body))
    assert isinstance(await send_one(harness.relay(), rendered(Letter())), NotTried)


async def test_a_whole_batch_of_long_answers_is_read(batches: BatchHarness) -> None:
    letters = [batches.mail(Letter(f"r{n}@example.org")) for n in range(500)]
    said = [{"ErrorCode": 406, "Message": INACTIVE} for _ in letters]
    batches.answer_with("r0@example.org", http("200 OK", json.dumps(said).encode()))
    relay = batches.relay_at(f"http://{batches.server.address}", max_batch=500)
    outcomes = await send(relay, letters)
    assert [type(outcome) for outcome in outcomes] == [NotTried] * 500


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"[]", b"OK", json.dumps([taken_as(1)]).encode(), json.dumps([taken_as(1)] * 3).encode(),
        b'[{"ErrorCode":0,"MessageID":"%s"},5]' % message_id(1).encode(), json.dumps(taken_as(1)).encode(),
        b"[" * 100_000,
    ],
)  # fmt: skip
async def test_a_batch_that_is_not_answered_mail_by_mail_is_doubt(batches: BatchHarness, body: bytes) -> None:
    batches.answer_with("a@example.org", http("200 OK", body))
    outcomes = await send(batches.relay(), [batches.mail(Letter(f"{n}@example.org")) for n in "ab"])
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown] * 2


@pytest.mark.parametrize("status", ["422 Unprocessable", "413 Payload Too Large", "400 Bad Request"])
async def test_a_batch_refused_as_a_whole_is_sent_mail_by_mail(batches: BatchHarness, status: str) -> None:
    """A refusal of the whole took nothing; one bad mail must not cost its neighbours."""
    batches.server.batch_answer = http(status, refusal(403, "Invalid request field(s): 'Metadata'."))
    batches.script("r3@example.org", Fault.REJECT_MESSAGE)
    outcomes = await send(batches.relay(), [batches.mail(Letter(f"r{n}@example.org")) for n in range(5)])
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [Accepted, Accepted, Accepted, RejectedMessage, Accepted]


async def test_one_closed_gate_holds_its_request_back(batches: BatchHarness) -> None:
    outcomes = await send(
        batches.relay(), [batches.mail(Letter(f"r{n}@example.org")) for n in range(5)], gate_for(4)
    )
    assert [type(outcome) for outcome in outcomes] == [NotBegun] * 5
    assert batches.begun() == 0


async def test_no_slot_in_time_is_not_begun(harness: PostmarkHarness) -> None:
    harness.script("slow@example.org", Fault.HANG_AFTER_BODY)
    relay = harness.relay_at(f"http://{harness.server.address}", max_concurrency=1, slot_wait=0.05)
    many = [rendered(Letter(f"r{n}@example.org"), stream=Stream.MARKETING) for n in range(3)]
    outcomes = await send(relay, [rendered(Letter("slow@example.org")), rendered(Letter()), *many])
    assert isinstance(outcomes[0], OutcomeUnknown)
    assert [type(outcome) for outcome in outcomes[1:]] == [NotBegun] * 4
    assert harness.begun() == 1


async def test_a_private_base_url_is_the_operators_trouble(harness: PostmarkHarness) -> None:
    settings = PostmarkAccount(
        account=RelayAccount("a"), server_token=TOKEN, base_url=f"https://{harness.server.address}"
    )
    relay = PostmarkRelay(settings, HttpClient(EgressPolicy()), ManualClock(NOW))
    outcome = await send_one(relay, rendered(Letter()))
    assert isinstance(outcome, AccountTrouble)
    assert harness.server.connections == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"server_token": ""},
        {"server_token": "a b"},
        {"max_batch": 0},
        {"max_batch": 501},
    ],
)
def test_an_account_that_cannot_be_is_the_operators_error(wrong: dict[str, str | int]) -> None:
    with pytest.raises(Misconfigured):
        PostmarkAccount(**{"account": RelayAccount("a"), "server_token": TOKEN} | wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["ftp://x.example", "https://", "https://u@x.example", "http://x.example/?a=1"]
)
def test_a_base_url_that_cannot_be_is_the_operators_error(url: str) -> None:
    settings = PostmarkAccount(account=RelayAccount("a"), server_token=TOKEN, base_url=url)
    with pytest.raises(Misconfigured):
        PostmarkRelay(settings, HttpClient(EgressPolicy()), ManualClock(NOW))


async def test_after_close_nothing_is_begun(harness: PostmarkHarness) -> None:
    relay = harness.relay()
    await relay.close()
    [outcome] = await relay.send_many([rendered(Letter())], open_gate)
    assert isinstance(outcome, TryLater)
    assert harness.begun() == 0
