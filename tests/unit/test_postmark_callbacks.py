"""Postmark's words one by one: its own samples, classes of bounces, times, secrets, and odd records."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from posthouse.clock import ManualClock
from posthouse.domain.errors import Misconfigured
from posthouse.domain.event import BounceClass, Event, EventType
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.relays.base import RawCallback, Unplaced
from posthouse.relays.postmark import PostmarkCallbacks, PostmarkSecrets

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MADE = NOW - timedelta(minutes=1)
JOB = JobId(uuid7(int(MADE.timestamp() * 1000), 7))
ACCOUNT = RelayAccount("pm")


def reader(secrets: PostmarkSecrets | None = None) -> PostmarkCallbacks:
    return PostmarkCallbacks(ACCOUNT, secrets or PostmarkSecrets(user="u", password="p"), ManualClock(NOW))


def read(**said: object) -> Event | Unplaced:
    entry = {"Metadata": {"posthouse_job": str(JOB), "posthouse_attempt": "2"}, **said}
    callback = RawCallback("postmark", ACCOUNT, {}, json.dumps(entry).encode())
    events, unplaced = reader().parse(callback)
    found: list[Event | Unplaced] = [*events, *unplaced]
    [only] = found
    return only


def read_event(**said: object) -> Event:
    event = read(**said)
    assert isinstance(event, Event)
    return event


def bounce(kind: str, details: str) -> Event:
    return read_event(RecordType="Bounce", ID=1, Type=kind, Email="ann@example.org", Details=details)


def test_a_delivery_as_postmark_shows_it() -> None:
    event = read_event(
        RecordType="Delivery",
        ServerID=23,
        MessageStream="outbound",
        MessageID="883953f4-6105-42a2-a16a-77a8eac79483",
        Recipient="ann@example.org",
        Tag="welcome",
        DeliveredAt="2026-03-01T06:59:30.2735393-05:00",
        Details="250 2.0.0 OK",
    )
    assert (event.type, event.job_id, event.attempt) == (EventType.DELIVERED, JOB, 2)
    assert event.provider_message_id == "883953f4-6105-42a2-a16a-77a8eac79483"
    assert event.occurred_at == datetime(2026, 3, 1, 11, 59, 30, 273539, tzinfo=UTC)
    assert (event.smtp_code, event.enhanced_code, event.diagnostic) == (250, "2.0.0", "250 2.0.0 OK")


def test_a_bounce_as_postmark_shows_it() -> None:
    event = bounce("HardBounce", "smtp;550 5.1.1 <ann@example.org>: no such user")
    assert (event.type, event.bounce) == (EventType.BOUNCED, BounceClass.HARD)
    assert (event.smtp_code, event.enhanced_code) == (550, "5.1.1")
    assert event.reason == event.diagnostic == "550 5.1.1 <ann@example.org>: no such user"


def test_a_click_has_its_link_and_an_open_has_none() -> None:
    said = {"Recipient": "ann@example.org", "OriginalLink": "https://shop.example/a", "UserAgent": "Lynx"}
    click = read_event(RecordType="Click", ReceivedAt="2026-03-01T11:59:59Z", **said)
    assert (click.type, click.url, click.user_agent) == (EventType.CLICKED, "https://shop.example/a", "Lynx")
    assert read_event(RecordType="Open", **said).url is None


@pytest.mark.parametrize(
    ("kind", "details", "bounce_class"),
    [
        ("HardBounce", "smtp;550 5.7.1 refused by policy", BounceClass.BLOCK),
        ("HardBounce", "smtp;550 5.5.4 protocol", BounceClass.BLOCK),
        ("HardBounce", "smtp;550 5.5.0 mailbox unavailable (S2017062302)", BounceClass.HARD),
        ("HardBounce", "smtp;554 5.1.8 sender's domain", BounceClass.BLOCK),
        ("HardBounce", "smtp;550 5.1.10 no mail for this domain", BounceClass.HARD),
        ("HardBounce", "smtp;550 no such user", BounceClass.HARD),
        ("HardBounce", "", BounceClass.HARD),
        ("SoftBounce", "smtp;552 5.2.2 mailbox full", BounceClass.SOFT),
        ("SoftBounce", "smtp;421 4.7.0 try later", BounceClass.BLOCK),
        ("Unknown", "see 192.5.7.1 for more", BounceClass.SOFT),
        ("Blocked", "smtp;550 5.1.1 listed", BounceClass.BLOCK),
    ],
)
def test_policy_is_never_the_addresss_fault(kind: str, details: str, bounce_class: BounceClass) -> None:
    assert bounce(kind, details).bounce is bounce_class


def test_a_type_of_tomorrow_is_unknown_and_kept() -> None:
    event = bounce("QuantumBounce", "smtp;550 5.1.1 x")
    assert (event.type, event.bounce) == (EventType.UNKNOWN, None)
    assert event.reason == "Bounce QuantumBounce"
    assert event.raw is not None
    assert b"QuantumBounce" in event.raw


def test_the_two_spellings_of_the_server_and_missing_fields_do_no_harm() -> None:
    event = read_event(RecordType="Open", ServerId=23)
    assert (event.recipient, event.provider_message_id) == (None, None)
    assert event.occurred_at == NOW


@pytest.mark.parametrize(
    "said",
    [
        "",
        "yesterday",
        "2026-03-01",
        "2026-02-30T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_a_time_that_cannot_be_is_now_or_what_can_be(said: str) -> None:
    event = read_event(RecordType="Delivery", Recipient="ann@example.org", DeliveredAt=said)
    assert MADE <= event.occurred_at <= NOW


def test_a_manual_suppression_names_no_mail_and_is_unplaced() -> None:
    stray = read(
        RecordType="SubscriptionChange",
        MessageID=None,
        Recipient="ann@example.org",
        Origin="Recipient",
        SuppressSending=True,
        SuppressionReason="ManualSuppression",
        Metadata={},
    )
    assert isinstance(stray, Unplaced)
    assert (stray.type, stray.recipient) == (EventType.UNSUBSCRIBED, "ann@example.org")


@pytest.mark.parametrize(
    "secrets",
    [
        PostmarkSecrets(),
        PostmarkSecrets(user="u"),
        PostmarkSecrets(password="p"),
        PostmarkSecrets(user="a:b", password="p"),
        PostmarkSecrets(header_name="X-Hook"),
        PostmarkSecrets(header_value="secret"),
        PostmarkSecrets(header_name="X Hook", header_value="secret"),
        PostmarkSecrets(header_name="X-Hook", header_value="se\ncret"),
        PostmarkSecrets(header_name="X-Hook", header_value="sécret"),
    ],
)
def test_a_webhook_that_proves_nothing_is_not_set_up(secrets: PostmarkSecrets) -> None:
    with pytest.raises(Misconfigured):
        reader(secrets)


def test_one_of_the_two_secrets_is_enough_when_one_is_set() -> None:
    header = reader(PostmarkSecrets(header_name="X-Hook", header_value="secret"))
    assert header.verify(RawCallback("postmark", ACCOUNT, {"x-hook": "secret"}, b"{}"))
    assert not header.verify(RawCallback("postmark", ACCOUNT, {"authorization": "Basic dTpw"}, b"{}"))
    assert reader().verify(RawCallback("postmark", ACCOUNT, {"authorization": "Basic dTpw"}, b"{}"))


def test_secrets_do_not_show() -> None:
    shown = repr(PostmarkSecrets(user="u", password="hush", header_name="X-Hook", header_value="hush"))
    assert "hush" not in shown
