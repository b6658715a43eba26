"""SendGrid's signed Event Webhook: is it genuine, and what does it say?

Signature: ECDSA P-256 with SHA-256 over the timestamp header and the raw body
(https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features).
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from posthouse.clock import Clock
from posthouse.domain.errors import InvalidInput, Misconfigured
from posthouse.domain.event import BounceClass, Event, EventType, Origin
from posthouse.domain.ids import (
    EventId,
    JobId,
    RelayAccount,
    foreign_event_id,
    own_event_id,
)
from posthouse.domain.suppression import SuppressionReason
from posthouse.relays.base import RawCallback, Unplaced
from posthouse.relays.entries import (
    Entry,
    attempt_of,
    enhanced_code,
    fields,
    job_of,
    lenient_json,
    plausible,
    smtp_code,
    text,
)

SIGNATURE_HEADER: Final = "x-twilio-email-event-webhook-signature"
TIMESTAMP_HEADER: Final = "x-twilio-email-event-webhook-timestamp"

#: SendGrid repeats a callback for 24 h, perhaps under its first timestamp; duplicates are harmless.
MAX_AGE: Final = timedelta(hours=25)
MAX_AHEAD: Final = timedelta(minutes=10)
#: A full batch (768 KB) of the shortest events has about 5,000.
MAX_ENTRIES: Final = 20_000

_DIGITS = re.compile(r"[0-9]{1,12}")

_ENTRIES = msgspec.json.Decoder(list[msgspec.Raw])


class _BounceRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"bounce_class": "class"}):
    bounce_class: BounceClass
    type: str | None = None
    classification: tuple[str, ...] | None = None
    status: tuple[str, ...] | None = None

    def fits(self, kind: str, classification: str, status: str) -> bool:
        return (
            (self.type is None or self.type == kind)
            and (self.classification is None or classification in self.classification)
            and (self.status is None or status.startswith(self.status))
        )


class _DropRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: tuple[str, ...]
    mirrors: SuppressionReason


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    words: dict[str, EventType]
    dropped: tuple[_DropRule, ...]
    bounce: tuple[_BounceRule, ...]


_TABLE = msgspec.toml.decode(
    (resources.files("posthouse.relays.sendgrid") / "events.toml").read_bytes(), type=_Table
)
WORDS: Final = _TABLE.words


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a batch came from, and when: what each of its events shares."""

    account: RelayAccount
    signed_at: datetime
    now: datetime


class SendGridCallbacks:
    """The way back from one SendGrid account."""

    relay = "sendgrid"

    def __init__(self, account: RelayAccount, public_key: str, clock: Clock) -> None:
        """`public_key`: the webhook's verification key, base64 DER as SendGrid shows it, or PEM. Raises
        Misconfigured: an unsigned webhook is not taken."""
        self.account = account
        self._key = _load_key(public_key, account)
        self._clock = clock

    def verify(self, callback: RawCallback) -> bool:
        """Whether the account's key signed these bytes, at a time that can be."""
        timestamp = callback.headers.get(TIMESTAMP_HEADER, "")
        signature = _signature(callback.headers.get(SIGNATURE_HEADER, ""))
        if signature is None or not self._is_timely(timestamp):
            return False
        try:
            self._key.verify(signature, timestamp.encode("ascii") + callback.body, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True

    def parse(self, callback: RawCallback) -> tuple[list[Event], list[Unplaced]]:
        """Every entry of the batch, as an event of its job or as Unplaced. Raises InvalidInput when the body
        is not a JSON array of a sane length."""
        source = _Source(self.account, self._signed_at(callback), self._clock.now())
        events: list[Event] = []
        unplaced: list[Unplaced] = []
        for raw in _entries(callback.body):
            match _read(raw, source):
                case Event() as event:
                    events.append(event)
                case Unplaced() as stray:
                    unplaced.append(stray)
        return events, unplaced

    def _is_timely(self, timestamp: str) -> bool:
        if not _DIGITS.fullmatch(timestamp):
            return False
        age = self._clock.now().timestamp() - int(timestamp)
        return -MAX_AHEAD.total_seconds() <= age <= MAX_AGE.total_seconds()

    def _signed_at(self, callback: RawCallback) -> datetime:
        signed_at = _moment(callback.headers.get(TIMESTAMP_HEADER))
        return signed_at or self._clock.now()


def _load_key(shown: str, account: RelayAccount) -> ec.EllipticCurvePublicKey:
    try:
        if shown.lstrip().startswith("-----BEGIN"):
            key = load_pem_public_key(shown.encode())
        else:
            key = load_der_public_key(base64.b64decode("".join(shown.split()), validate=True))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Misconfigured(
            f"relays.{account}: webhook_key is not a public key: copy the verification key from SendGrid's "
            "Event Webhook settings."
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Misconfigured(f"relays.{account}: webhook_key is not an ECDSA P-256 key.")
    return key


def _signature(header: str) -> bytes | None:
    if not header or len(header) > 200:
        return None
    try:
        signature = base64.b64decode(header, validate=True)
    except ValueError:
        return None
    # The last character may say the same in several ways: one way to write a signature, so that it is one.
    return signature if base64.b64encode(signature).decode() == header else None


def _entries(body: bytes) -> list[bytes]:
    try:
        entries = [bytes(raw) for raw in _ENTRIES.decode(body)]
    except (msgspec.MsgspecError, RecursionError):
        entries = _entries_leniently(body)
    if len(entries) > MAX_ENTRIES:
        raise InvalidInput(f"the batch has {len(entries)} entries; the most that is read is {MAX_ENTRIES}")
    return entries


def _entries_leniently(body: bytes) -> list[bytes]:
    """A reader's user agent may hold half a surrogate pair. One such must not cost the whole batch."""
    batch = lenient_json(body)
    if not isinstance(batch, list):
        raise InvalidInput("the body is not a JSON array")
    try:
        return [json.dumps(entry).encode("ascii") for entry in batch]
    except RecursionError as error:
        raise InvalidInput("the body is nested too deeply") from error


def _read(raw: bytes, source: _Source) -> Event | Unplaced:
    entry = fields(raw) or {}
    word = text(entry, "event", 100)
    kind = WORDS.get(word, EventType.UNKNOWN)
    bounce = _bounce_class(entry) if kind is EventType.BOUNCED else None
    recipient = text(entry, "email", 320) or None
    job_id, attempt = job_of(entry), attempt_of(entry)
    if job_id is None or attempt is None:
        return Unplaced(recipient, kind, bounce, raw)
    diagnostic = text(entry, "response") or text(entry, "reason")
    return Event(
        job_id=job_id,
        event_id=_event_id(entry, kind, job_id, attempt, raw),
        attempt=attempt,
        type=kind,
        origin=Origin.RELAY,
        occurred_at=_occurred_at(entry, job_id, source),
        bounce=bounce,
        reason=word if kind is EventType.UNKNOWN else diagnostic,
        relay=source.account,
        provider_message_id=text(entry, "sg_message_id", 300).partition(".")[0] or None,
        smtp_code=smtp_code(diagnostic),
        enhanced_code=enhanced_code(text(entry, "status", 100)),
        diagnostic=diagnostic,
        url=text(entry, "url", 8000) or None if kind is EventType.CLICKED else None,
        user_agent=text(entry, "useragent") or None,
        machine=entry.get("sg_machine_open") is True,
        mirrored=_mirrored(entry) if kind is EventType.REJECTED else None,
        raw=raw,
        recipient=recipient,
    )


def _mirrored(entry: Entry) -> SuppressionReason | None:
    """The list of SendGrid's own that the address is on, where that is why the mail was not tried."""
    reason = text(entry, "reason", 100)
    return next((rule.mirrors for rule in _TABLE.dropped if reason in rule.reason), None)


def _event_id(entry: Entry, kind: EventType, job_id: JobId, attempt: int, raw: bytes) -> EventId:
    if kind is EventType.SENT:
        # The 202 already told of it: one fact, one id.
        return own_event_id(job_id, attempt, EventType.SENT.value)
    theirs = text(entry, "sg_event_id", 300) or hashlib.sha256(raw).hexdigest()
    return foreign_event_id("sendgrid", theirs)


def _bounce_class(entry: Entry) -> BounceClass:
    kind, status = text(entry, "type", 100), text(entry, "status", 100)
    classification = text(entry, "bounce_classification", 100)
    return next(rule.bounce_class for rule in _TABLE.bounce if rule.fits(kind, classification, status))


def _occurred_at(entry: Entry, job_id: JobId, source: _Source) -> datetime:
    """When SendGrid says, in whole seconds."""
    return plausible(_moment(entry.get("timestamp")) or source.signed_at, job_id, source.now)


def _moment(value: object) -> datetime | None:
    """Unix seconds, as a number or as text, between 1970 and 9999."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 253_402_300_800:
        return None
    return datetime.fromtimestamp(value, UTC)
