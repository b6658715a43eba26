"""Signatures of Standard Webhooks 1.0, and how the secrets behind them are made and kept.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Final, NewType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import EndpointId, NoticeId
from posthouse.domain.webhook import notice_name
from posthouse.storage.webhooks import SealedSecret

#: A secret as its receiver keeps it.
SigningSecret = NewType("SigningSecret", str)

_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32  # the specification asks for 24 to 64
_PURPOSE: Final = b"posthouse webhook secret 1"


def new_secret(random_bytes: Callable[[int], bytes]) -> SigningSecret:
    """`random_bytes` must be cryptographic."""
    return SigningSecret(_PREFIX + base64.b64encode(random_bytes(_SECRET_BYTES)).decode("ascii"))


def headers_of(
    notice: NoticeId, timestamp: int, body: bytes, secrets: Sequence[SigningSecret]
) -> dict[str, str]:
    """What proves a message: one signature for each secret, newest first, so that a receiver may know
    either. `timestamp` is that of the attempt, in Unix seconds: receivers refuse old ones as replayed."""
    name = notice_name(notice)
    signed = f"{name}.{timestamp}.".encode("ascii") + body
    return {
        "webhook-id": name,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets),
    }


def _signature(secret: SigningSecret, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode("ascii")


class SecretBox:
    """Secrets must be readable to sign, so a copy of the database must not be enough to read them: they are
    sealed under the house's keys (newest first), each for its endpoint, so that none can be put in another's
    place."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESSIV(key) for key in keys]

    def seal(self, endpoint: EndpointId, secret: SigningSecret) -> SealedSecret:
        return SealedSecret(self._ciphers[0].encrypt(secret.encode("ascii"), [_PURPOSE, endpoint.bytes]))

    def open(self, endpoint: EndpointId, sealed: SealedSecret) -> SigningSecret:
        """Raises Misconfigured when none of the house's keys has sealed it."""
        for cipher in self._ciphers:
            try:
                plain = cipher.decrypt(sealed, [_PURPOSE, endpoint.bytes])
            except InvalidTag:
                continue
            return SigningSecret(plain.decode("ascii"))
        raise Misconfigured(
            f"The secret of webhook {endpoint} was sealed under a key that this house does not have. Give it "
            "back to POSTHOUSE_SECRET_KEYS, or rotate the secret."
        )
