"""SES's reader under the laws of the way back."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from event_laws import RECIPIENT, EventHarness, EventLaws
from sns_side import ALLOWED, ARN, BASE, FILE, NOW, FakeSns, body, envelope, sign, stamp

from posthouse.clock import ManualClock
from posthouse.domain.event import BounceClass, EventType
from posthouse.domain.ids import JobId, RelayAccount
from posthouse.relays.base import CallbackReader, RawCallback
from posthouse.relays.ses.callbacks import SesCallbacks
from posthouse.relays.ses.event_table import TABLE

#: word:type:subtype, as SES's documents list them.
WORDS: dict[str, tuple[EventType, BounceClass | None]] = {
    "Send": (EventType.SENT, None),
    "Delivery": (EventType.DELIVERED, None),
    "DeliveryDelay:InternalFailure": (EventType.DEFERRED, None),
    "DeliveryDelay:General": (EventType.DEFERRED, None),
    "DeliveryDelay:MailboxFull": (EventType.DEFERRED, None),
    "DeliveryDelay:SpamDetected": (EventType.DEFERRED, None),
    "DeliveryDelay:RecipientServerError": (EventType.DEFERRED, None),
    "DeliveryDelay:IPFailure": (EventType.DEFERRED, None),
    "DeliveryDelay:TransientCommunicationFailure": (EventType.DEFERRED, None),
    "DeliveryDelay:BYOIPHostNameLookupUnavailable": (EventType.DEFERRED, None),
    "DeliveryDelay:SendingDeferral": (EventType.DEFERRED, None),
    "DeliveryDelay:Undetermined": (EventType.DEFERRED, None),
    "Bounce:Undetermined:Undetermined": (EventType.BOUNCED, BounceClass.SOFT),
    "Bounce:Permanent:General": (EventType.BOUNCED, BounceClass.HARD),
    "Bounce:Permanent:NoEmail": (EventType.BOUNCED, BounceClass.HARD),
    "Bounce:Permanent:Suppressed": (EventType.REJECTED, None),
    "Bounce:Permanent:OnAccountSuppressionList": (EventType.REJECTED, None),
    "Bounce:Permanent:UnsubscribedRecipient": (EventType.REJECTED, None),
    "Bounce:Transient:General": (EventType.BOUNCED, BounceClass.SOFT),
    "Bounce:Transient:MailboxFull": (EventType.BOUNCED, BounceClass.SOFT),
    "Bounce:Transient:MessageTooLarge": (EventType.BOUNCED, BounceClass.BLOCK),
    "Bounce:Transient:ContentRejected": (EventType.BOUNCED, BounceClass.BLOCK),
    "Bounce:Transient:AttachmentRejected": (EventType.BOUNCED, BounceClass.BLOCK),
    "Bounce:Newly:Invented": (EventType.BOUNCED, BounceClass.SOFT),
    "Complaint": (EventType.COMPLAINED, None),
    "Complaint:abuse": (EventType.COMPLAINED, None),
    "Complaint:auth-failure": (EventType.COMPLAINED, None),
    "Complaint:fraud": (EventType.COMPLAINED, None),
    "Complaint:virus": (EventType.COMPLAINED, None),
    "Complaint:other": (EventType.COMPLAINED, None),
    "Complaint:not-spam": (EventType.UNKNOWN, None),
    "Complaint:abuse:OnAccountSuppressionList": (EventType.REJECTED, None),
    "Reject": (EventType.REJECTED, None),
    "Rendering Failure": (EventType.REJECTED, None),
    "Open": (EventType.OPENED, None),
    "Click": (EventType.CLICKED, None),
    "Subscription:OptOut": (EventType.UNSUBSCRIBED, None),
    "Subscription:all": (EventType.UNSUBSCRIBED, None),
    "Subscription:OptIn": (EventType.UNKNOWN, None),
}


def ses_event(word: str, at: str, recipient: str = RECIPIENT, dirt: str = "") -> dict[str, object]:
    """One event of a documented word, without `mail`."""
    name, kind, subtype = (*word.split(":"), "", "")[:3]
    whom = {
        "emailAddress": recipient,
        "action": "failed",
        "status": "5.1.1" if kind == "Permanent" else "4.4.7",
        "diagnosticCode": f"smtp; 550 the server's words{dirt}",
    }
    facts: dict[str, object]
    match name:
        case "Delivery":
            facts = {"delivery": {"recipients": [recipient], "smtpResponse": f"250 2.0.0 ok{dirt}"}}
        case "DeliveryDelay":
            facts = {"deliveryDelay": {"delayType": kind, "delayedRecipients": [whom]}}
        case "Bounce":
            facts = {"bounce": {"bounceType": kind, "bounceSubType": subtype, "bouncedRecipients": [whom]}}
        case "Complaint":
            given = {"complaintFeedbackType": kind or None, "complaintSubType": subtype or None}
            facts = {"complaint": {**given, "complainedRecipients": [{"emailAddress": recipient}]}}
        case "Subscription":
            left = {"topicName": "News", "subscriptionStatus": kind}
            preferences = {"unsubscribeAll": kind == "all", "topicSubscriptionStatus": [left]}
            facts = {"subscription": {"contactList": "L", "newTopicPreferences": preferences}}
        case "Rendering Failure":
            facts = {"failure": {"templateName": "T", "errorMessage": f"no name{dirt}"}}
        case "Open" | "Click":
            seen = {"ipAddress": "192.0.2.1", "userAgent": f"Reader{dirt}", "link": f"https://x.test/{dirt}"}
            facts = {name.lower(): seen}
        case _:
            facts = {name.lower(): {"reason": f"Bad content{dirt}"} if name == "Reject" else {}}
    for inner in facts.values():
        assert isinstance(inner, dict)
        inner["timestamp"] = at
    return {"eventType": name, **facts}


class SesHarness:
    words: Mapping[str, tuple[EventType, BounceClass | None]] = WORDS
    repeats_for: timedelta | None = timedelta(hours=2)
    batches = False

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.account = RelayAccount("sim-ses")
        self.sns = FakeSns()
        reader = SesCallbacks(self.account, [ALLOWED], self.sns, self.clock)
        asyncio.run(reader.prepare(self.callback([])))
        self.reader: CallbackReader = reader

    def entry(self, word: str, *, job_id: JobId | None, attempt: int = 1, serial: int = 1) -> bytes:
        return json.dumps(self._fields(word, job_id, attempt, serial)).encode()

    def dirty_entry(self, word: str, job_id: JobId) -> bytes:
        return json.dumps(self._fields(word, job_id, 1, 1, dirt="\0\ud800\x01")).encode()

    def _fields(
        self, word: str, job_id: JobId | None, attempt: int, serial: int, dirt: str = ""
    ) -> dict[str, object]:
        at = stamp(NOW - timedelta(seconds=5, milliseconds=serial))
        mail: dict[str, object] = {
            "timestamp": at,
            "messageId": f"EXAMPLE7c191be45-{serial}{dirt}",
            "destination": [RECIPIENT],
            "tags": {"ses:configuration-set": ["main"]},
        }
        if job_id is not None:
            mail["tags"] = {"posthouse_job": [str(job_id)], "posthouse_attempt": [str(attempt)]}
        return {**ses_event(word, at, dirt=dirt), "mail": mail}

    def bad_entries(self) -> Sequence[bytes]:
        return [
            b"", b"null", b"5", b'"Delivery"', b"[]", b"{}", b'{"eventType":5,"mail":[]}', b"plain words",
            b'{"eventType":"Teleported","mail":{"destination":"ann","tags":{"posthouse_job":5}}}',
            b'{"eventType":{"a":[]}}', b"1e400", b"NaN", b'{"a":' * 80 + b"1" + b"}" * 80, b"[" * 5000,
        ]  # fmt: skip

    def unreadable(self) -> Sequence[bytes]:
        return [
            b"", b" ", b"{}", b"null", b"[", b"[1] x", b"\xff\xfe", b"\0", b"event=delivered", b"[" * 100_000,
            b'{"Type":"Notification"}', b'{"Type":"Notification","Message":5}', b'{"Type":"Other"}',
            b'{"a":' * 100_000,
        ]  # fmt: skip

    def callback(self, entries: Sequence[bytes]) -> RawCallback:
        message = entries[0].decode() if entries else ""
        return self.signed(body(sign(envelope(message, self.clock.now()))))

    def signed(self, body: bytes) -> RawCallback:
        return RawCallback("ses", self.account, {"x-amz-sns-message-type": "Notification"}, body)

    def forgeries(self, genuine: RawCallback) -> Sequence[RawCallback]:
        fields = json.loads(genuine.body)
        stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        late = stamp(NOW + timedelta(hours=1, minutes=11))
        old = stamp(NOW - timedelta(hours=2, minutes=11))
        other = ARN.replace("123456789012", "210987654321")
        bodies = [
            body({**fields, "Message": fields["Message"] + " "}),
            body({**fields, "Subject": "Another"}),
            body({name: value for name, value in fields.items() if name != "Subject"}),
            body({name: value for name, value in fields.items() if name != "Signature"}),
            body({**fields, "Signature": ""}),
            body({**fields, "Signature": fields["Signature"][4:]}),
            body({**fields, "Signature": "é" * 344}),
            body({**fields, "Signature": "A" * 3_000_000}),
            body({**fields, "SignatureVersion": "1"}),
            body({**fields, "SignatureVersion": "3"}),
            body({**fields, "Timestamp": stamp(NOW + timedelta(seconds=1))}),
            body({**fields, "Type": "SubscriptionConfirmation"}),
            body({**fields, "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf325"}),
            body(sign({**fields, "TopicArn": other})),
            body(sign({**fields, "Timestamp": late})),
            body(sign({**fields, "Timestamp": old})),
            body(sign({**fields, "Timestamp": "2026-03-01"})),
            body(sign(fields, stranger)),
            body({**fields, "SigningCertURL": f"https://sns.eu-west-1.amazonaws.com.evil.example{FILE}"}),
            body({**fields, "SigningCertURL": f"https://sns.amazonaws.com@evil.example{FILE}"}),
            body({**fields, "SigningCertURL": f"http://sns.eu-west-1.amazonaws.com{FILE}"}),
            body({**fields, "SigningCertURL": f"https://sns.eu-west-1.amazonaws.com:444{FILE}"}),
            body({**fields, "SigningCertURL": f"{BASE}/other.pem"}),
            body({**fields, "SigningCertURL": f"{BASE}{FILE}?x"}),
            fields["Message"].encode(),
            b"",
        ]
        return [replace(genuine, body=forged) for forged in bodies]


class TestSesEvents(EventLaws):
    @pytest.fixture
    def harness(self) -> EventHarness:
        return SesHarness()


def test_the_table_and_the_laws_know_the_same_words() -> None:
    assert {word.partition(":")[0] for word in WORDS} == set(TABLE.words)
