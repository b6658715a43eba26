"""SendGrid's words one by one: the public signature vector, bounce classes, times, and odd entries."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from posthouse.clock import ManualClock
from posthouse.domain.errors import Misconfigured
from posthouse.domain.event import BounceClass, Event, EventType
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.domain.suppression import SuppressionReason
from posthouse.relays.base import RawCallback, Unplaced
from posthouse.relays.sendgrid import SendGridCallbacks

# From SendGrid's own client library, where it is a test too.
PUBLIC_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw"
    "+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
)
SIGNATURE = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
SIGNED_AT = datetime.fromtimestamp(1600112502, UTC)
BODY = (
    b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","sg_event_id":"ZH'
    b'JvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA","sg_message_id":"LRzXl_NHStOGhQ4kofSm_A'
    b'.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0","smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@i'
    b'smtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n'
)
VECTOR = RawCallback(
    "sendgrid",
    RelayAccount("sg"),
    {
        "x-twilio-email-event-webhook-signature": SIGNATURE,
        "x-twilio-email-event-webhook-timestamp": "1600112502",
    },
    BODY,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MADE = NOW - timedelta(minutes=1)
JOB = JobId(uuid7(int(MADE.timestamp() * 1000), 7))


def reader(now: datetime = NOW) -> SendGridCallbacks:
    return SendGridCallbacks(RelayAccount("sg"), PUBLIC_KEY, ManualClock(now))


def read(**fields: object) -> Event | Unplaced:
    entry = {"posthouse_job": str(JOB), "posthouse_attempt": "2", "email": "ann@example.org", **fields}
    events, unplaced = reader().parse(replace(VECTOR, headers={}, body=json.dumps([entry]).encode()))
    read: list[Event | Unplaced] = [*events, *unplaced]
    [only] = read
    return only


def read_event(**fields: object) -> Event:
    event = read(**fields)
    assert isinstance(event, Event)
    return event


def test_the_public_vector_passes() -> None:
    assert reader(SIGNED_AT).verify(VECTOR)


def test_every_changed_byte_of_the_vector_fails() -> None:
    genuine = reader(SIGNED_AT)
    for place in range(len(BODY)):
        changed = BODY[:place] + bytes([BODY[place] ^ 1]) + BODY[place + 1 :]
        assert not genuine.verify(replace(VECTOR, body=changed)), place


def test_a_signature_has_one_way_to_be_written() -> None:
    """The bits that base64 leaves over at the end are not signed by anybody."""
    spelled = SIGNATURE.removesuffix("M=") + "N="
    assert base64.b64decode(spelled) == base64.b64decode(SIGNATURE)
    headers = {**VECTOR.headers, "x-twilio-email-event-webhook-signature": spelled}
    assert not reader(SIGNED_AT).verify(replace(VECTOR, headers=headers))


def test_a_body_written_anew_fails() -> None:
    again = json.dumps(json.loads(BODY), separators=(",", ":")).encode()
    assert again == BODY.strip()
    assert not reader(SIGNED_AT).verify(replace(VECTOR, body=again))


@pytest.mark.parametrize(
    ("later", "passes"),
    [(0, True), (24 * 3600, True), (25 * 3600 + 1, False), (-9 * 60, True), (-11 * 60, False)],
)
def test_the_age_of_a_signature(later: int, passes: bool) -> None:
    assert reader(SIGNED_AT + timedelta(seconds=later)).verify(VECTOR) is passes


def test_the_vectors_event_is_not_ours_and_kept() -> None:
    events, [stray] = reader(SIGNED_AT).parse(VECTOR)
    assert events == []
    assert (stray.recipient, stray.type) == ("hello@world.com", EventType.REJECTED)
    assert stray.raw == BODY.strip()[1:-1]


def test_a_key_may_be_pem() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    SendGridCallbacks(RelayAccount("sg"), pem, ManualClock(NOW))


def public_text(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64!",
        "AAAA",
        PUBLIC_KEY[:-8],
        "-----BEGIN PUBLIC KEY-----",
        public_text(ec.generate_private_key(ec.SECP384R1()).public_key()),
        public_text(rsa.generate_private_key(65537, 2048).public_key()),
    ],
)
def test_a_wrong_key_is_the_operators_to_mend(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"relays\.sg"):
        SendGridCallbacks(RelayAccount("sg"), text, ManualClock(NOW))


@pytest.mark.parametrize(
    ("kind", "classification", "status", "bounce"),
    [
        ("bounce", "Invalid Address", "5.1.1", BounceClass.HARD),
        ("bounce", "Invalid Address", "5.4.1", BounceClass.HARD),
        ("bounce", "", "5.0.0", BounceClass.HARD),
        ("bounce", "Unclassified", "", BounceClass.HARD),
        ("bounce", "Mailbox Unavailable", "5.2.1", BounceClass.HARD),
        ("bounce", "Mailbox Unavailable", "5.2.2", BounceClass.SOFT),
        ("bounce", "Mailbox Unavailable", "5.0.0", BounceClass.SOFT),
        ("bounce", "Technical Failure", "5.4.4", BounceClass.SOFT),
        ("bounce", "Invalid Address", "5.7.1", BounceClass.BLOCK),
        ("bounce", "Reputation", "5.0.0", BounceClass.BLOCK),
        ("bounce", "Content", "5.0.0", BounceClass.BLOCK),
        ("bounce", "Frequency or Volume Too High", "4.2.1", BounceClass.BLOCK),
        ("bounce", "", "5.1.8", BounceClass.BLOCK),
        ("bounce", "", "5.3.4", BounceClass.BLOCK),
        ("blocked", "Reputation", "4.7.1", BounceClass.BLOCK),
        ("blocked", "Unclassified", "4.4.7", BounceClass.SOFT),
        ("blocked", "Invalid Address", "5.1.1", BounceClass.BLOCK),
        ("blocked", "", "", BounceClass.BLOCK),
        ("", "", "", BounceClass.SOFT),
        ("expired", "New Class", "5.0.0", BounceClass.SOFT),
    ],
)
def test_bounce_classes(kind: str, classification: str, status: str, bounce: BounceClass) -> None:
    event = read_event(event="bounce", type=kind, bounce_classification=classification, status=status)
    assert (event.type, event.bounce) == (EventType.BOUNCED, bounce)


def test_a_bounce_brings_its_codes_and_words() -> None:
    event = read_event(
        event="bounce",
        type="bounce",
        status="5.1.1",
        reason="550 5.1.1 unknown recipient",
        sg_message_id="14c5d75ce93.filter0001.16648.5515E0B88.0",
    )
    assert (event.smtp_code, event.enhanced_code) == (550, "5.1.1")
    assert event.reason == event.diagnostic == "550 5.1.1 unknown recipient"
    assert event.provider_message_id == "14c5d75ce93"


@pytest.mark.parametrize(
    ("reason", "mirrored"),
    [
        ("Bounced Address", SuppressionReason.BOUNCE),
        ("Invalid", SuppressionReason.BOUNCE),
        ("Spam Reporting Address", SuppressionReason.SPAM),
        ("Unsubscribed Address", SuppressionReason.UNSUBSCRIBE),
        ("Spam Content", None),
    ],
)
def test_a_drop_keeps_the_relays_reason_and_names_its_list(
    reason: str, mirrored: SuppressionReason | None
) -> None:
    event = read_event(event="dropped", reason=reason)
    assert (event.type, event.bounce, event.reason) == (EventType.REJECTED, None, reason)
    assert event.mirrored is mirrored


def test_a_machines_open_is_marked() -> None:
    assert read_event(event="open", sg_machine_open=True).machine
    assert not read_event(event="open", sg_machine_open=False).machine
    assert not read_event(event="open", sg_machine_open="true").machine


def test_a_click_has_its_url_and_others_have_none() -> None:
    assert read_event(event="click", url="https://shop.example/a").url == "https://shop.example/a"
    assert read_event(event="group_unsubscribe", url="https://shop.example/a").url is None


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        (int(NOW.timestamp()) - 10, NOW - timedelta(seconds=10)),
        (str(int(NOW.timestamp()) - 10), NOW - timedelta(seconds=10)),
        (NOW.timestamp() - 10.5, NOW - timedelta(seconds=10.5)),
        (0, MADE),
        (-5, NOW),
        (10**30, NOW),
        (1e308, NOW),
        (253_402_300_799, NOW),
        (True, NOW),
        (None, NOW),
        ([], NOW),
    ],
)
def test_times_stay_between_the_job_and_now(said: object, stored: datetime) -> None:
    assert read_event(event="delivered", timestamp=said).occurred_at == stored


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_are_none_are_no_times(number: str) -> None:
    body = f'[{{"posthouse_job":"{JOB}","posthouse_attempt":"2","event":"delivered","timestamp":{number}}}]'
    events, unplaced = reader().parse(replace(VECTOR, headers={}, body=body.encode()))
    for event in events:
        assert event.occurred_at == NOW
    assert len(events) + len(unplaced) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"posthouse_job": None},
        {"posthouse_job": 7},
        {"posthouse_job": "019ca6b1"},
        {"posthouse_job": "{" + str(JOB) + "}"},
        {"posthouse_job": "6f0b1f3e-53a1-5d5c-9c0a-3d1f6f6b7a11"},
        {"posthouse_job": str(JOB).upper()},
        {"posthouse_attempt": None},
        {"posthouse_attempt": 2},
        {"posthouse_attempt": "0"},
        {"posthouse_attempt": "-1"},
        {"posthouse_attempt": "٣"},
        {"posthouse_attempt": "999999"},
    ],
)
def test_an_id_that_is_not_ours_is_unplaced(wrong: dict[str, object]) -> None:
    stray = read(event="spamreport", **wrong)
    assert isinstance(stray, Unplaced)
    assert (stray.recipient, stray.type) == ("ann@example.org", EventType.COMPLAINED)


def test_an_id_of_the_far_future_is_no_crash() -> None:
    far = f"ffffffff-ffff-7{str(JOB)[15:]}"
    event = read_event(event="delivered", posthouse_job=far, timestamp=1)
    assert event.occurred_at == NOW


def test_an_event_without_an_id_of_its_own_gets_a_stable_one() -> None:
    assert read_event(event="open").event_id == read_event(event="open").event_id
    assert read_event(event="open").event_id != read_event(event="open", ip="192.0.2.1").event_id


def test_half_a_surrogate_pair_costs_nothing_but_itself() -> None:
    def entry(agent: str) -> str:
        return f'{{"posthouse_job":"{JOB}","posthouse_attempt":"2","event":"open","useragent":"{agent}"}}'

    body = f"[{entry('fine')},{entry('half ' + chr(92) + 'ud800')},{entry('nul ' + chr(92) + 'u0000')}]"
    events, unplaced = reader().parse(replace(VECTOR, headers={}, body=body.encode()))
    assert unplaced == []
    assert [event.user_agent for event in events] == ["fine", "half \ufffd", "nul \ufffd"]
