"""Checks AWS Signature Version 4 of a request as AWS does: from what arrived, and with words like AWS's.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl, quote

_SKEW: Final = timedelta(minutes=5)
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request,\s*"
    r"SignedHeaders=([a-z0-9;-]+),\s*Signature=([0-9a-f]{64})"
)
_STAMP = re.compile(r"\d{8}T\d{6}Z")


class AuthError(Exception):
    """The request is not let in. `name` as x-amzn-ErrorType says it."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request as it arrived. `path` and `query` are still encoded; headers have lower-case names."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Key:
    """The one key of an account."""

    access_key_id: str
    secret: str


def check_signature(request: Arrived, key: Key, service: str, now: datetime) -> None:
    """Raises AuthError."""
    written = request.headers.get("authorization", "")
    match = _AUTHORIZATION.fullmatch(written)
    if match is None:
        raise AuthError("MissingAuthenticationTokenException", "Missing Authentication Token")
    access, day, region, asked, names, signature = match.groups()
    if access != key.access_key_id:
        raise AuthError(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        )
    stamp = request.headers.get("x-amz-date", "")
    if not _STAMP.fullmatch(stamp) or not stamp.startswith(day) or asked != service:
        raise AuthError(
            "InvalidSignatureException", "Credential should be scoped to a valid region and service."
        )
    _check_time(stamp, now)
    listed = names.split(";")
    if listed != sorted(listed) or "host" not in listed or "x-amz-date" not in listed:
        raise AuthError("InvalidSignatureException", "Signed headers are incomplete or out of order.")
    scope = f"{day}/{region}/{service}/aws4_request"
    expected = _signature(key.secret, scope, stamp, _canonical(request, listed))
    if not hmac.compare_digest(expected, signature):
        raise AuthError(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        )


def _check_time(stamp: str, now: datetime) -> None:
    sent = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if now - sent > _SKEW:
        raise AuthError("SignatureDoesNotMatch", f"Signature expired: {stamp} is now earlier than allowed")
    if sent - now > _SKEW:
        raise AuthError(
            "SignatureDoesNotMatch", f"Signature not yet current: {stamp} is still later than allowed"
        )


def _canonical(request: Arrived, listed: list[str]) -> str:
    pairs = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in parse_qsl(request.query, keep_blank_values=True)
    )
    headers = [f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in listed]
    return "\n".join(
        [
            request.method,
            quote(request.path, safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            "".join(headers),
            ";".join(listed),
            sha256(request.body).hexdigest(),
        ]
    )


def _signature(secret: str, scope: str, stamp: str, canonical: str) -> str:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), sha256).digest()
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
    return hmac.new(key, to_sign.encode(), sha256).hexdigest()
