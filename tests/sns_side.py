"""SNS's side for tests: a certificate of its own making, envelopes signed with it, and what it was asked."""

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from posthouse.relays.ses.sns import topic_of
from posthouse.relays.ses.sns_web import AllowedTopic

ARN = "arn:aws:sns:eu-west-1:123456789012:ses-events"
BASE = "https://sns.eu-west-1.amazonaws.com"
FILE = "/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
ALLOWED = AllowedTopic(topic_of(ARN, "topic_arns"), BASE)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

#: One key for all tests: making one takes longer than any of them.
_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(
    name: str = "sns.amazonaws.com",
    *,
    key: rsa.RSAPrivateKey = _KEY,
    begins: datetime = NOW - timedelta(days=30),
    ends: datetime = NOW + timedelta(days=300),
) -> bytes:
    """As SNS serves it: one PEM, without the chain."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, SHA256())
    )
    return built.public_bytes(Encoding.PEM)


@dataclass
class FakeSns:
    """Calls as the reader makes them. `files` by URL; a file of None: SNS is away."""

    files: dict[str, bytes | None] = field(default_factory=lambda: {BASE + FILE: certificate()})
    fetched: list[str] = field(default_factory=list)
    confirmed: list[tuple[str, str]] = field(default_factory=list)
    trouble: str | None = None

    async def certificate(self, url: str) -> bytes | None:
        self.fetched.append(url)
        return self.files.get(url, b"")

    async def confirm(self, allowed: AllowedTopic, token: str) -> str | None:
        self.confirmed.append((allowed.topic.arn, token))
        return self.trouble

    async def close(self) -> None: ...


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def envelope(message: str, at: datetime = NOW, **changed: str | None) -> dict[str, str]:
    """An unsigned notification; `changed` fields replace or, with None, take away."""
    fields: dict[str, str | None] = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": ARN,
        "Subject": "Amazon SES Email Event Notification",
        "Message": message,
        "Timestamp": stamp(at),
        "SignatureVersion": "2",
        "SigningCertURL": BASE + FILE,
        "UnsubscribeURL": f"{BASE}/?Action=Unsubscribe&SubscriptionArn={ARN}:1",
        **changed,
    }
    return {name: value for name, value in fields.items() if value is not None}


def subscription(kind: str = "SubscriptionConfirmation", at: datetime = NOW) -> dict[str, str]:
    return envelope(
        "You have chosen to subscribe to the topic.",
        at,
        Type=kind,
        Subject=None,
        Token="2336412f37fb687f5d51e6e2425e",
        SubscribeURL="https://evil.example/?Action=ConfirmSubscription",
    )


def sign(fields: dict[str, str], key: rsa.RSAPrivateKey = _KEY) -> dict[str, str]:
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{fields[name]}\n" for name in names if name in fields)
    digest = SHA1() if fields["SignatureVersion"] == "1" else SHA256()
    signature = key.sign(text.encode(), PKCS1v15(), digest)
    return {**fields, "Signature": base64.b64encode(signature).decode()}


def body(fields: dict[str, str]) -> bytes:
    return json.dumps(fields, indent=2).encode()
