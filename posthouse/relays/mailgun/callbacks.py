"""Mailgun's webhooks: are they genuine, and what do they say?

One event in a call, as `{"signature": {...}, "event-data": {...}}`; a list of them is read as well. Legacy
webhooks are forms with the same facts under other names.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parseaddr

from posthouse.clock import Clock
from posthouse.domain.errors import InvalidInput
from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import EventId, JobId, RelayAccount, foreign_event_id, own_event_id
from posthouse.relays.base import RawCallback, Unplaced
from posthouse.relays.entries import (
    ATTEMPT_KEY,
    JOB_KEY,
    Entry,
    attempt_of,
    enhanced_code,
    fields,
    inner,
    job_of,
    plausible,
    text,
)
from posthouse.relays.http import clean
from posthouse.relays.mailgun.event_table import TABLE, Failure, Meaning, meaning_of
from posthouse.relays.mailgun.signature import Verifier, form_fields, is_form, signed_at

#: Mailgun sends one; nobody sends more than fit into a callback.
MAX_ENTRIES = 20_000


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a callback came from, and when: what each of its events shares."""

    account: RelayAccount
    signed_at: datetime
    now: datetime


class MailgunCallbacks:
    """The way back from one Mailgun account."""

    relay = "mailgun"

    def __init__(self, account: RelayAccount, signing_key: str, clock: Clock) -> None:
        """Raises Misconfigured: an unsigned webhook is not taken."""
        self.account = account
        self._verifier = Verifier(signing_key, account)
        self._clock = clock

    def verify(self, callback: RawCallback) -> bool:
        return self._verifier.genuine(callback, self._clock.now()) is not None

    def token(self, callback: RawCallback) -> str:
        """What Mailgun gives to one call only; of a verified callback."""
        signature = self._verifier.genuine(callback, self._clock.now())
        return "" if signature is None else f"{signature.timestamp}.{signature.token}"

    def parse(self, callback: RawCallback) -> tuple[list[Event], list[Unplaced]]:
        """Every entry, as an event of its job or as Unplaced. Raises InvalidInput when the body is neither a
        JSON object with events nor a legacy form."""
        now = self._clock.now()
        source = _Source(self.account, signed_at(callback) or now, now)
        events: list[Event] = []
        unplaced: list[Unplaced] = []
        for entry in _legacy_entries(callback) if is_form(callback) else _entries(callback.body):
            match _read(entry, source):
                case Event() as event:
                    events.append(event)
                case Unplaced() as stray:
                    unplaced.append(stray)
        return events, unplaced


def _entries(body: bytes) -> list[object]:
    whole = fields(body)
    if whole is None or "event-data" not in whole:
        raise InvalidInput("the body is not a JSON object with event-data")
    said = whole["event-data"]
    entries = said if isinstance(said, list) else [said]
    if len(entries) > MAX_ENTRIES:
        raise InvalidInput(f"the callback has {len(entries)} events; the most that is read is {MAX_ENTRIES}")
    return entries


def _legacy_entries(callback: RawCallback) -> list[object]:
    """The one event of a form, in the shape of today's."""
    form = form_fields(callback.body)
    if form is None or "event" not in form:
        raise InvalidInput("the body is not a form with an event")
    word, reason = text(form, "event", 100), text(form, "reason", 100)
    today = TABLE.legacy.get(word, {"event": word})
    headers = {"message-id": text(form, "Message-Id", 300) or text(form, "message-id", 300)}
    return [
        {
            "reason": TABLE.legacy_reasons.get(reason, reason),
            **today,
            "id": text(form, "token", 100),
            "timestamp": text(form, "timestamp", 20),
            "recipient": text(form, "recipient", 320),
            "url": text(form, "url", 8000),
            "client-info": {"user-agent": text(form, "user-agent")},
            "user-variables": {name: form.get(name) for name in (JOB_KEY, ATTEMPT_KEY)},
            "message": {"headers": headers},
            "delivery-status": {
                "code": text(form, "code", 10),
                "message": text(form, "error") or text(form, "description"),
            },
        }
    ]


def _read(value: object, source: _Source) -> Event | Unplaced:
    entry = value if isinstance(value, dict) else {}
    raw = _raw(value)
    word = text(entry, "event", 100)
    failure = _failure(entry)
    meaning = meaning_of(word, failure)
    recipient = _recipient(entry)
    ours = inner(entry, "user-variables")
    job_id, attempt = job_of(ours), attempt_of(ours)
    if job_id is None or attempt is None:
        return Unplaced(recipient, meaning.event, meaning.bounce, raw)
    clicked = meaning.event is EventType.CLICKED
    client = inner(entry, "client-info")
    return Event(
        job_id=job_id,
        event_id=_event_id(entry, meaning, job_id, attempt, raw),
        attempt=attempt,
        type=meaning.event,
        origin=Origin.RELAY,
        occurred_at=plausible(_moment(entry.get("timestamp")) or source.signed_at, job_id, source.now),
        bounce=meaning.bounce,
        reason=_reason(word, meaning, failure),
        relay=source.account,
        provider_message_id=_message_id(entry),
        smtp_code=failure.code if failure.code is not None and 200 <= failure.code < 600 else None,
        enhanced_code=enhanced_code(failure.status),
        diagnostic=failure.words,
        url=text(entry, "url", 8000) or None if clicked else None,
        user_agent=text(client, "user-agent") or None,
        machine=bool(text(client, "bot", 100)),
        mirrored=meaning.mirrored,
        raw=raw,
        recipient=recipient,
    )


def _raw(value: object) -> bytes:
    """The event as it came, without the signature around it."""
    try:
        return json.dumps(value).encode("ascii")
    except RecursionError as error:
        raise InvalidInput("the body is nested too deeply") from error


def _failure(entry: Entry) -> Failure:
    status = inner(entry, "delivery-status")
    said = [text(status, "message"), text(status, "description"), text(inner(entry, "reject"), "reason")]
    words = clean("; ".join(dict.fromkeys(filter(None, said))))
    return Failure(
        severity=text(entry, "severity", 100),
        reason=text(entry, "reason", 100),
        code=_code(status.get("code")),
        status=text(status, "enhanced-code", 100) or text(status, "bounce-code", 100) or _status_in(words),
        words=words,
    )


def _code(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 5:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1000 else None


def _status_in(words: str) -> str:
    """The enhanced code that a server's words begin with; of a delayed bounce "smtp; 550-5.1.1 ..."."""
    for word in words[:60].replace("-", " ").replace(";", " ").split()[:4]:
        if enhanced_code(word):
            return word
    return ""


def _recipient(entry: Entry) -> str | None:
    """`rejected` has no recipient of its own; our mails have one each, shown or not."""
    shown = text(inner(inner(entry, "message"), "headers"), "to", 320)
    return text(entry, "recipient", 320) or parseaddr(shown)[1] or None


def _message_id(entry: Entry) -> str | None:
    return text(inner(inner(entry, "message"), "headers"), "message-id", 300).strip("<>") or None


def _reason(word: str, meaning: Meaning, failure: Failure) -> str:
    if meaning.event is EventType.UNKNOWN:
        return word
    return failure.words or failure.reason


def _event_id(entry: Entry, meaning: Meaning, job_id: JobId, attempt: int, raw: bytes) -> EventId:
    if meaning.event is EventType.SENT:
        # The 200 already told of it: one fact, one id.
        return own_event_id(job_id, attempt, EventType.SENT.value)
    theirs = text(entry, "id", 300)
    # Mailgun's ids are unique within a day only.
    known = f"{theirs}:{entry.get('timestamp')!r}" if theirs else hashlib.sha256(raw).hexdigest()
    return foreign_event_id("mailgun", known)


def _moment(value: object) -> datetime | None:
    """Unix seconds, as a number or as text, between 1970 and 9999."""
    if isinstance(value, str):
        try:
            value = float(value[:32])
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 253_402_300_800:
        return None
    return datetime.fromtimestamp(value, UTC)
