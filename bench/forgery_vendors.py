"""What signs genuine callbacks for the forgery bench: one class for each relay that calls back."""

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from posthouse.clock import ManualClock
from posthouse.domain.ids import RelayAccount, uuid7
from posthouse.relays.base import CallbackReader, RawCallback
from posthouse.relays.mailgun.callbacks import MailgunCallbacks
from posthouse.relays.postmark import PostmarkCallbacks, PostmarkSecrets
from posthouse.relays.sendgrid import SendGridCallbacks

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACCOUNT = RelayAccount("mail")


class SendGridVendor:
    """ECDSA over the timestamp and the body, both halves in headers."""

    signature = "x-twilio-email-event-webhook-signature"
    timestamp = "x-twilio-email-event-webhook-timestamp"
    headers = (signature, timestamp)
    covers_body = True

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.reader: CallbackReader = SendGridCallbacks(
            ACCOUNT, base64.b64encode(public).decode(), ManualClock(NOW)
        )

    def genuine(self, serial: int) -> RawCallback:
        body = json.dumps([{"event": "delivered", "email": f"r{serial}@x.test", **_ours(serial)}]).encode()
        timestamp = str(int(NOW.timestamp()) - serial)
        signed = self._key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        headers = {self.signature: base64.b64encode(signed).decode(), self.timestamp: timestamp}
        return RawCallback("sendgrid", ACCOUNT, headers, body)


class MailgunVendor:
    """HMAC over a timestamp and a token, in the body; a token is good for the body that it came with."""

    headers = ()
    covers_body = True

    def __init__(self) -> None:
        self._key = "a-signing-key"
        self._rng = random.Random(1)
        self.reader: CallbackReader = MailgunCallbacks(ACCOUNT, self._key, ManualClock(NOW))

    def genuine(self, serial: int) -> RawCallback:
        timestamp, token = str(int(NOW.timestamp()) - serial), self._rng.randbytes(25).hex()
        digest = hmac.new(self._key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
        whole = {
            "signature": {"timestamp": timestamp, "token": token, "signature": digest},
            "event-data": {
                "event": "delivered",
                "id": f"id-{serial}",
                "timestamp": NOW.timestamp() - serial,
                "recipient": f"r{serial}@x.test",
                "user-variables": _ours(serial),
            },
        }
        headers = {"content-type": "application/json"}
        return RawCallback("mailgun", ACCOUNT, headers, json.dumps(whole).encode())


class PostmarkVendor:
    """A password and a secret header. Nothing covers the body: who has both may write what he likes."""

    headers = ("authorization", "x-hook")
    covers_body = False

    def __init__(self) -> None:
        secrets = PostmarkSecrets(
            user="posthouse", password="a-password", header_name="X-Hook", header_value="a-secret"
        )
        self.reader: CallbackReader = PostmarkCallbacks(ACCOUNT, secrets, ManualClock(NOW))

    def genuine(self, serial: int) -> RawCallback:
        pair = base64.b64encode(b"posthouse:a-password").decode()
        headers = {"authorization": f"Basic {pair}", "x-hook": "a-secret"}
        record = {"RecordType": "Delivery", "Recipient": f"r{serial}@x.test", "Metadata": _ours(serial)}
        return RawCallback("postmark", ACCOUNT, headers, json.dumps(record).encode())


def _ours(serial: int) -> dict[str, str]:
    job_id = uuid7(int(NOW.timestamp() * 1000) - 60_000, serial)
    return {"posthouse_job": str(job_id), "posthouse_attempt": "1"}


AnyVendor: TypeAlias = SendGridVendor | MailgunVendor | PostmarkVendor

#: By the name in /hooks/{relay}/{account}.
VENDORS: Mapping[str, Callable[[], AnyVendor]] = {
    "sendgrid": SendGridVendor,
    "mailgun": MailgunVendor,
    "postmark": PostmarkVendor,
}
