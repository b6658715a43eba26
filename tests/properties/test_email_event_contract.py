"""Consumers build on docs/events/email_event.v1.json: whatever event there is, its record keeps to it."""

import json
from datetime import UTC
from pathlib import Path
from typing import Final

import jsonschema_rs
import msgspec
from hypothesis import given
from hypothesis import strategies as st

from posthouse.bus.kafka.events import SCHEMA, record_of
from posthouse.domain.event import BounceClass, EventType, Origin
from posthouse.domain.outgoing import EmailEvent
from posthouse.domain.stream import Stream

CONTRACT: Final = json.loads(
    (Path(__file__).parents[2] / "docs" / "events" / f"{SCHEMA}.json").read_text(encoding="utf-8")
)
KEEPS: Final = jsonschema_rs.validator_for(CONTRACT, validate_formats=True)

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_tags = st.lists(
    st.builds(lambda name, value: {"name": name, "value": value}, st.text(), st.text()), max_size=3
)
_events = st.builds(
    EmailEvent,
    event_id=st.uuids(),
    job_id=st.uuids(),
    message_id=st.uuids(),
    type=st.sampled_from(EventType),
    occurred_at=st.datetimes(timezones=st.just(UTC)),
    received_at=st.datetimes(timezones=st.just(UTC)),
    attempt=st.integers(0, 2**31 - 1),
    origin=st.sampled_from(Origin),
    stream=st.sampled_from(Stream),
    recipient=st.text(),
    recipient_domain=st.text(),
    campaign_id=st.none() | st.uuids(),
    template=st.none() | st.text(),
    template_version=st.none() | st.integers(1, 2**31 - 1),
    tags=_tags.map(msgspec.json.encode).map(msgspec.Raw),
    metadata=st.dictionaries(st.text(), _json).map(msgspec.json.encode).map(msgspec.Raw),
    sandbox=st.booleans(),
    relay=st.none() | st.text(),
    provider_message_id=st.none() | st.text(),
    bounce_class=st.none() | st.sampled_from(BounceClass),
    smtp_code=st.none() | st.integers(100, 999),
    enhanced_code=st.none() | st.text(),
    diagnostic=st.none() | st.text(),
    reason=st.none() | st.text(),
    url=st.none() | st.text(),
    user_agent=st.none() | st.text(),
    machine=st.booleans(),
)


@given(_events)
def test_every_event_keeps_the_contract(event: EmailEvent) -> None:
    record = record_of("email_events", event)
    KEEPS.validate(json.loads(record.value))
    assert record.key == str(event.job_id).encode()
    headers = dict(record.headers)
    assert headers["schema"].decode() == SCHEMA
    assert (headers["type"].decode(), headers["event_id"].decode()) == (event.type.value, str(event.event_id))


def test_the_contract_names_every_field_and_no_other() -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(EmailEvent)}
    assert set(CONTRACT["properties"]) == set(CONTRACT["required"]) == fields


def test_the_contract_knows_every_word() -> None:
    words = {
        name: set(rule["enum"]) - {None} for name, rule in CONTRACT["properties"].items() if "enum" in rule
    }
    assert words == {
        "type": set(EventType),
        "origin": set(Origin),
        "stream": set(Stream),
        "bounce_class": set(BounceClass),
    }
