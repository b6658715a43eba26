"""Mailgun's webhooks as it sends them: payloads, a signature vector, legacy forms, what is mirrored."""

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from posthouse.clock import ManualClock
from posthouse.domain.errors import InvalidInput, Misconfigured
from posthouse.domain.event import BounceClass, Event, EventType
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.domain.suppression import SuppressionReason
from posthouse.relays.base import RawCallback
from posthouse.relays.mailgun.callbacks import MailgunCallbacks
from posthouse.relays.mailgun.event_table import TABLE

NOW = datetime.fromtimestamp(1529006900, UTC)
JOB = JobId(uuid7(1529006000_000, 1))
VARIABLES = {"posthouse_job": str(JOB), "posthouse_attempt": "2"}
KEY = "key-test-webhook-signing"
#: HMAC-SHA256 of timestamp and token under KEY, made with another implementation.
VECTOR = {
    "timestamp": "1529006854",
    "token": "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0",
    "signature": "2c39241575532a69878bbf95f6ab31bd623c88e1e602320e825ece479578b0b7",
}


def reader(key: str = KEY) -> MailgunCallbacks:
    return MailgunCallbacks(RelayAccount("mg"), key, ManualClock(NOW))


def callback(whole: object) -> RawCallback:
    headers = {"content-type": "application/json"}
    return RawCallback("mailgun", RelayAccount("mg"), headers, json.dumps(whole).encode())


def form(fields: dict[str, str]) -> RawCallback:
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    return RawCallback("mailgun", RelayAccount("mg"), headers, urlencode(fields).encode())


def read(entry: dict[str, object]) -> Event:
    full = {"timestamp": 1529006854.329574, "id": "DACSsAdVSeGpLid7TN03WA", "user-variables": VARIABLES}
    [event], unplaced = reader().parse(callback({"signature": VECTOR, "event-data": full | entry}))
    assert unplaced == []
    return event


def failed(
    reason: str, code: int, *, severity: str = "permanent", status: str = "", words: str = ""
) -> Event:
    delivery: dict[str, object] = {"code": code, "message": words, "attempt-no": 1}
    if status:
        delivery["enhanced-code"] = status
    return read({"event": "failed", "severity": severity, "reason": reason, "delivery-status": delivery})


def test_the_signature_vector_passes() -> None:
    assert reader().verify(callback({"signature": VECTOR, "event-data": {}}))
    assert not reader("another").verify(callback({"signature": VECTOR, "event-data": {}}))
    number = {**VECTOR, "timestamp": 1529006854}
    assert reader().verify(callback({"signature": number, "event-data": {}}))


def test_a_subaccounts_call_passes_by_its_parents_key() -> None:
    wrong = {**VECTOR, "signature": "0" * 64}
    assert reader().verify(callback({"signature": wrong, "parent-signature": VECTOR, "event-data": {}}))


def test_the_token_is_that_of_the_signature_that_passes() -> None:
    wrong = {**VECTOR, "token": "another", "signature": "0" * 64}
    call = callback({"signature": wrong, "parent-signature": VECTOR, "event-data": {}})
    assert reader().token(call) == f"1529006854.{VECTOR['token']}"


@pytest.mark.parametrize("key", ["", "two words", "key\n", "schlüssel"])
def test_a_key_that_is_none_is_said_at_the_start(key: str) -> None:
    with pytest.raises(Misconfigured, match="signing key"):
        reader(key)


def test_delivered_as_mailgun_documents_it() -> None:
    event = read(
        {
            "event": "delivered",
            "log-level": "info",
            "envelope": {
                "transport": "smtp",
                "sender": "bob@mail.shop.example",
                "targets": "ann@example.org",
            },
            "delivery-status": {
                "tls": True,
                "code": 250,
                "description": "",
                "attempt-no": 1,
                "message": "OK",
            },
            "message": {
                "headers": {"to": "ann@example.org", "message-id": "1@mail.shop.example"},
                "size": 111,
            },
            "recipient": "ann@example.org",
            "tags": [],
        }
    )
    assert (event.type, event.job_id, event.attempt) == (EventType.DELIVERED, JOB, 2)
    assert (event.smtp_code, event.diagnostic) == (250, "OK")
    assert event.provider_message_id == "1@mail.shop.example"
    assert event.occurred_at == datetime.fromtimestamp(1529006854.329574, UTC)


@pytest.mark.parametrize(
    ("reason", "code", "status", "words", "bounce"),
    [
        ("bounce", 550, "5.1.1", "5.1.1 user unknown", BounceClass.HARD),
        ("bounce", 550, "", "no such user", BounceClass.HARD),
        ("bounce", 550, "5.7.1", "relaying denied", BounceClass.BLOCK),
        ("bounce", 552, "5.2.2", "mailbox full", BounceClass.SOFT),
        ("generic", 550, "", "550-5.1.1 The email account does not exist", BounceClass.HARD),
        ("generic", 550, "5.7.26", "unauthenticated", BounceClass.BLOCK),
        ("generic", 550, "", "rejected as spam", BounceClass.BLOCK),
        ("generic", 451, "4.4.2", "timeout", BounceClass.SOFT),
        ("generic", 498, "", "No MX for example.org", BounceClass.SOFT),
        ("generic", 499, "", "connection refused", BounceClass.SOFT),
        ("old", 602, "", "Too old", BounceClass.SOFT),
        ("generic", 602, "", "Too old", BounceClass.SOFT),
        ("espblock", 550, "", "blocked", BounceClass.BLOCK),
        ("never heard of", 0, "", "", BounceClass.SOFT),
        ("generic", 999, "", "nonsense", BounceClass.SOFT),
    ],
)
def test_failures_have_their_class(
    reason: str, code: int, status: str, words: str, bounce: BounceClass
) -> None:
    event = failed(reason, code, status=status, words=words)
    assert (event.type, event.bounce, event.mirrored) == (EventType.BOUNCED, bounce, None)


@pytest.mark.parametrize(
    ("reason", "code", "mirrored"),
    [
        ("suppress-bounce", 605, SuppressionReason.BOUNCE),
        ("suppress-complaint", 607, SuppressionReason.SPAM),
        ("suppress-unsubscribe", 606, SuppressionReason.UNSUBSCRIBE),
        ("generic", 605, SuppressionReason.BOUNCE),
        ("generic", 606, SuppressionReason.UNSUBSCRIBE),
        ("generic", 607, SuppressionReason.SPAM),
    ],
)
def test_what_mailguns_own_lists_stop_is_mirrored_and_no_bounce(
    reason: str, code: int, mirrored: SuppressionReason
) -> None:
    event = failed(reason, code, words="Not delivering to previously bounced address")
    assert (event.type, event.bounce, event.mirrored) == (EventType.REJECTED, None, mirrored)


def test_a_temporary_failure_is_mailguns_to_retry() -> None:
    event = failed("generic", 451, severity="temporary", status="4.7.652", words="4.7.652 busy")
    assert (event.type, event.bounce) == (EventType.DEFERRED, None)
    assert (event.smtp_code, event.enhanced_code) == (451, "4.7.652")


def test_a_delayed_bounce_has_its_code_elsewhere() -> None:
    event = read(
        {
            "event": "failed",
            "severity": "permanent",
            "reason": "generic",
            "flags": {"is-delayed-bounce": True},
            "delivery-status": {"bounce-code": "5.1.1", "code": 550, "message": "smtp; 550-5.1.1 gone"},
        }
    )
    assert (event.bounce, event.enhanced_code) == (BounceClass.HARD, "5.1.1")


def test_readers_and_machines() -> None:
    client = {"client-type": "mobile browser", "user-agent": "Mozilla/5.0 (iPhone)", "bot": ""}
    opened = read({"event": "opened", "client-info": client})
    assert (opened.user_agent, opened.machine, opened.url) == ("Mozilla/5.0 (iPhone)", False, None)
    apple = read({"event": "opened", "client-info": {**client, "bot": "apple"}})
    assert apple.machine
    clicked = read({"event": "clicked", "url": "https://shop.example/a", "client-info": client})
    assert clicked.url == "https://shop.example/a"


def test_rejected_says_why() -> None:
    event = read({"event": "rejected", "reject": {"reason": "Sandbox subdomains", "description": ""}})
    assert (event.type, event.reason) == (EventType.REJECTED, "Sandbox subdomains")


def test_an_id_is_unique_within_a_day_only() -> None:
    one = read({"event": "opened", "timestamp": 1529006854.0})
    other = read({"event": "opened", "timestamp": 1528006854.0})
    assert one.event_id != other.event_id


LEGACY = {
    "recipient": "ann@example.org",
    "Message-Id": "<1@mail.shop.example>",
    **VECTOR,
    **VARIABLES,
}


@pytest.mark.parametrize(
    ("fields", "kind", "bounce", "mirrored"),
    [
        ({"event": "delivered"}, EventType.DELIVERED, None, None),
        ({"event": "bounced", "code": "550", "error": "5.1.1"}, EventType.BOUNCED, BounceClass.HARD, None),
        ({"event": "dropped", "reason": "hardfail", "code": "605", "description": "Not delivering"},
         EventType.REJECTED, None, SuppressionReason.BOUNCE),
        ({"event": "dropped", "reason": "hardfail"}, EventType.BOUNCED, BounceClass.HARD, None),
        ({"event": "dropped", "reason": "old", "code": "602"}, EventType.BOUNCED, BounceClass.SOFT, None),
        ({"event": "complained"}, EventType.COMPLAINED, None, None),
        ({"event": "unsubscribed"}, EventType.UNSUBSCRIBED, None, None),
        ({"event": "opened", "user-agent": "Mozilla/5.0"}, EventType.OPENED, None, None),
        ({"event": "clicked", "url": "https://shop.example/"}, EventType.CLICKED, None, None),
        ({"event": "teleported"}, EventType.UNKNOWN, None, None),
    ],
)  # fmt: skip
def test_legacy_forms_say_the_same(
    fields: dict[str, str],
    kind: EventType,
    bounce: BounceClass | None,
    mirrored: SuppressionReason | None,
) -> None:
    call = form(LEGACY | fields)
    assert reader().verify(call)
    [event], unplaced = reader().parse(call)
    assert unplaced == []
    assert (event.type, event.bounce, event.mirrored) == (kind, bounce, mirrored)
    assert (event.job_id, event.attempt, event.recipient) == (JOB, 2, "ann@example.org")
    assert event.provider_message_id == "1@mail.shop.example"
    assert event.occurred_at == datetime.fromtimestamp(1529006854, UTC)


@pytest.mark.parametrize("fields", [{}, {"recipient": "ann@example.org"}, {f"f{n}": "x" for n in range(500)}])
def test_a_form_without_an_event_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        reader().parse(form(fields))


def test_every_documented_word_is_in_the_table() -> None:
    """https://documentation.mailgun.com/docs/mailgun/user-manual/events/events, Tracked Events."""
    assert set(TABLE.words) == {
        "accepted", "rejected", "delivered", "failed", "opened", "clicked", "unsubscribed", "complained",
        "stored", "list_member_uploaded", "list_member_upload_error", "list_uploaded",
    }  # fmt: skip
