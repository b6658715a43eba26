"""Mailgun's reader under the laws of the way back."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from event_laws import RECIPIENT, EventHarness, EventLaws

from posthouse.clock import ManualClock
from posthouse.domain.event import BounceClass, EventType
from posthouse.domain.ids import JobId, RelayAccount
from posthouse.relays.base import CallbackReader, RawCallback
from posthouse.relays.mailgun.callbacks import MailgunCallbacks

KEY = "key-webhook-signing"

#: After ":" the severity and the reason of a failure.
WORDS: dict[str, tuple[EventType, BounceClass | None]] = {
    "accepted": (EventType.SENT, None),
    "delivered": (EventType.DELIVERED, None),
    "failed:temporary:generic": (EventType.DEFERRED, None),
    "failed:temporary:greylisted": (EventType.DEFERRED, None),
    "failed:permanent:bounce": (EventType.BOUNCED, BounceClass.HARD),
    "failed:permanent:generic": (EventType.BOUNCED, BounceClass.HARD),
    "failed:permanent:old": (EventType.BOUNCED, BounceClass.SOFT),
    "failed:permanent:greylisted": (EventType.BOUNCED, BounceClass.SOFT),
    "failed:permanent:espblock": (EventType.BOUNCED, BounceClass.BLOCK),
    "failed:permanent:suppress-bounce": (EventType.REJECTED, None),
    "failed:permanent:suppress-complaint": (EventType.REJECTED, None),
    "failed:permanent:suppress-unsubscribe": (EventType.REJECTED, None),
    "rejected": (EventType.REJECTED, None),
    "opened": (EventType.OPENED, None),
    "clicked": (EventType.CLICKED, None),
    "unsubscribed": (EventType.UNSUBSCRIBED, None),
    "complained": (EventType.COMPLAINED, None),
    "stored": (EventType.UNKNOWN, None),
    "list_member_uploaded": (EventType.UNKNOWN, None),
    "list_member_upload_error": (EventType.UNKNOWN, None),
    "list_uploaded": (EventType.UNKNOWN, None),
}


def sign(key: str, timestamp: str, token: str) -> str:
    return hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()


class MailgunHarness:
    words: Mapping[str, tuple[EventType, BounceClass | None]] = WORDS
    repeats_for: timedelta | None = timedelta(hours=8)
    batches = True

    def __init__(self, key: str = KEY) -> None:
        self.clock = ManualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
        self.account = RelayAccount("sim-mailgun")
        self.reader: CallbackReader = MailgunCallbacks(self.account, key, self.clock)
        self._key = key
        self._calls = 0

    def entry(self, word: str, *, job_id: JobId | None, attempt: int = 1, serial: int = 1) -> bytes:
        return json.dumps(self._fields(word, job_id, attempt, serial)).encode()

    def dirty_entry(self, word: str, job_id: JobId) -> bytes:
        fields = self._fields(word, job_id, 1, 1)
        dirt = "\0text\ud800\x01"
        fields |= {"id": dirt, "url": dirt, "client-info": {"user-agent": dirt, "bot": dirt}}
        fields["message"] = {"headers": {"message-id": dirt, "to": dirt}}
        status = fields.get("delivery-status", {})
        assert isinstance(status, dict)
        fields["delivery-status"] = {**status, "message": dirt, "description": dirt}
        return json.dumps(fields).encode()

    def _fields(self, word: str, job_id: JobId | None, attempt: int, serial: int) -> dict[str, object]:
        event, severity, reason = (*word.split(":"), "", "")[:3]
        fields: dict[str, object] = {
            "event": event,
            "id": f"id-{word}-{serial}",
            "timestamp": self.clock.now().timestamp() - 5.25,
            "message": {"headers": {"message-id": "1@mail.shop.example", "to": f"Ann <{RECIPIENT}>"}},
        }
        if event != "rejected":
            fields["recipient"] = RECIPIENT
        if severity:
            fields |= {"severity": severity, "reason": reason}
            fields["delivery-status"] = {"code": 550, "message": "5.1.1 no such user"}
        if job_id is not None:
            fields["user-variables"] = {"posthouse_job": str(job_id), "posthouse_attempt": str(attempt)}
        return fields

    def bad_entries(self) -> Sequence[bytes]:
        return [
            b"null", b"5", b'"delivered"', b"[]", b"[[[]]]", b"{}", b'{"event":5}', b'{"event":{"a":[]}}',
            b'{"event":"opened","client-info":"\\ud800"}', b'{"event":"failed","delivery-status":5}',
            b'{"event":"failed","severity":["permanent"],"delivery-status":{"code":"x"}}',
            b'{"event":"delivered","user-variables":[]}', b'{"event":"delivered","timestamp":1e400}',
            b'{"event":"delivered","user-variables":{"posthouse_job":5}}', b"NaN",
            b'{"a":' * 80 + b"1" + b"}" * 80,
        ]  # fmt: skip

    def unreadable(self) -> Sequence[bytes]:
        return [
            b"", b" ", b"[]", b"null", b"{}", b"{", b'{"event-data"', b'{"signature":{}}', b"\xff\xfe", b"\0",
            b"event=delivered", b"[" * 100_000, b'{"event-data":' * 50_000,
            b'{"event-data":[' + b"1," * 30_000 + b"1]}",
        ]  # fmt: skip

    def callback(self, entries: Sequence[bytes]) -> RawCallback:
        said = entries[0] if len(entries) == 1 else b"[" + b",".join(entries) + b"]"
        return self.enveloped(said, self.clock.now())

    def enveloped(self, said: bytes, moment: datetime, key: str | None = None) -> RawCallback:
        self._calls += 1
        timestamp, token = str(int(moment.timestamp())), f"{self._calls:050x}"
        signature = sign(key or self._key, timestamp, token)
        head = json.dumps({"timestamp": timestamp, "token": token, "signature": signature}).encode()
        return self.signed(b'{"signature":' + head + b',"event-data":' + said + b"}")

    def signed(self, body: bytes) -> RawCallback:
        return RawCallback("mailgun", self.account, {"content-type": "application/json"}, body)

    def forgeries(self, genuine: RawCallback) -> Sequence[RawCallback]:
        whole = json.loads(genuine.body)
        block = whole["signature"]
        blocks: list[object] = [
            {},
            None,
            [],
            "signature",
            {**block, "signature": ""},
            {**block, "signature": block["signature"].upper()},
            {**block, "signature": block["signature"][:-1]},
            {**block, "signature": "0" * 64},
            {**block, "signature": "٣" * 64},
            {**block, "signature": block["signature"] + "\n"},
            {**block, "token": block["token"][:-1]},
            {**block, "token": block["timestamp"][-1] + block["token"]},
            {**block, "token": ""},
            {**block, "token": 5},
            {**block, "timestamp": str(int(block["timestamp"]) + 1)},
            {**block, "timestamp": f"+{block['timestamp']}"},
            {**block, "timestamp": f"{block['timestamp']}.0"},
            {**block, "timestamp": "٣" * 10},
            {**block, "timestamp": "9" * 5000},
            {**block, "timestamp": True},
            # The same bytes are signed when the border between the two moves.
            {**block, "timestamp": block["timestamp"][:-1], "token": block["timestamp"][-1] + block["token"]},
            {key: value for key, value in block.items() if key != "timestamp"},
            {key: value for key, value in block.items() if key != "token"},
            {key: value for key, value in block.items() if key != "signature"},
        ]
        return [
            *(replace(genuine, body=json.dumps({**whole, "signature": b}).encode()) for b in blocks),
            replace(genuine, body=json.dumps({"event-data": whole["event-data"]}).encode()),
            replace(genuine, body=b""),
            replace(genuine, body=genuine.body[:-1]),
            replace(genuine, headers={"content-type": "application/x-www-form-urlencoded"}),
            self.enveloped(b"{}", self.clock.now(), "another-key"),
            self.enveloped(b"{}", self.clock.now() + timedelta(minutes=11)),
        ]


class TestMailgunEvents(EventLaws):
    @pytest.fixture
    def harness(self) -> EventHarness:
        return MailgunHarness()
