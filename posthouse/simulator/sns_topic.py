"""SNS for one account: its certificate, its signed envelopes, and a subscription that must be confirmed.

https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Final
from uuid import UUID

from aiohttp import ClientError, ClientSession, ClientTimeout
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from posthouse.clock import Clock
from posthouse.simulator.settings import BadSettingsError
from posthouse.simulator.webhooks import Call

_SIGNER: Final = "sns.amazonaws.com"
_VALID: Final = timedelta(days=365)
#: A subscription that nobody confirmed yet is offered again; SNS's own patience is shorter, and its operator
#: presses a button instead.
_ASK_AGAIN: Final = 0.2  # seconds
_TIMEOUT: Final = 5.0
_SIGNED: Final = ("Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")


def load_key(path: Path) -> RSAPrivateKey:
    """The key in a PEM file, made when missing. Raises BadSettingsError when it is no RSA key."""
    if not path.exists():
        key = generate_private_key(public_exponent=65537, key_size=2048)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return key
    try:
        loaded = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise BadSettingsError(f"{path}: {error}") from error
    if not isinstance(loaded, RSAPrivateKey):
        raise BadSettingsError(f"{path}: not an RSA key")
    return loaded


def make_certificate(key: RSAPrivateKey, now: datetime) -> bytes:
    """As SNS's, but signed by itself."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _SIGNER)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_SIGNER)]), critical=False)
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic with what signs for it. `base_url` is known when the account listens."""

    arn: str
    version: str
    key: RSAPrivateKey
    certificate: bytes

    @property
    def certificate_path(self) -> str:
        return f"/SimpleNotificationService-{blake2b(self.certificate, digest_size=16).hexdigest()}.pem"

    def notification(self, message: str, base_url: str, at: datetime) -> Mapping[str, str]:
        """An event in its envelope; repeated, it keeps its id."""
        fields = {
            "Type": "Notification",
            "Subject": "Amazon SES Email Event Notification",
            "UnsubscribeURL": f"{base_url}/?Action=Unsubscribe&SubscriptionArn={self.arn}:simulated",
        }
        return self._signed(fields, message, base_url, at)

    def confirmation(self, token: str, base_url: str, at: datetime) -> Mapping[str, str]:
        url = f"{base_url}/?Action=ConfirmSubscription&TopicArn={self.arn}&Token={token}"
        fields = {"Type": "SubscriptionConfirmation", "Token": token, "SubscribeURL": url}
        message = f"You have chosen to subscribe to the topic {self.arn}."
        return self._signed(fields, message, base_url, at)

    def _signed(
        self, fields: Mapping[str, str], message: str, base_url: str, at: datetime
    ) -> Mapping[str, str]:
        name = UUID(bytes=blake2b(message.encode("utf-8", "replace"), digest_size=16).digest())
        whole = {
            **fields,
            "Message": message,
            "MessageId": str(name),
            "TopicArn": self.arn,
            "Timestamp": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z",
            "SignatureVersion": self.version,
            "SigningCertURL": base_url + self.certificate_path,
        }
        text = "".join(f"{part}\n{whole[part]}\n" for part in _SIGNED if part in whole)
        digest = SHA1() if self.version == "1" else SHA256()  # noqa: S303  # the version that SNS calls 1
        return {**whole, "Signature": b64encode(self.key.sign(text.encode(), PKCS1v15(), digest)).decode()}


class SnsStyle:
    """One event in a call; 4xx is the end of it, but for 429
    (https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html)."""

    def __init__(self, topic: Topic, base_url: str) -> None:
        self._topic = topic
        self._base_url = base_url

    def call(self, payloads: Sequence[bytes], at: datetime) -> Call:
        [payload] = payloads
        return sns_call(self._topic, self._topic.notification(payload.decode(), self._base_url, at))

    def is_final(self, status: int) -> bool:
        return 400 <= status < 500 and status != 429


def sns_call(topic: Topic, fields: Mapping[str, str]) -> Call:
    headers = {
        "x-amz-sns-message-type": fields["Type"],
        "x-amz-sns-message-id": fields["MessageId"],
        "x-amz-sns-topic-arn": topic.arn,
        "Content-Type": "text/plain; charset=UTF-8",
        "User-Agent": "Amazon Simple Notification Service Agent",
    }
    return Call(headers, json.dumps(fields, indent=2).encode())


class Subscription:
    """Offered until somebody confirms it; nothing is published before."""

    def __init__(self, topic: Topic, base_url: str, webhook_url: str, token: str, clock: Clock) -> None:
        self.confirmed = asyncio.Event()
        self._topic = topic
        self._base_url = base_url
        self._webhook_url = webhook_url
        self._token = token
        self._clock = clock

    def confirm(self, arn: str, token: str) -> bool:
        """Whether this is the subscription's token."""
        if arn != self._topic.arn or token != self._token:
            return False
        self.confirmed.set()
        return True

    async def offer(self) -> None:
        """Until it is confirmed."""
        async with ClientSession(timeout=ClientTimeout(total=_TIMEOUT)) as session:
            while not self.confirmed.is_set():
                fields = self._topic.confirmation(self._token, self._base_url, self._clock.now())
                call = sns_call(self._topic, fields)
                try:
                    async with session.post(
                        self._webhook_url, data=call.body, headers=call.headers, allow_redirects=False
                    ):
                        pass
                except (ClientError, TimeoutError, OSError):
                    pass
                await asyncio.sleep(_ASK_AGAIN)
