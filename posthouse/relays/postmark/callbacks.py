"""Postmark's webhooks: are they genuine, and what do they say?

Postmark signs nothing (https://postmarkapp.com/developer/webhooks/webhooks-overview): what proves a call is
the password in the webhook's URL, a header that was set for it, or both. The body is covered by neither, so
whoever reads the secret can write events: TLS and a long secret are all there is.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from typing import Final

import msgspec

from posthouse.clock import Clock
from posthouse.domain.errors import InvalidInput, Misconfigured
from posthouse.domain.event import BounceClass, Event, EventType, Origin
from posthouse.domain.ids import EventId, RelayAccount, foreign_event_id
from posthouse.relays.base import RawCallback, Unplaced
from posthouse.relays.entries import (
    Entry,
    attempt_of,
    enhanced_code,
    fields,
    inner,
    job_of,
    plausible,
    smtp_code,
    text,
)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PRINTABLE = re.compile(r"[ -~]+")
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
#: Where a record says when, and who.
_TIMES: Final = ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")
_WHOM: Final = ("Recipient", "Email")


class _BounceRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"bounce_class": "class"}):
    type: tuple[str, ...]
    event: EventType
    bounce_class: BounceClass | None = None
    status: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if (self.event is EventType.BOUNCED) != (self.bounce_class is not None):
            raise ValueError(f"{self.type}: a bounce has its class, and nothing else has one")

    def fits(self, kind: str, status: str) -> bool:
        return kind in self.type and (self.status is None or status.startswith(self.status))


class _SubscriptionRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    suppressed: bool
    event: EventType
    reason: tuple[str, ...] | None = None
    origin: tuple[str, ...] | None = None

    def fits(self, suppressed: object, reason: str, origin: str) -> bool:
        return (
            suppressed is self.suppressed
            and (self.reason is None or reason in self.reason)
            and (self.origin is None or origin in self.origin)
        )


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    words: dict[str, EventType]
    bounce: tuple[_BounceRule, ...]
    subscription: tuple[_SubscriptionRule, ...]


_TABLE = msgspec.toml.decode(
    (resources.files("posthouse.relays.postmark") / "events.toml").read_bytes(), type=_Table
)
WORDS: Final = _TABLE.words
BOUNCE_TYPES: Final = frozenset(kind for rule in _TABLE.bounce for kind in rule.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostmarkSecrets:
    """What proves a callback: a user and password (in the webhook's URL), a header, or both."""

    user: str = ""
    password: str = field(default="", repr=False)
    header_name: str = ""
    header_value: str = field(default="", repr=False)


class PostmarkCallbacks:
    """The way back from one Postmark server."""

    relay = "postmark"

    def __init__(self, account: RelayAccount, secrets: PostmarkSecrets, clock: Clock) -> None:
        """Raises Misconfigured: a webhook that proves nothing is not taken."""
        self.account = account
        self._expected = _expected(account, secrets)
        self._clock = clock

    def verify(self, callback: RawCallback) -> bool:
        """Whether the call brings every secret that was set. All are compared, whichever fails."""
        matches = [
            hmac.compare_digest(
                callback.headers.get(name, "").encode("utf-8", "surrogatepass"), expected.encode("utf-8")
            )
            for name, expected in self._expected.items()
        ]
        return all(matches)

    def parse(self, callback: RawCallback) -> tuple[list[Event], list[Unplaced]]:
        """The one record of a callback, as an event of its job or as Unplaced. Raises InvalidInput when the
        body is not a JSON object."""
        entry = fields(callback.body)
        if entry is None:
            raise InvalidInput("the body is not a JSON object")
        match _read(entry, callback.body, self.account, self._clock.now()):
            case Event() as event:
                return [event], []
            case Unplaced() as stray:
                return [], [stray]


def _expected(account: RelayAccount, secrets: PostmarkSecrets) -> dict[str, str]:
    """The headers that a genuine call has."""
    expected: dict[str, str] = {}
    if secrets.user or secrets.password:
        if not secrets.user or not secrets.password or ":" in secrets.user:
            raise Misconfigured(
                f"relays.{account}: webhook_user and its password belong together, and the user has no colon."
            )
        pair = b64encode(f"{secrets.user}:{secrets.password}".encode()).decode()
        expected["authorization"] = f"Basic {pair}"
    if secrets.header_name or secrets.header_value:
        if not _HEADER_NAME.fullmatch(secrets.header_name) or not _PRINTABLE.fullmatch(secrets.header_value):
            raise Misconfigured(
                f"relays.{account}: webhook_header is the name of a header, and its value is printable ASCII."
            )
        expected[secrets.header_name.lower()] = secrets.header_value
    if not expected:
        raise Misconfigured(
            f"relays.{account}: Postmark signs nothing, so its webhook needs a password or a secret header: "
            "set webhook_user with a password, or webhook_header."
        )
    return expected


def _read(entry: Entry, raw: bytes, account: RelayAccount, now: datetime) -> Event | Unplaced:
    details = _details(entry)
    status = _status(details)
    kind, bounce = _meaning(entry, status)
    recipient = next(filter(None, (text(entry, name, 320) for name in _WHOM)), None)
    ours = inner(entry, "Metadata")
    job_id, attempt = job_of(ours), attempt_of(ours)
    if job_id is None or attempt is None:
        return Unplaced(recipient, kind, bounce, raw)
    return Event(
        job_id=job_id,
        event_id=_event_id(entry),
        attempt=attempt,
        type=kind,
        origin=Origin.RELAY,
        occurred_at=plausible(_occurred_at(entry) or now, job_id, now),
        bounce=bounce,
        reason=_reason(entry, kind, details),
        relay=account,
        provider_message_id=text(entry, "MessageID", 100) or None,
        smtp_code=smtp_code(details),
        enhanced_code=enhanced_code(status),
        diagnostic=details,
        url=text(entry, "OriginalLink", 8000) or None if kind is EventType.CLICKED else None,
        user_agent=text(entry, "UserAgent") or None,
        raw=raw,
        recipient=recipient,
    )


def _meaning(entry: Entry, status: str) -> tuple[EventType, BounceClass | None]:
    word = text(entry, "RecordType", 100)
    if word == "Bounce":
        kind = text(entry, "Type", 100)
        rule = next((rule for rule in _TABLE.bounce if rule.fits(kind, status)), None)
        return (EventType.UNKNOWN, None) if rule is None else (rule.event, rule.bounce_class)
    if word == "SubscriptionChange":
        reason, origin = text(entry, "SuppressionReason", 100), text(entry, "Origin", 100)
        change = entry.get("SuppressSending")
        found = next((rule for rule in _TABLE.subscription if rule.fits(change, reason, origin)), None)
        return (EventType.UNKNOWN if found is None else found.event), None
    return WORDS.get(word, EventType.UNKNOWN), None


def _details(entry: Entry) -> str:
    """The remote server's words; of a bounce they begin with the kind of server (RFC 3464 section 2.3.6)."""
    return text(entry, "Details").removeprefix("smtp;").strip()


def _status(details: str) -> str:
    """The enhanced code in a server's words, near their beginning; "" when there is none."""
    match = _STATUS.search(details[:100])
    return match[1] if match else ""


def _reason(entry: Entry, kind: EventType, details: str) -> str:
    if kind is EventType.UNKNOWN:
        said = (text(entry, name, 100) for name in ("RecordType", "Type", "SuppressionReason", "Origin"))
        return " ".join(filter(None, said))
    return details or text(entry, "Description")


def _event_id(entry: Entry) -> EventId:
    """Bounces and complaints have an id; of the others it is what they say. Postmark repeats a call with a
    trace id of its own, which a replay by hand does not have."""
    number = entry.get("ID")
    if isinstance(number, int) and not isinstance(number, bool):
        return foreign_event_id("postmark", f"{text(entry, 'RecordType', 100)}:{number}")
    facts = ("RecordType", "MessageID", *_WHOM, *_TIMES, "OriginalLink", "SuppressionReason", "Origin")
    said = "\x1f".join(text(entry, name, 8000) for name in facts)
    said += f"\x1f{entry.get('SuppressSending')!r}"
    return foreign_event_id("postmark", hashlib.sha256(said.encode()).hexdigest())


def _occurred_at(entry: Entry) -> datetime | None:
    said = next(filter(None, (text(entry, name, 40) for name in _TIMES)), "")
    try:
        moment = datetime.fromisoformat(said)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
