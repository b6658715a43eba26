"""What Postmark's webhooks say: one record in a call, proved by a password and a header, never signed.

https://postmarkapp.com/developer/webhooks/webhooks-overview
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from hashlib import blake2b
from typing import Final
from uuid import UUID

import msgspec

from posthouse.simulator.carrier import Told
from posthouse.simulator.events import EventKind
from posthouse.simulator.settings import PostmarkAccount
from posthouse.simulator.webhooks import Call

_ENCODER = msgspec.json.Encoder()
_EASTERN: Final = timezone(timedelta(hours=-5))
_SERVER_ID: Final = 23


@dataclass(frozen=True, slots=True)
class _Kind:
    """A type of bounce. `lists`: the address is off from then on."""

    type: str
    code: int
    name: str
    description: str
    lists: bool = False


#: Bounces by what becomes of the mail.
_BOUNCES: Final[Mapping[EventKind, _Kind]] = {
    EventKind.HARD: _Kind("HardBounce", 1, "Hard bounce", "The server refused it: unknown user.", True),
    EventKind.SOFT: _Kind("SoftBounce", 4096, "Soft bounce", "Not delivered for now: mailbox full."),
    EventKind.BLOCK: _Kind("Blocked", 100006, "ISP block", "Blocked by this provider."),
    EventKind.DEFERRED: _Kind("Transient", 2, "Message delayed", "Not delivered yet: tried again."),
    EventKind.DROPPED: _Kind(
        "ManuallyDeactivated", 100002, "Manually deactivated", "Was switched off.", True
    ),
    EventKind.COMPLAINT: _Kind("SpamComplaint", 100001, "Spam complaint", "Marked as spam.", True),
}


@dataclass(frozen=True, slots=True)
class Named:
    """What a mail's records bring back of it."""

    message_id: str
    stream: str
    sender: str
    subject: str
    tag: str
    metadata: Mapping[str, str]


class PostmarkStyle:
    """One record in a call. A call is made again after 5xx, 408, 429 or no answer; any other 4xx drops it."""

    def __init__(self, account: PostmarkAccount) -> None:
        self._headers = {"Content-Type": "application/json", "User-Agent": "Postmark"}
        if account.webhook_user:
            pair = f"{account.webhook_user}:{account.webhook_password}".encode()
            self._headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
        if account.webhook_header:
            self._headers[account.webhook_header] = account.webhook_secret

    def call(self, payloads: Sequence[bytes], at: datetime) -> Call:
        [body] = payloads
        trace = UUID(bytes=blake2b(body, digest_size=16).digest())  # the same for each try
        return Call({**self._headers, "X-PM-Webhook-Trace-Id": str(trace)}, body)

    def is_final(self, status: int) -> bool:
        return 400 <= status < 500 and status not in (408, 429)


def record(told: Told, named: Named) -> bytes | None:
    """The record of a step; None for one that Postmark does not tell: acceptance."""
    kind = told.step.kind
    if kind is EventKind.PROCESSED:
        return None
    fields: dict[str, object] = {
        "MessageStream": named.stream,
        "ServerID": _SERVER_ID,
        "MessageID": named.message_id,
        "Tag": named.tag,
        "Metadata": dict(named.metadata),
    }
    if kind in _BOUNCES:
        return _ENCODER.encode(fields | _bounce(told, named))
    fields["Recipient"] = told.mailbox.address
    return _ENCODER.encode(fields | _seen(told))


def subscription_change(told: Told, named: Named, reason: str) -> bytes:
    """The stream's suppression list has the address from now on."""
    return _ENCODER.encode(
        {
            "RecordType": "SubscriptionChange",
            "MessageID": named.message_id,
            "ServerID": _SERVER_ID,
            "MessageStream": named.stream,
            "ChangedAt": stamp(told.occurred_at),
            "Recipient": told.mailbox.address,
            "Origin": "Recipient",
            "SuppressSending": True,
            "SuppressionReason": reason,
            "Tag": named.tag,
            "Metadata": dict(named.metadata),
        }
    )


def stamp(unix: float) -> str:
    """A time as Postmark writes it: seven digits, and an offset."""
    at = datetime.fromtimestamp(unix, UTC).astimezone(_EASTERN)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06d}0-05:00"


def _bounce(told: Told, named: Named) -> dict[str, object]:
    kind = _BOUNCES[told.step.kind]
    complains = told.step.kind is EventKind.COMPLAINT
    return {
        "RecordType": "SpamComplaint" if complains else "Bounce",
        "ID": _bounce_id(told, named),
        "Type": kind.type,
        "TypeCode": kind.code,
        "Name": kind.name,
        "Description": kind.description,
        "Details": "" if complains else f"smtp;{told.mailbox.reply}",
        "Email": told.mailbox.address,
        "From": named.sender,
        "BouncedAt": stamp(told.occurred_at),
        "DumpAvailable": False,
        "Inactive": kind.lists,
        "CanActivate": kind.lists and not complains,
        "Subject": named.subject,
    }


def _seen(told: Told) -> dict[str, object]:
    client = {"Name": "unknown", "Company": "unknown", "Family": "unknown"}
    reader = {"Client": client, "OS": client, "Platform": "Unknown", "UserAgent": told.step.agent, "Geo": {}}
    at = stamp(told.occurred_at)
    if told.step.kind is EventKind.DELIVERED:
        return {"RecordType": "Delivery", "DeliveredAt": at, "Details": "250 2.0.0 OK"}
    if told.step.kind in (EventKind.CLICK, EventKind.MACHINE_CLICK):
        link = {"ClickLocation": "HTML", "OriginalLink": told.step.url}
        return {"RecordType": "Click", "ReceivedAt": at, **link, **reader}
    return {"RecordType": "Open", "ReceivedAt": at, "FirstOpen": True, "ReadSeconds": 0, **reader}


def _bounce_id(told: Told, named: Named) -> int:
    """The same for the same event of the same mail."""
    step = told.step
    text = (
        f"{named.message_id}\x1f{told.mailbox.address}\x1f{step.kind.value}\x1f{step.attempt}\x1f{step.after}"
    )
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=5).digest(), "big")
