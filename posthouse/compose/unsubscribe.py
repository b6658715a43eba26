"""Unsubscribe tokens: self-contained, encrypted, and good for years.

They work after the job is gone, because they carry the address; they show it to nobody, because they are
encrypted. AES-SIV (RFC 5297) is deterministic, so a mail that is composed again has the same link.
"""

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from msgspec import Struct

from posthouse.domain.errors import InvalidInput, Misconfigured
from posthouse.domain.ids import JobId
from posthouse.domain.suppression import SuppressionScope

MAX_TOKEN_CHARACTERS: Final = 600
_KEY_ID_BYTES: Final = 2
_UUID_BYTES: Final = 16
_PURPOSE = b"posthouse unsubscribe 1"
_SCOPES = (SuppressionScope.MARKETING, SuppressionScope.ALL)  # append only: tokens hold the position
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


class Unsubscribe(Struct, frozen=True, gc=False):
    """What a token says: this address wants no more of this, and which mail it was answering."""

    address: str
    scope: SuppressionScope
    job_id: JobId


class UnsubscribeTokens:
    """Seals with the newest key and opens with any. Keys are 32, 48 or 64 bytes, newest first."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) not in (32, 48, 64) for key in keys):
            raise Misconfigured("An unsubscribe key must have 32, 48 or 64 bytes, and there must be one.")
        self._ciphers = {_key_id(key): AESSIV(key) for key in reversed(keys)}
        self._newest = _key_id(keys[0])

    def seal(self, unsubscribe: Unsubscribe) -> str:
        """A token of URL-safe characters whose length depends on the address alone."""
        plain = (
            bytes((_SCOPES.index(unsubscribe.scope),))
            + unsubscribe.job_id.bytes
            + unsubscribe.address.encode("utf-8", "surrogatepass")
        )
        sealed = self._newest + self._ciphers[self._newest].encrypt(plain, [_PURPOSE])
        return _url_safe(sealed)

    def open(self, token: str) -> Unsubscribe:
        """Raises InvalidInput for anything that `seal` did not make with one of the keys."""
        if len(token) > MAX_TOKEN_CHARACTERS or _TOKEN.fullmatch(token) is None:
            raise _not_ours()
        padded = token.encode("ascii").translate(_FROM_URL_SAFE) + b"=" * (-len(token) % 4)
        try:
            sealed = a2b_base64(padded)
            if _url_safe(sealed) != token:
                raise _not_ours()  # the last character's spare bits were changed
            cipher = self._ciphers[sealed[:_KEY_ID_BYTES]]
            plain = cipher.decrypt(sealed[_KEY_ID_BYTES:], [_PURPOSE])
            return Unsubscribe(
                address=plain[1 + _UUID_BYTES :].decode("utf-8", "surrogatepass"),
                scope=_SCOPES[plain[0]],
                job_id=JobId(UUID(bytes=plain[1 : 1 + _UUID_BYTES])),
            )
        except (ValueError, KeyError, IndexError, InvalidTag) as error:
            raise _not_ours() from error


def _url_safe(data: bytes) -> str:
    return b2a_base64(data, newline=False).translate(_TO_URL_SAFE, b"=").decode("ascii")


def _key_id(key: bytes) -> bytes:
    return blake2b(key, digest_size=_KEY_ID_BYTES, person=b"ph-unsub-key").digest()


def _not_ours() -> InvalidInput:
    return InvalidInput(
        "This is not one of our unsubscribe links, or part of it is missing.", code="invalid_token"
    )
