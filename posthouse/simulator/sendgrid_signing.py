"""How SendGrid's Event Webhook calls: ECDSA P-256 over the timestamp and the body of a batch."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from posthouse.simulator.settings import BadSettingsError
from posthouse.simulator.webhooks import Call

SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"


class Signer:
    """ECDSA P-256 over timestamp + body, as the Event Webhook signs."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public_key = b64encode(public).decode()  # as SendGrid shows it

    def headers(self, timestamp: str, body: bytes) -> dict[str, str]:
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(SHA256()))
        return {
            SIGNATURE_HEADER: b64encode(signature).decode(),
            TIMESTAMP_HEADER: timestamp,
            "Content-Type": "application/json",
        }


def load_signer(path: Path) -> Signer:
    """The key in a PEM file, made when missing. Raises BadSettingsError when it is no P-256 key."""
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return Signer(key)
    try:
        loaded = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise BadSettingsError(f"{path}: {error}") from error
    if not isinstance(loaded, ec.EllipticCurvePrivateKey) or not isinstance(loaded.curve, ec.SECP256R1):
        raise BadSettingsError(f"{path}: not an ECDSA P-256 key")
    return Signer(loaded)


class SendGridStyle:
    """Batches, signed; whatever is not a 2xx is tried again for 24 hours."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def call(self, payloads: Sequence[bytes], at: datetime) -> Call:
        body = batch_body(payloads)
        return Call(self._signer.headers(str(int(at.timestamp())), body), body)

    def is_final(self, status: int) -> bool:
        return False


def batch_body(payloads: Sequence[bytes]) -> bytes:
    """A JSON array that ends with CRLF, as SendGrid's does: receivers that parse before they verify fail."""
    return b"[" + b",\r\n".join(payloads) + b"]\r\n"
