"""Postmark's reader under the laws of the way back."""

import base64
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
from posthouse.relays.postmark import PostmarkCallbacks, PostmarkSecrets
from posthouse.relays.postmark.callbacks import BOUNCE_TYPES

SECRETS = PostmarkSecrets(
    user="posthouse", password="långt-löfte", header_name="X-Hook", header_value="s3cret"
)

HARD = (EventType.BOUNCED, BounceClass.HARD)
SOFT = (EventType.BOUNCED, BounceClass.SOFT)
BLOCK = (EventType.BOUNCED, BounceClass.BLOCK)
DEFERRED = (EventType.DEFERRED, None)
REJECTED = (EventType.REJECTED, None)
UNKNOWN = (EventType.UNKNOWN, None)

#: A word with ":" names the type of bounce, or the change of a subscription, after it.
WORDS: dict[str, tuple[EventType, BounceClass | None]] = {
    "Delivery": (EventType.DELIVERED, None),
    "Open": (EventType.OPENED, None),
    "Click": (EventType.CLICKED, None),
    "SpamComplaint": (EventType.COMPLAINED, None),
    "Inbound": UNKNOWN,
    "Bounce:HardBounce": HARD,
    "Bounce:Transient": DEFERRED,
    "Bounce:Unsubscribe": (EventType.UNSUBSCRIBED, None),
    "Bounce:Subscribe": UNKNOWN,
    "Bounce:AutoResponder": UNKNOWN,
    "Bounce:AddressChange": HARD,
    "Bounce:DnsError": DEFERRED,
    "Bounce:SpamNotification": BLOCK,
    "Bounce:OpenRelayTest": UNKNOWN,
    "Bounce:Unknown": SOFT,
    "Bounce:SoftBounce": SOFT,
    "Bounce:VirusNotification": BLOCK,
    "Bounce:ChallengeVerification": BLOCK,
    "Bounce:BadEmailAddress": HARD,
    "Bounce:SpamComplaint": (EventType.COMPLAINED, None),
    "Bounce:ManuallyDeactivated": REJECTED,
    "Bounce:Unconfirmed": REJECTED,
    "Bounce:Blocked": BLOCK,
    "Bounce:SMTPApiError": REJECTED,
    "Bounce:InboundError": UNKNOWN,
    "Bounce:DMARCPolicy": BLOCK,
    "Bounce:TemplateRenderingFailed": REJECTED,
    "SubscriptionChange:True ManualSuppression Recipient": (EventType.UNSUBSCRIBED, None),
    "SubscriptionChange:True ManualSuppression Customer": UNKNOWN,
    "SubscriptionChange:True ManualSuppression Admin": UNKNOWN,
    "SubscriptionChange:True HardBounce Recipient": UNKNOWN,
    "SubscriptionChange:True SpamComplaint Recipient": UNKNOWN,
    "SubscriptionChange:False None Customer": UNKNOWN,
}

TIMES = {
    "Delivery": "DeliveredAt",
    "Bounce": "BouncedAt",
    "SpamComplaint": "BouncedAt",
    "SubscriptionChange": "ChangedAt",
}
TYPE_CODES = {
    "HardBounce": 1, "Transient": 2, "Unsubscribe": 16, "Subscribe": 32, "AutoResponder": 64,
    "AddressChange": 128, "DnsError": 256, "SpamNotification": 512, "OpenRelayTest": 1024, "Unknown": 2048,
    "SoftBounce": 4096, "VirusNotification": 8192, "ChallengeVerification": 16384, "BadEmailAddress": 100000,
    "SpamComplaint": 100001, "ManuallyDeactivated": 100002, "Unconfirmed": 100003, "Blocked": 100006,
    "SMTPApiError": 100007, "InboundError": 100008, "DMARCPolicy": 100009, "TemplateRenderingFailed": 100010,
}  # fmt: skip


class PostmarkHarness:
    words: Mapping[str, tuple[EventType, BounceClass | None]] = WORDS
    repeats_for: timedelta | None = None
    batches = False

    def __init__(self) -> None:
        self.clock = ManualClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
        self.account = RelayAccount("sim-postmark")
        self.reader: CallbackReader = PostmarkCallbacks(self.account, SECRETS, self.clock)
        self._said_at = self.clock.now() - timedelta(seconds=5)

    def entry(self, word: str, *, job_id: JobId | None, attempt: int = 1, serial: int = 1) -> bytes:
        return json.dumps(self._fields(word, job_id, attempt, serial)).encode()

    def dirty_entry(self, word: str, job_id: JobId) -> bytes:
        fields = self._fields(word, job_id, 1, 1)
        for name in ("Details", "Description", "UserAgent", "OriginalLink", "MessageID", "Type", "Origin"):
            fields[name] = f"\0{fields.get(name, 'x')}\ud800\x01"
        return json.dumps(fields).encode()

    def _fields(self, word: str, job_id: JobId | None, attempt: int, serial: int) -> dict[str, object]:
        record, _, kind = word.partition(":")
        said_at = self._said_at.astimezone().isoformat(timespec="microseconds").replace("+", "7+")
        fields: dict[str, object] = {
            "RecordType": record,
            "ServerID": 23,
            "MessageStream": "letters",
            "MessageID": f"883953f4-6105-42a2-a16a-{serial:012d}",
            "Tag": "",
            "Metadata": {},
            TIMES.get(record, "ReceivedAt"): said_at,
        }
        if record in ("Bounce", "SpamComplaint"):
            kind = kind or "SpamComplaint"
            fields |= {
                "ID": 901542550 + serial,
                "Type": kind,
                "TypeCode": TYPE_CODES.get(kind, 0),
                "Email": RECIPIENT,
                "Description": f"Words about {kind}.",
                "Inactive": False,
            }
        else:
            fields["Recipient"] = RECIPIENT
        if record == "SubscriptionChange":
            suppressed, reason, origin = kind.split(" ")
            fields |= {
                "SuppressSending": suppressed == "True",
                "SuppressionReason": None if reason == "None" else reason,
                "Origin": origin,
            }
        if job_id is not None:
            fields["Metadata"] = {"posthouse_job": str(job_id), "posthouse_attempt": str(attempt)}
        return fields

    def bad_entries(self) -> Sequence[bytes]:
        return [
            b"{}", b'{"RecordType":5}', b'{"RecordType":{"a":[]}}', b'{"RecordType":null,"Metadata":null}',
            b'{"RecordType":"Bounce","Metadata":[]}',
            b'{"RecordType":"Bounce","Type":5,"Metadata":{"posthouse_job":1}}',
            b'{"RecordType":"SubscriptionChange","SuppressSending":"true","Origin":[]}',
            b'{"From":"a@example.org","Subject":"incoming mail has no RecordType","TextBody":"\\ud800"}',
            b'{"a":' * 80 + b"1" + b"}" * 80,
        ]  # fmt: skip

    def unreadable(self) -> Sequence[bytes]:
        return [
            b"", b" ", b"[]", b"null", b"5", b'"Delivery"', b"{", b'{"RecordType":"Delivery"', b"{} x",
            b"\xff\xfe", b"\0", b"RecordType=Delivery", b"[" * 99_999, b"NaN", b'[{"RecordType":"Delivery"}]',
        ]  # fmt: skip

    def callback(self, entries: Sequence[bytes]) -> RawCallback:
        [only] = entries
        return self.signed(only)

    def signed(self, body: bytes) -> RawCallback:
        headers = {"authorization": basic(SECRETS.user, SECRETS.password), "x-hook": SECRETS.header_value}
        return RawCallback("postmark", self.account, headers, body)

    def forgeries(self, genuine: RawCallback) -> Sequence[RawCallback]:
        good = dict(genuine.headers)
        user, password = SECRETS.user, SECRETS.password
        wrong: list[dict[str, str]] = [
            {},
            {"authorization": good["authorization"]},
            {"x-hook": good["x-hook"]},
            good | {"authorization": ""},
            good | {"authorization": basic(user, password[:-1])},
            good | {"authorization": basic(user, password + "x")},
            good | {"authorization": basic("Posthouse", password)},
            good | {"authorization": basic("", "")},
            good | {"authorization": good["authorization"].replace("Basic", "Bearer")},
            good | {"authorization": "Basic é"},
            good | {"authorization": "Basic " + "A" * 10_000_000},
            good | {"authorization": f"{user}:{password}"},
            good | {"x-hook": "S3CRET"},
            good | {"x-hook": ""},
            good | {"x-hook": "\ud800"},
        ]
        return [replace(genuine, headers=headers) for headers in wrong]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class TestPostmarkEvents(EventLaws):
    @pytest.fixture
    def harness(self) -> EventHarness:
        return PostmarkHarness()


def test_the_table_and_the_laws_know_the_same_types() -> None:
    documented = {word.partition(":")[2] for word in WORDS if word.startswith("Bounce:")}
    assert documented == set(TYPE_CODES) == BOUNCE_TYPES
