"""Random callbacks of Mailgun: verify answers, parse reads or raises InvalidInput, each entry is kept."""

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.clock import ManualClock
from posthouse.domain.errors import InvalidInput
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.ingest.normalize import Normalized, normalize
from posthouse.relays.base import RawCallback
from posthouse.relays.mailgun.callbacks import MailgunCallbacks

NOW = datetime(2026, 3, 1, tzinfo=UTC)
JOB = JobId(uuid7(int(NOW.timestamp() * 1000), 1))
READER = MailgunCallbacks(RelayAccount("mg"), "a-signing-key", ManualClock(NOW))
OURS = {"posthouse_job": str(JOB), "posthouse_attempt": "1"}
FIELDS = [
    "event", "severity", "reason", "id", "timestamp", "recipient", "url", "delivery-status", "client-info",
    "message", "user-variables", "reject", "flags", "code", "headers", "message-id", "to", "bot",
]  # fmt: skip
WORDS = ["accepted", "delivered", "failed", "permanent", "temporary", "bounce", "opened", "rejected", "5.1.1"]
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}

texts = st.text(st.characters(), max_size=20) | st.sampled_from(WORDS)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)
entries = st.dictionaries(st.sampled_from(FIELDS), values, max_size=8)
ours = st.builds(lambda entry: {**entry, "user-variables": OURS}, entries)


def callback(body: bytes, headers: dict[str, str]) -> RawCallback:
    return RawCallback("mailgun", RelayAccount("mg"), headers, body)


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda junk: b'{"event-data":' + junk + b"}"))
@settings(max_examples=400)
def test_any_bytes(body: bytes) -> None:
    for headers in (JSON, FORM, {}):
        call = callback(body, headers)
        assert READER.verify(call) is False
        try:
            READER.parse(call)
        except InvalidInput:
            assert not isinstance(normalize(call, READER), Normalized)


@given(st.lists(ours | entries | values, max_size=5))
@settings(max_examples=400)
def test_any_list_keeps_every_entry(batch: list[object]) -> None:
    result = normalize(callback(json.dumps({"event-data": batch}).encode(), JSON), READER)
    assert isinstance(result, Normalized)
    assert len(result.events) + len(result.unplaced) == len(batch)
    for event in result.events:
        assert event.job_id == JOB
        for text in (event.reason, event.diagnostic, event.url, event.user_agent, event.provider_message_id):
            assert text is None or ("\0" not in text and text.encode("utf-8") is not None)


@given(st.dictionaries(st.sampled_from([*FIELDS, *OURS]), st.text(st.characters(exclude_categories=["Cs"]))))
@settings(max_examples=200)
def test_any_form(fields: dict[str, str]) -> None:
    result = normalize(callback(urlencode(fields).encode(), FORM), READER)
    assert isinstance(result, Normalized) == ("event" in fields)


@given(values)
@settings(max_examples=300)
def test_no_signature_block_makes_verify_raise_or_pass(block: object) -> None:
    for name in ("signature", "parent-signature"):
        assert READER.verify(callback(json.dumps({name: block}).encode(), JSON)) is False
