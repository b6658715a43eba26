"""AWS Signature Version 4: the headers that prove who sends a request and that nobody changed it.

Pure: time and keys are arguments. Every request of this vendor is signed here, to SES, SNS or SQS
(https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html).
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from yarl import URL

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_SPACES = re.compile(" +")


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; with a session token if a role lent it for a while."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signature is good for, beside its day."""

    region: str
    service: str  # the signing name: "ses", "sqs"


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A request about to be sent. `headers` without Host: the client derives it from the URL."""

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes


def signed_headers(
    request: Unsigned, credentials: Credentials, scope: Scope, now: datetime
) -> dict[str, str]:
    """The request's headers with those of the signature. Every header is signed."""
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {**request.headers, "X-Amz-Date": stamp}
    if credentials.session_token:
        headers["X-Amz-Security-Token"] = credentials.session_token
    to_sign = {name.lower(): value for name, value in headers.items()} | {"host": _host(request.url)}
    names = ";".join(sorted(to_sign))
    day = stamp[:8]
    where = f"{day}/{scope.region}/{scope.service}/aws4_request"
    canonical = canonical_request(request, to_sign, names)
    digest = hashlib.sha256(canonical.encode("utf-8")).hexdigest()
    text = f"{_ALGORITHM}\n{stamp}\n{where}\n{digest}"
    signature = hmac.digest(_key(credentials, scope, day), text.encode("utf-8"), "sha256").hex()
    headers["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key_id}/{where}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return headers


def canonical_request(request: Unsigned, headers: Mapping[str, str], names: str) -> str:
    """The form that both sides hash. `headers` have lower-case names; `names` lists them in order."""
    lines = "".join(f"{name}:{_trimmed(headers[name])}\n" for name in names.split(";"))
    payload = hashlib.sha256(request.body).hexdigest()
    path = quote(request.url.raw_path or "/", safe="/-_.~")  # encoded a second time, as all but S3 want it
    return f"{request.method}\n{path}\n{_query(request.url)}\n{lines}\n{names}\n{payload}"


def _query(url: URL) -> str:
    pairs = sorted((_encoded(name), _encoded(value)) for name, value in url.query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")


def _host(url: URL) -> str:
    """As the client sends it: the port only where it is not the scheme's own."""
    host = url.raw_host or ""
    return host if url.is_default_port() else f"{host}:{url.port}"


def _trimmed(value: str) -> str:
    return _SPACES.sub(" ", value.strip())


def _key(credentials: Credentials, scope: Scope, day: str) -> bytes:
    """A key of one day, region and service, so that a leaked one is worth little."""
    key = b"AWS4" + credentials.secret_access_key.encode("utf-8")
    for part in (day, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, part.encode("utf-8"), "sha256")
    return key
