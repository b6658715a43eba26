"""Random and mutated callbacks and replies: each is read or refused, and none is an acceptance by chance."""

import json
from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.clock import ManualClock
from posthouse.domain.errors import InvalidInput
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.domain.message import Addressing, Mailbox, Rendered
from posthouse.domain.stream import Stream
from posthouse.ingest.normalize import Normalized, normalize
from posthouse.relays.base import RawCallback
from posthouse.relays.postmark import PostmarkCallbacks, PostmarkSecrets
from posthouse.relays.postmark.replies import ReplyClass, class_of, class_of_status, each_said, said
from posthouse.relays.postmark.request import request_body
from posthouse.simulator.postmark_schema import addresses

NOW = datetime(2026, 3, 1, tzinfo=UTC)
JOB = JobId(uuid7(int(NOW.timestamp() * 1000), 1))
SECRETS = PostmarkSecrets(user="posthouse", password="secret", header_name="X-Hook", header_value="secret")
READER = PostmarkCallbacks(RelayAccount("pm"), SECRETS, ManualClock(NOW))
FIELDS = [
    "RecordType", "ID", "Type", "TypeCode", "MessageID", "Recipient", "Email", "Details", "Description",
    "DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt", "OriginalLink", "UserAgent", "SuppressSending",
    "SuppressionReason", "Origin", "Metadata",
]  # fmt: skip
WORDS = [
    "Delivery", "Bounce", "SpamComplaint", "Open", "Click", "SubscriptionChange", "HardBounce", "Transient",
    "ManualSuppression", "Recipient", "smtp;550 5.1.1 no", "2026-03-01T00:00:00.1234567-05:00", str(JOB), "2",
]  # fmt: skip

texts = st.text(st.characters(), max_size=20) | st.sampled_from(WORDS)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
ours = st.just({"Metadata": {"posthouse_job": str(JOB), "posthouse_attempt": "1"}})
records = st.builds(
    lambda a, b: {**a, **b}, st.dictionaries(st.sampled_from(FIELDS), values, max_size=10), ours | st.just({})
)
codes = st.sampled_from([0, 10, 100, 300, 406, 413, 429, 7777]) | st.integers()
replies = st.fixed_dictionaries(
    {}, optional={"ErrorCode": codes | values, "Message": values, "MessageID": values}
)


NASTY_NAMES = [
    'Roe\\", eve@example.org, "', '", <eve@example.org>, "', "a, b@c.org", "<eve@example.org>", '"', "\\",
    "'", ",", "a\u2028b",
    "eve@example.org>", "Ann <eve@example.org", "=?utf-8?q?eve=40example.org=2C?=",
]  # fmt: skip


def rendered(name: str) -> Rendered:
    return Rendered(
        job_id=JOB,
        attempt=1,
        stream=Stream.TRANSACTIONAL,
        return_path="bounce@shop.example",
        recipient="ann@example.org",
        sender=Mailbox("hello@shop.example", name),
        addressing=Addressing(
            to=(Mailbox("ann@example.org", name),),
            reply_to=(Mailbox("help@shop.example", name), Mailbox("two@shop.example")),
        ),
        subject="Hi",
        text="Hi",
        html=None,
        message_id="<1@shop.example>",
        date=NOW,
    )


def callback(body: bytes, authorization: str = "", header: str = "") -> RawCallback:
    return RawCallback(
        "postmark", RelayAccount("pm"), {"authorization": authorization, "x-hook": header}, body
    )


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda junk: b"{" + junk + b"}"))
@settings(max_examples=400)
def test_any_bytes(body: bytes) -> None:
    try:
        READER.parse(callback(body))
    except InvalidInput:
        assert not isinstance(normalize(callback(body), READER), Normalized)


@given(records)
@settings(max_examples=400)
def test_any_record_is_kept(record: dict[str, object]) -> None:
    result = normalize(callback(json.dumps(record).encode()), READER)
    assert isinstance(result, Normalized)
    assert len(result.events) + len(result.unplaced) == 1
    for event in result.events:
        assert event.job_id == JOB
        assert event.occurred_at.tzinfo is not None
        for text in (event.reason, event.diagnostic, event.url, event.user_agent, event.provider_message_id):
            assert text is None or ("\0" not in text and text.encode("utf-8") is not None)


@given(st.text(max_size=120), st.text(max_size=20), st.binary(max_size=50))
@settings(max_examples=300)
def test_no_header_makes_verify_raise_or_pass(authorization: str, header: str, body: bytes) -> None:
    assert READER.verify(callback(body, authorization, header)) is False


@given(st.binary(max_size=200) | replies.map(lambda reply: json.dumps(reply).encode()), st.integers(100, 999))
@settings(max_examples=400)
def test_any_reply_has_a_class_and_no_refusal_accepts(body: bytes, status: int) -> None:
    words = said(body)
    assert class_of_status(status, words) is not ReplyClass.ACCEPTED
    if words is not None and class_of(words) is ReplyClass.ACCEPTED:
        assert words.error_code == 0


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60) | st.sampled_from(NASTY_NAMES))
@settings(max_examples=300)
def test_no_display_name_becomes_a_recipient(name: str) -> None:
    """Read by a parser that is not ours, and knows no escapes: Postmark documents none."""
    letter = rendered(name)
    request = msgspec.json.decode(request_body(letter, "outbound"))
    assert addresses("To", request["To"]) == ["ann@example.org"]
    assert addresses("From", request["From"]) == ["hello@shop.example"]
    assert addresses("ReplyTo", request["ReplyTo"]) == ["help@shop.example", "two@shop.example"]


@given(st.lists(replies, max_size=4) | values, st.integers(0, 4))
@settings(max_examples=200)
def test_a_batch_is_answered_for_each_mail_or_not_at_all(answer: object, mails: int) -> None:
    items = each_said(json.dumps(answer).encode(), mails)
    assert items is None or len(items) == mails
