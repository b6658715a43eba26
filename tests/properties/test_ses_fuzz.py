"""Random and mutated messages of SNS's and SES's: verify answers, parse reads or raises InvalidInput."""

import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from sns_side import ALLOWED, ARN, BASE, FILE, NOW, FakeSns, body, envelope, sign, stamp

from posthouse.clock import ManualClock
from posthouse.domain.errors import InvalidInput
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.ingest.normalize import Normalized, normalize
from posthouse.net.client import Reply
from posthouse.relays.base import Accepted, RawCallback
from posthouse.relays.ses.callbacks import SesCallbacks
from posthouse.relays.ses.quota import account_state
from posthouse.relays.ses.replies import failure, outcome_of
from posthouse.relays.ses.sns import read_envelope

JOB = JobId(uuid7(int(NOW.timestamp() * 1000), 1))
READER = SesCallbacks(RelayAccount("ses"), [ALLOWED], FakeSns(), ManualClock(NOW))
GENUINE = sign(envelope("{}"))
asyncio.run(READER.prepare(RawCallback("ses", READER.account, {}, body(GENUINE))))

NAMES = [
    "eventType", "notificationType", "mail", "bounce", "complaint", "delivery", "deliveryDelay", "open",
    "click", "subscription", "reject", "failure", "bouncedRecipients", "complainedRecipients", "recipients",
    "destination", "delayedRecipients", "emailAddress", "status", "diagnosticCode", "bounceType",
    "bounceSubType", "timestamp", "feedbackId", "tags", "headers", "commonHeaders", "messageId", "name",
    "value", "newTopicPreferences", "topicSubscriptionStatus", "link", "userAgent", "posthouse_job",
    "posthouse_attempt",
]  # fmt: skip
WORDS = [
    "Send", "Delivery", "Bounce", "Complaint", "DeliveryDelay", "Open", "Click", "Subscription", "Reject",
    "Rendering Failure", "Permanent", "Transient", "General", "5.1.1", str(JOB), f"{JOB}.1", "X-Posthouse-Id",
    stamp(NOW), f"<{JOB.hex}@x>",
]  # fmt: skip

texts = st.text(st.characters(), max_size=20) | st.sampled_from(WORDS)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | texts, inner, max_size=4)
    ),
    max_leaves=12,
)
messages = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)
tagged = st.just({"tags": {"posthouse_job": [str(JOB)], "posthouse_attempt": ["1"]}})
mails = st.builds(
    lambda a, b: {**a, **b}, st.dictionaries(st.sampled_from(NAMES), values, max_size=4), tagged
)


def callback(posted: bytes) -> RawCallback:
    return RawCallback("ses", READER.account, {}, posted)


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: json.dumps(envelope(text)).encode()))
@settings(max_examples=400)
def test_any_bytes(posted: bytes) -> None:
    assert READER.verify(callback(posted)) is False
    try:
        READER.parse(callback(posted))
    except InvalidInput:
        assert not isinstance(normalize(callback(posted), READER), Normalized)


@given(messages, mails, st.booleans())
@settings(max_examples=200)
def test_any_event_is_kept(message: dict[str, object], mail: dict[str, object], enveloped: bool) -> None:
    said = json.dumps({**message, "mail": mail})
    posted = body(envelope(said)) if enveloped else said.encode()
    result = normalize(callback(posted), READER)
    assert isinstance(result, Normalized)
    assert result.unplaced == ()
    assert len(result.events) >= 1
    for event in result.events:
        assert event.job_id == JOB
        assert event.occurred_at <= NOW
        for text in (event.reason, event.diagnostic, event.url, event.user_agent, event.provider_message_id):
            assert text is None or ("\0" not in text and text.encode("utf-8") is not None)


@given(messages)
@settings(max_examples=120)
def test_any_message_is_an_event_or_unplaced(message: dict[str, object]) -> None:
    result = normalize(callback(body(envelope(json.dumps(message)))), READER)
    assert isinstance(result, Normalized)
    assert len(result.events) + len(result.unplaced) >= 1


@given(
    st.dictionaries(st.sampled_from([*GENUINE, "Token", "SubscribeURL", "x"]), values, min_size=1, max_size=4)
)
@settings(max_examples=200)
def test_no_changed_field_passes(changed: dict[str, object]) -> None:
    altered = {**GENUINE, **changed}
    same = all(altered.get(name) == GENUINE[name] for name in GENUINE if name != "UnsubscribeURL")
    passed = READER.verify(callback(json.dumps(altered).encode()))
    assert passed == same


@given(st.text(max_size=60))
def test_only_the_pinned_form_of_a_certificates_address_is_read(url: str) -> None:
    posted = body(sign(envelope("{}", SigningCertURL=url)))
    found = read_envelope(posted)
    assert found is not None
    assert found.topic_arn == ARN
    assert READER.verify(callback(posted)) is (url == BASE + FILE)


@given(st.integers(100, 999), st.binary(max_size=100), st.text(max_size=40))
@settings(max_examples=300)
def test_no_answer_but_a_named_message_is_acceptance(status: int, answer: bytes, name: str) -> None:
    reply = Reply(status, {"x-amzn-errortype": name}, answer)
    outcome = outcome_of(reply, failure(reply), "ann@example.org", NOW)
    assert not isinstance(outcome, Accepted)
    account_state(answer)
