"""What applications are told: each name has its shape, and no mail stops the others."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.domain.event import EventType
from posthouse.domain.stream import Stream
from posthouse.domain.webhook import NAMES, EventName, Interest, Tag, types_of
from posthouse.outhooks.matching import wants
from posthouse.outhooks.payload import body_of, name_of
from posthouse.outhooks.sample import sample_body
from posthouse.storage.webhook_outbox import WaitingEvent
from posthouse.telemetry import redact

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
EVENT = WaitingEvent(
    job_id=UUID(int=1),
    event_id=UUID(int=2),
    message_id=UUID(int=3),
    stream="transactional",
    from_address="Shop <orders@shop.example>",
    to_address="ann@inbox.example",
    subject=None,
    tags=b'[{"name":"kind","value":"receipt"},{"name":"shop","value":"7"}]',
    metadata=b'{"order":"8121"}',
    created_at=NOW,
    scheduled_at=None,
    sandbox=False,
    type="sent",
    occurred_at=NOW,
    attempt=1,
    bounce_class=None,
    reason=None,
    relay="mail-one",
    provider_message_id="abc",
    smtp_code=None,
    enhanced_code=None,
    diagnostic=None,
    url=None,
    user_agent=None,
    machine=False,
)
INTEREST = Interest(frozenset(EventName))


def data_of(body: str) -> dict[str, object]:
    return msgspec.convert(msgspec.json.decode(body)["data"], dict[str, object])


@pytest.mark.parametrize("name", EventName)
def test_every_event_has_an_example_of_its_own(name: EventName) -> None:
    body = msgspec.json.decode(sample_body(name, INTEREST, NOW))
    assert (body["type"], body["created_at"]) == (name, "2026-11-24T10:00:00Z")
    assert body["data"]["email_id"] == str(UUID(int=0))


@pytest.mark.parametrize(
    ("kind", "scheduled", "name"),
    [
        ("accepted", False, EventName.QUEUED),
        ("accepted", True, EventName.SCHEDULED),
        ("rejected", False, EventName.FAILED),
        ("deferred", False, EventName.DELIVERY_DELAYED),
        ("unknown", False, None),
        ("of a newer version", False, None),
    ],
)
def test_names(kind: str, scheduled: bool, name: EventName | None) -> None:
    assert name_of(replace(EVENT, type=kind, scheduled_at=NOW if scheduled else None)) is name


def test_every_name_is_told_for_some_type_and_every_type_is_decided() -> None:
    assert set(NAMES) == set(EventType)
    assert {name for names in NAMES.values() for name in names} == set(EventName)
    assert types_of(frozenset({EventName.FAILED})) == {EventType.REJECTED, EventType.FAILED}


def test_tags_and_metadata_are_told_as_resend_tells_tags() -> None:
    data = data_of(body_of(EventName.SENT, EVENT))
    assert data["tags"] == {"kind": "receipt", "shop": "7"}
    assert data["metadata"] == {"order": "8121"}
    assert "bounce" not in data


@pytest.mark.parametrize(
    ("bounce_class", "kind"),
    [
        ("hard", "Permanent"),
        ("soft", "Transient"),
        ("block", "Permanent"),
        (None, "Undetermined"),
        ("of a newer version", "Undetermined"),
    ],
)
def test_bounces(bounce_class: str | None, kind: str) -> None:
    event = replace(EVENT, type="bounced", bounce_class=bounce_class, diagnostic="x" * 5000)
    bounce = msgspec.convert(data_of(body_of(EventName.BOUNCED, event))["bounce"], dict[str, object])
    assert (bounce["type"], bounce["class"]) == (kind, bounce_class)
    assert len(str(bounce["message"])) == 1000


@given(text=st.text())
def test_whatever_a_server_says_is_json(text: str) -> None:
    event = replace(EVENT, diagnostic=text.encode("utf-8", "replace").decode(), user_agent="\x00<script>")
    assert msgspec.json.decode(body_of(EventName.DELIVERY_DELAYED, event))["type"] == "email.delivery_delayed"


@pytest.mark.parametrize(
    ("interest", "wanted"),
    [
        (INTEREST, True),
        (replace(INTEREST, names=frozenset({EventName.OPENED})), False),
        (replace(INTEREST, stream=Stream.TRANSACTIONAL), True),
        (replace(INTEREST, stream=Stream.MARKETING), False),
        (replace(INTEREST, from_domains=frozenset({"shop.example", "other.example"})), True),
        (replace(INTEREST, from_domains=frozenset({"other.example"})), False),
        (replace(INTEREST, tags=frozenset({Tag("kind", "receipt"), Tag("shop", "7")})), True),
        (replace(INTEREST, tags=frozenset({Tag("kind", "receipt"), Tag("shop", "8")})), False),
        (replace(INTEREST, sandbox=True), False),
    ],
)
def test_filters(interest: Interest, wanted: bool) -> None:
    assert wants(interest, EventName.SENT, EVENT) is wanted


def test_a_mail_whose_sender_cannot_be_read_stops_nobody() -> None:
    broken = replace(EVENT, from_address="not <an address")
    assert wants(INTEREST, EventName.SENT, broken)
    assert not wants(replace(INTEREST, from_domains=frozenset({"shop.example"})), EventName.SENT, broken)


def test_secrets_of_webhooks_are_no_reading_for_logs() -> None:
    assert redact("signed with whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") == "signed with whsec_[redacted]"
