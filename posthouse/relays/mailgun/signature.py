"""Mailgun's signature: HMAC-SHA256 over a timestamp and a token, which stand in the body with it.

https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks

The body itself is not covered: whoever has read one genuine call could write another around its signature. So
a token counts for one body only (posthouse/ingest/tokens.py), and the age of a call is bounded.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.relays.base import RawCallback
from posthouse.relays.entries import Entry, fields, inner

#: Mailgun repeats a call for 8 h; whether under a new signature is not documented.
MAX_AGE: Final = timedelta(hours=9)
MAX_AHEAD: Final = timedelta(minutes=10)
#: More fields than any legacy call has.
_MOST_FIELDS: Final = 200

_PRINTABLE = re.compile(r"[!-~]+")
_DIGITS = re.compile(r"[0-9]{1,12}")
_TOKEN = re.compile(r"[0-9A-Za-z]{1,100}")
_HEX = re.compile(r"[0-9a-f]{64}")

#: A call of a subaccount is signed twice, with its own key and with its parent's.
_BLOCKS: Final = ("signature", "parent-signature")


class Signature(NamedTuple):
    timestamp: str
    token: str
    digest: str


class Verifier:
    """Knows one webhook signing key."""

    def __init__(self, key: str, account: RelayAccount) -> None:
        """Raises Misconfigured: an unsigned webhook is not taken."""
        if not _PRINTABLE.fullmatch(key):
            raise Misconfigured(
                f"relays.{account}: the webhook signing key is missing or is not printable ASCII: copy it "
                "from Mailgun's API security page, HTTP webhook signing key."
            )
        self._key = key.encode("ascii")

    def genuine(self, callback: RawCallback, now: datetime) -> Signature | None:
        """The signature that this key made, at a time that can be; None: there is none."""
        for signature in _signatures(callback):
            signed = (signature.timestamp + signature.token).encode("ascii")
            made = hmac.new(self._key, signed, hashlib.sha256).hexdigest()
            if hmac.compare_digest(made, signature.digest) and _is_timely(signature, now):
                return signature
        return None


def is_form(callback: RawCallback) -> bool:
    """A legacy call."""
    kind = callback.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/x-www-form-urlencoded"


def form_fields(body: bytes) -> Entry | None:
    """The fields of a legacy call, the last of each name; None when it is no form."""
    try:
        pairs = parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        return None
    return dict(pairs)


def signed_at(callback: RawCallback) -> datetime | None:
    """When a verified call was signed."""
    signature = next(_signatures(callback), None)
    if signature is None:
        return None
    return datetime.fromtimestamp(int(signature.timestamp), UTC)


def _signatures(callback: RawCallback) -> Iterator[Signature]:
    """Those that have the shape of one."""
    if is_form(callback):
        blocks = [form_fields(callback.body) or {}]
    else:
        entry = fields(callback.body) or {}
        blocks = [inner(entry, name) for name in _BLOCKS]
    for block in blocks:
        timestamp, token, digest = (block.get(name) for name in ("timestamp", "token", "signature"))
        if isinstance(timestamp, int) and not isinstance(timestamp, bool):
            timestamp = str(timestamp)
        if (
            isinstance(timestamp, str)
            and isinstance(token, str)
            and isinstance(digest, str)
            and _DIGITS.fullmatch(timestamp)
            and _TOKEN.fullmatch(token)
            and _HEX.fullmatch(digest)
        ):
            yield Signature(timestamp, token, digest)


def _is_timely(signature: Signature, now: datetime) -> bool:
    age = now.timestamp() - int(signature.timestamp)
    return -MAX_AHEAD.total_seconds() <= age <= MAX_AGE.total_seconds()
