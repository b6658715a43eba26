"""Random and mutated callbacks: verify answers, parse reads or raises InvalidInput, each entry is kept."""

import json
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.clock import ManualClock
from posthouse.domain.errors import InvalidInput
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.ingest.normalize import Normalized, normalize
from posthouse.relays.base import RawCallback
from posthouse.relays.http import MAX_RETRY_AFTER, clean, retry_after
from posthouse.relays.sendgrid import SendGridCallbacks

NOW = datetime(2026, 3, 1, tzinfo=UTC)
JOB = JobId(uuid7(int(NOW.timestamp() * 1000), 1))
KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw"
    "+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
)
READER = SendGridCallbacks(RelayAccount("sg"), KEY, ManualClock(NOW))
FIELDS = [
    "event", "email", "timestamp", "type", "status", "reason", "response", "bounce_classification",
    "sg_event_id", "sg_message_id", "url", "useragent", "sg_machine_open", "posthouse_job",
    "posthouse_attempt",
]  # fmt: skip
WORDS = [
    "processed",
    "delivered",
    "bounce",
    "dropped",
    "open",
    "click",
    "spamreport",
    str(JOB),
    "2",
    "blocked",
]

texts = st.text(st.characters(), max_size=20) | st.sampled_from(WORDS)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
ours = st.just({"posthouse_job": str(JOB), "posthouse_attempt": "1"})
entries = st.dictionaries(st.sampled_from(FIELDS), values, max_size=8)
batches = st.lists(st.builds(lambda a, b: {**a, **b}, entries, ours | st.just({})) | values, max_size=5)


def callback(body: bytes, signature: str = "", timestamp: str = "") -> RawCallback:
    headers = {
        "x-twilio-email-event-webhook-signature": signature,
        "x-twilio-email-event-webhook-timestamp": timestamp,
    }
    return RawCallback("sendgrid", RelayAccount("sg"), headers, body)


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda junk: b"[" + junk + b"]"))
@settings(max_examples=500)
def test_any_bytes(body: bytes) -> None:
    try:
        READER.parse(callback(body))
    except InvalidInput:
        assert not isinstance(normalize(callback(body), READER), Normalized)


@given(batches)
@settings(max_examples=400)
def test_any_batch_keeps_every_entry(batch: list[object]) -> None:
    result = normalize(callback(json.dumps(batch).encode()), READER)
    assert isinstance(result, Normalized)
    assert len(result.events) + len(result.unplaced) == len(batch)
    for event in result.events:
        assert event.job_id == JOB
        for text in (event.reason, event.diagnostic, event.url, event.user_agent, event.provider_message_id):
            assert text is None or ("\0" not in text and text.encode("utf-8") is not None)


@given(st.text(max_size=120), st.text(max_size=20) | st.just("1772323200"), st.binary(max_size=50))
@settings(max_examples=300)
def test_no_header_makes_verify_raise_or_pass(signature: str, timestamp: str, body: bytes) -> None:
    assert READER.verify(callback(body, signature, timestamp)) is False


@given(st.binary(max_size=80))
@settings(max_examples=200)
def test_no_signature_bytes_pass(signature: bytes) -> None:
    text = signature.hex()
    assert READER.verify(callback(b"[]", text, "1772323200")) is False


@given(st.dictionaries(st.sampled_from(["retry-after", "x-ratelimit-reset"]), st.text(max_size=40)))
@settings(max_examples=300)
def test_hints_of_time_are_sane_or_none(headers: dict[str, str]) -> None:
    seconds = retry_after(headers, NOW)
    assert seconds is None or 0 < seconds <= MAX_RETRY_AFTER


@given(st.text(st.characters(), max_size=60), st.integers(0, 50))
def test_cleaned_text_can_be_stored(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert len(cleaned) <= limit
    assert "\0" not in cleaned
    assert cleaned.encode("utf-8").decode("utf-8") == cleaned
    assert clean(cleaned, limit) == cleaned
