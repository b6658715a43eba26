"""SendGrid's reader under the laws of the way back."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from event_laws import RECIPIENT, EventHarness, EventLaws

from posthouse.clock import ManualClock
from posthouse.domain.event import BounceClass, EventType
from posthouse.domain.ids import JobId, RelayAccount
from posthouse.relays.base import CallbackReader, RawCallback
from posthouse.relays.sendgrid import SendGridCallbacks

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"

#: A word with ":" names the kind of bounce after it.
WORDS: dict[str, tuple[EventType, BounceClass | None]] = {
    "processed": (EventType.SENT, None),
    "delivered": (EventType.DELIVERED, None),
    "deferred": (EventType.DEFERRED, None),
    "bounce:bounce": (EventType.BOUNCED, BounceClass.HARD),
    "bounce:blocked": (EventType.BOUNCED, BounceClass.BLOCK),
    "dropped": (EventType.REJECTED, None),
    "open": (EventType.OPENED, None),
    "click": (EventType.CLICKED, None),
    "spamreport": (EventType.COMPLAINED, None),
    "unsubscribe": (EventType.UNSUBSCRIBED, None),
    "group_unsubscribe": (EventType.UNSUBSCRIBED, None),
    "group_resubscribe": (EventType.UNKNOWN, None),
    "account_status_change": (EventType.UNKNOWN, None),
}


class SendGridHarness:
    words: Mapping[str, tuple[EventType, BounceClass | None]] = WORDS
    repeats_for: timedelta | None = timedelta(hours=24)
    batches = True

    def __init__(self) -> None:
        self.clock = ManualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.account = RelayAccount("sim-sendgrid")
        self.reader: CallbackReader = SendGridCallbacks(self.account, public_text(self._key), self.clock)

    def entry(self, word: str, *, job_id: JobId | None, attempt: int = 1, serial: int = 1) -> bytes:
        return json.dumps(self._fields(word, job_id, attempt, serial)).encode()

    def dirty_entry(self, word: str, job_id: JobId) -> bytes:
        fields = self._fields(word, job_id, 1, 1)
        for name in ("reason", "response", "useragent", "url", "sg_message_id", "sg_event_id", "status"):
            fields[name] = f"\0{fields.get(name, 'x')}\ud800\x01"
        return json.dumps(fields).encode()

    def _fields(self, word: str, job_id: JobId | None, attempt: int, serial: int) -> dict[str, object]:
        event, _, kind = word.partition(":")
        fields: dict[str, object] = {
            "event": event,
            "email": RECIPIENT,
            "timestamp": int(self.clock.now().timestamp()) - 5,
            "sg_event_id": f"event-{word}-{serial}",
            "sg_message_id": "14c5d75ce93.filter0001.16648.5515E0B88.0",
        }
        if kind:
            fields["type"] = kind
        if job_id is not None:
            fields |= {"posthouse_job": str(job_id), "posthouse_attempt": str(attempt)}
        return fields

    def bad_entries(self) -> Sequence[bytes]:
        return [
            b"null", b"5", b'"delivered"', b"[]", b"[[[]]]", b"{}", b'{"event":5}', b'{"event":{"a":[]}}',
            b"1e400",
            b'{"event":"open","useragent":"\\ud800"}', b'{"event":"bounce","email":["a"],"timestamp":"x"}',
            b"NaN", b'{"a":' * 80 + b"1" + b"}" * 80,
        ]  # fmt: skip

    def unreadable(self) -> Sequence[bytes]:
        return [
            b"", b" ", b"{}", b"null", b"[", b"[1,", b"[1] x", b"\xff\xfe", b"\0", b"event=delivered",
            b"[" * 100_000,
            b"[" * 100_000 + b"]" * 100_000, b"[" + b"1," * 30_000 + b"1]",
        ]  # fmt: skip

    def callback(self, entries: Sequence[bytes]) -> RawCallback:
        # SendGrid's bodies end with a line break that is signed with them.
        return self.signed(b"[" + b",".join(entries) + b"]\r\n")

    def signed(self, body: bytes) -> RawCallback:
        return self._signed_at(body, self.clock.now())

    def _signed_at(self, body: bytes, moment: datetime) -> RawCallback:
        timestamp = str(int(moment.timestamp()))
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(SHA256()))
        headers = {SIGNATURE: base64.b64encode(signature).decode(), TIMESTAMP: timestamp}
        return RawCallback("sendgrid", self.account, headers, body)

    def forgeries(self, genuine: RawCallback) -> Sequence[RawCallback]:
        signature, timestamp = genuine.headers[SIGNATURE], genuine.headers[TIMESTAMP]
        headers: list[dict[str, str]] = [
            {},
            {SIGNATURE: signature},
            {TIMESTAMP: timestamp},
            {SIGNATURE: "", TIMESTAMP: timestamp},
            {SIGNATURE: signature[:-8], TIMESTAMP: timestamp},
            {SIGNATURE: f" {signature}", TIMESTAMP: timestamp},
            {SIGNATURE: base64.b64encode(b"\x30\x00").decode(), TIMESTAMP: timestamp},
            {SIGNATURE: "é" * 90, TIMESTAMP: timestamp},
            {SIGNATURE: "A" * 10_000_000, TIMESTAMP: timestamp},
            {SIGNATURE: signature, TIMESTAMP: str(int(timestamp) + 1)},
            {SIGNATURE: signature, TIMESTAMP: f"+{timestamp}"},
            {SIGNATURE: signature, TIMESTAMP: f"{timestamp}.0"},
            {SIGNATURE: signature, TIMESTAMP: "٣" * 10},
            {SIGNATURE: signature, TIMESTAMP: "9" * 5000},
        ]
        return [
            *(replace(genuine, headers=wrong) for wrong in headers),
            replace(genuine, body=genuine.body.strip()),
            replace(genuine, body=genuine.body + b" "),
            replace(genuine, body=genuine.body.replace(b"e", b"E", 1)),
            SendGridHarness().signed(genuine.body),  # another account's key
            self._signed_at(genuine.body, self.clock.now() + timedelta(minutes=11)),
        ]


def public_text(key: ec.EllipticCurvePrivateKey) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


class TestSendGridEvents(EventLaws):
    @pytest.fixture
    def harness(self) -> EventHarness:
        return SendGridHarness()


def test_the_table_and_the_laws_know_the_same_words() -> None:
    from_laws = {word.partition(":")[0] for word in WORDS}
    assert from_laws == {
        "processed", "delivered", "deferred", "bounce", "dropped", "open", "click", "spamreport",
        "unsubscribe", "group_unsubscribe", "group_resubscribe", "account_status_change",
    }  # fmt: skip
