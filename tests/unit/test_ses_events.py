"""What is SES's own about its events: where our ids stand, several recipients, lists, older forms."""

import json
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import pytest
from sns_side import NOW, FakeSns, body, envelope, stamp

from posthouse.clock import ManualClock
from posthouse.domain.event import BounceClass, Event, EventType
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.domain.suppression import SuppressionReason
from posthouse.relays.base import RawCallback, Unplaced
from posthouse.relays.ses.callbacks import SesCallbacks

JOB = JobId(uuid7(int(NOW.timestamp() * 1000) - 60_000, 5))
TAGS = {"posthouse_job": [str(JOB)], "posthouse_attempt": ["2"]}
READER = SesCallbacks(RelayAccount("ses"), [], FakeSns(), ManualClock(NOW))


def read(message: str | bytes) -> tuple[list[Event], list[Unplaced]]:
    text = message.decode() if isinstance(message, bytes) else message
    return READER.parse(RawCallback("ses", READER.account, {}, body(envelope(text))))


def event(name: str, facts: Mapping[str, object], mail: Mapping[str, object] | None = None) -> str:
    inner = {"timestamp": stamp(NOW), **facts}
    about = {"messageId": "EX-1", "destination": ["ann@example.org"], "tags": TAGS, **(mail or {})}
    return json.dumps({"eventType": name, name.lower(): inner, "mail": about})


def one(message: str) -> Event:
    events, unplaced = read(message)
    assert unplaced == []
    [found] = events
    return found


def bounce(subtype: str, kind: str = "Permanent", **whom: str) -> str:
    listed = [{"emailAddress": "ann@example.org", **whom}]
    facts = {"bounceType": kind, "bounceSubType": subtype, "bouncedRecipients": listed, "feedbackId": "f-1"}
    return event("Bounce", facts)


def test_a_bounce_brings_the_servers_words_and_codes() -> None:
    found = one(bounce("NoEmail", status="5.1.1", diagnosticCode="smtp; 550 5.1.1 user unknown"))
    assert (found.type, found.bounce) == (EventType.BOUNCED, BounceClass.HARD)
    assert (found.smtp_code, found.enhanced_code) == (550, "5.1.1")
    assert found.diagnostic == "550 5.1.1 user unknown"
    assert found.reason == "Permanent NoEmail"
    assert (found.provider_message_id, found.attempt) == ("EX-1", 2)
    assert found.mirrored is None


@pytest.mark.parametrize("subtype", ["OnAccountSuppressionList", "Suppressed"])
def test_an_address_on_sess_list_is_mirrored_and_no_bounce(subtype: str) -> None:
    found = one(bounce(subtype, status="5.1.1", diagnosticCode="Amazon SES did not send it"))
    assert (found.type, found.bounce) == (EventType.REJECTED, None)
    assert found.mirrored is SuppressionReason.BOUNCE
    assert subtype in found.reason


def test_a_complainer_on_sess_list_is_mirrored_as_one() -> None:
    facts: dict[str, object] = {
        "complaintSubType": "OnAccountSuppressionList",
        "complainedRecipients": [{"emailAddress": "ann@example.org"}],
    }
    found = one(event("Complaint", facts))
    assert (found.type, found.mirrored) == (EventType.REJECTED, SuppressionReason.SPAM)


def test_an_answer_by_somebody_who_is_away_sends_nothing_again() -> None:
    assert one(bounce("General", "Transient")).type is EventType.UNKNOWN
    soft = one(bounce("General", "Transient", status="4.4.7", diagnosticCode="smtp; 421 too long"))
    assert (soft.type, soft.bounce) == (EventType.BOUNCED, BounceClass.SOFT)


def test_outlooks_word_for_no_such_mailbox_is_a_hard_bounce() -> None:
    words = "smtp; 550 5.5.0 Requested action not taken: mailbox unavailable"
    assert one(bounce("General", status="5.5.0", diagnosticCode=words)).bounce is BounceClass.HARD


def test_policy_is_never_the_addresss_fault() -> None:
    found = one(bounce("General", status="5.7.1", diagnosticCode="smtp; 550 5.7.1 refused"))
    assert found.bounce is BounceClass.BLOCK


def test_each_recipient_is_an_event_with_its_own_id() -> None:
    listed = [{"emailAddress": "ann@example.org"}, {"emailAddress": "bob@example.org"}]
    events, _ = read(event("Complaint", {"complainedRecipients": listed, "feedbackId": "f"}))
    assert [found.recipient for found in events] == ["ann@example.org", "bob@example.org"]
    assert len({found.event_id for found in events}) == 2


def test_an_identitys_notification_has_our_ids_in_a_header() -> None:
    mail = {
        "messageId": "EX-1",
        "destination": ["ann@example.org"],
        "headers": [{"name": "Subject", "value": "x"}, {"name": "X-Posthouse-Id", "value": f"{JOB}.3"}],
    }
    facts = {"timestamp": stamp(NOW), "recipients": ["ann@example.org"], "smtpResponse": "250 ok"}
    found = one(json.dumps({"notificationType": "Delivery", "delivery": facts, "mail": mail}))
    assert (found.type, found.job_id, found.attempt) == (EventType.DELIVERED, JOB, 3)
    assert (found.diagnostic, found.smtp_code) == ("250 ok", 250)


def test_with_the_headers_cut_off_the_message_id_names_the_job() -> None:
    named = {"tags": {}, "commonHeaders": {"messageId": f"<{JOB.hex}@shop.example>"}}
    found = one(event("Delivery", {}, named))
    assert (found.job_id, found.attempt) == (JOB, 1)


@pytest.mark.parametrize(
    "mail",
    [
        {"tags": {"posthouse_job": [str(UUID(int=4))], "posthouse_attempt": ["1"]}},
        {"tags": {"posthouse_job": str(JOB), "posthouse_attempt": "1"}},
        {"tags": {"posthouse_job": [], "posthouse_attempt": []}},
        {"tags": [], "headers": "x"},
        {"tags": {}, "headers": [{"name": "X-Posthouse-Id", "value": f"{JOB}.0"}]},
        {"tags": {}, "commonHeaders": {"messageId": "<somebody@shop.example>"}},
    ],
)
def test_what_names_no_job_of_ours_is_unplaced(mail: dict[str, object]) -> None:
    events, [stray] = read(event("Delivery", {}, mail))
    assert events == []
    assert (stray.recipient, stray.type) == ("ann@example.org", EventType.DELIVERED)


def test_a_queue_may_bring_events_bare_and_their_ids_are_the_same() -> None:
    message = event("Open", {"userAgent": "Reader"})
    [posted], [] = read(message)
    [pulled], [] = READER.parse(RawCallback("ses", READER.account, {}, message.encode()))
    assert posted == pulled
    assert posted.user_agent == "Reader"


def test_clicks_have_their_url_and_two_clicks_two_ids() -> None:
    one_click = one(event("Click", {"link": "https://shop.example/a"}))
    other = one(event("Click", {"link": "https://shop.example/b"}))
    assert (one_click.url, other.url) == ("https://shop.example/a", "https://shop.example/b")
    assert one_click.event_id != other.event_id


def test_sess_greeting_is_nothing_and_other_words_are_kept() -> None:
    assert read("Successfully validated SNS topic for Amazon SES event publishing.") == ([], [])
    events, [stray] = read("Something else altogether")
    assert events == []
    assert (stray.type, stray.raw) == (EventType.UNKNOWN, b"Something else altogether")


def test_a_far_future_is_now() -> None:
    found = one(event("Delivery", {"timestamp": stamp(NOW + timedelta(days=400))}))
    assert found.occurred_at == NOW
