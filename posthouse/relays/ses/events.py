"""One event of SES's as events of our jobs, one for each recipient that it names.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import EventId, JobId, RelayAccount, foreign_event_id, own_event_id
from posthouse.relays.base import Unplaced
from posthouse.relays.entries import (
    ATTEMPT_KEY,
    JOB_KEY,
    Entry,
    attempt_of,
    enhanced_code,
    inner,
    job_of,
    plausible,
    smtp_code,
    text,
)
from posthouse.relays.http import clean
from posthouse.relays.ses.event_table import Meaning, of_bounce, of_complaint, of_subscription, of_word

#: Where each word's own facts stand, and whom it lists there. None: the mail's own destination.
_FACTS: Final = {
    "Send": ("send", None),
    "Delivery": ("delivery", "recipients"),
    "DeliveryDelay": ("deliveryDelay", "delayedRecipients"),
    "Bounce": ("bounce", "bouncedRecipients"),
    "Complaint": ("complaint", "complainedRecipients"),
    "Reject": ("reject", None),
    "Rendering Failure": ("failure", None),
    "Open": ("open", None),
    "Click": ("click", None),
    "Subscription": ("subscription", None),
}
#: One mail has one recipient; more than a few were not sent by us.
_MOST_RECIPIENTS: Final = 50
#: Our own header, and our Message-ID, in notifications that bring headers and no tags.
_OWN_HEADER: Final = "x-posthouse-id"
_OWN_ID = re.compile(r"([0-9a-f-]{36})\.([1-9][0-9]{0,4})")
_MESSAGE_ID = re.compile(r"<([0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15})@[^<>\s]{1,255}>")


@dataclass(frozen=True, slots=True)
class _Said:
    """What all the events of one message share."""

    word: str
    mail: Entry
    facts: Entry
    raw: bytes
    account: RelayAccount
    now: datetime


@dataclass(frozen=True, slots=True)
class _Whom:
    """A recipient with what the event says of this one alone."""

    address: str
    status: str = ""
    diagnostic: str = ""


def read_event(
    entry: Entry, raw: bytes, account: RelayAccount, now: datetime
) -> tuple[list[Event], list[Unplaced]]:
    """Every recipient of an event, as an event of its job or as Unplaced."""
    word = text(entry, "eventType", 100) or text(entry, "notificationType", 100)
    name, listed = _FACTS.get(word, ("", None))
    said = _Said(word, inner(entry, "mail"), inner(entry, name), raw, account, now)
    job_id, attempt = _ours(said.mail)
    events: list[Event] = []
    unplaced: list[Unplaced] = []
    for whom in _recipients(said, listed):
        meaning = _meaning(said, whom)
        if job_id is None or attempt is None:
            unplaced.append(Unplaced(whom.address or None, meaning.type, meaning.bounce, raw))
        else:
            events.append(_event(said, whom, meaning, job_id, attempt))
    return events, unplaced


def _event(said: _Said, whom: _Whom, meaning: Meaning, job_id: JobId, attempt: int) -> Event:
    facts, kind = said.facts, meaning.type
    diagnostic = whom.diagnostic or text(facts, "smtpResponse")
    occurred = _moment(facts) or _moment(said.mail) or said.now
    return Event(
        job_id=job_id,
        event_id=_event_id(said, whom, kind, job_id, attempt),
        attempt=attempt,
        type=kind,
        origin=Origin.RELAY,
        occurred_at=plausible(occurred, job_id, said.now),
        bounce=meaning.bounce,
        reason=_reason(said, kind) or diagnostic,
        relay=said.account,
        provider_message_id=text(said.mail, "messageId", 200) or None,
        smtp_code=smtp_code(diagnostic),
        enhanced_code=enhanced_code(whom.status),
        diagnostic=diagnostic,
        url=text(facts, "link", 8000) or None if kind is EventType.CLICKED else None,
        user_agent=text(facts, "userAgent") or None,
        raw=said.raw,
        recipient=whom.address or None,
        mirrored=meaning.mirrored,
    )


def _meaning(said: _Said, whom: _Whom) -> Meaning:
    facts = said.facts
    match said.word:
        case "Bounce":
            return of_bounce(
                text(facts, "bounceType", 100),
                text(facts, "bounceSubType", 100),
                whom.status,
                report=bool(whom.status or whom.diagnostic),
            )
        case "Complaint":
            return of_complaint(
                text(facts, "complaintSubType", 100), text(facts, "complaintFeedbackType", 100)
            )
        case "Subscription":
            return of_subscription(left=_left(inner(facts, "newTopicPreferences")))
        case word:
            return of_word(word)


def _left(preferences: Entry) -> bool:
    topics = preferences.get("topicSubscriptionStatus")
    statuses = topics if isinstance(topics, list) else []
    return preferences.get("unsubscribeAll") is True or any(
        isinstance(topic, dict) and text(topic, "subscriptionStatus", 20) == "OptOut" for topic in statuses
    )


def _recipients(said: _Said, listed: str | None) -> list[_Whom]:
    """Whom an event is about; one that names nobody is still one event."""
    found = said.facts.get(listed) if listed is not None else None
    if not isinstance(found, list) or not found:
        found = said.mail.get("destination")
    entries = found[:_MOST_RECIPIENTS] if isinstance(found, list) else []
    return [_whom(entry) for entry in entries] or [_Whom("")]


def _whom(entry: object) -> _Whom:
    if isinstance(entry, str):
        return _Whom(clean(entry, 320))
    if not isinstance(entry, dict):
        return _Whom("")
    # The words of the server begin with its kind: "smtp; 550 5.1.1 ..." (RFC 3464 section 2.3.6).
    words = text(entry, "diagnosticCode").removeprefix("smtp;").strip()
    return _Whom(text(entry, "emailAddress", 320), text(entry, "status", 100), words)


def _ours(mail: Entry) -> tuple[JobId | None, int | None]:
    """Our ids: from the tags, which events bring; else from the headers, which notifications may bring."""
    tags = inner(mail, "tags")
    tagged: Entry = {name: _first(tags.get(name)) for name in (JOB_KEY, ATTEMPT_KEY)}
    job_id, attempt = job_of(tagged), attempt_of(tagged)
    if job_id is not None and attempt is not None:
        return job_id, attempt
    headers = mail.get("headers")
    for header in headers if isinstance(headers, list) else []:
        if isinstance(header, dict) and text(header, "name", 100).lower() == _OWN_HEADER:
            own = _OWN_ID.fullmatch(text(header, "value", 100))
            found: Entry = {JOB_KEY: own[1], ATTEMPT_KEY: own[2]} if own else {}
            return job_of(found), attempt_of(found)
    # Headers beyond 10 KB are cut off. The Message-ID is the same for every attempt: the first is safe, since
    # only the current attempt's events move a mail to be sent again.
    named = _MESSAGE_ID.fullmatch(text(inner(mail, "commonHeaders"), "messageId", 300))
    return (JobId(UUID(named[1])), 1) if named else (None, None)


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else None


def _event_id(said: _Said, whom: _Whom, kind: EventType, job_id: JobId, attempt: int) -> EventId:
    """The same however the event comes, by topic or queue, once or again: of what it says, not of its
    envelope."""
    if kind is EventType.SENT:
        # The 200 already told of it: one fact, one id.
        return own_event_id(job_id, attempt, EventType.SENT.value)
    facts = said.facts
    named = text(facts, "feedbackId", 200) or text(facts, "timestamp", 40)
    if not named:
        named = hashlib.sha256(said.raw).hexdigest()
    parts = (text(said.mail, "messageId", 200), said.word, whom.address, named, text(facts, "link", 8000))
    return foreign_event_id("ses", "\x1f".join(parts))


def _reason(said: _Said, kind: EventType) -> str:
    """What SES calls it, where that says more than the server's words."""
    facts = said.facts
    names = ("bounceType", "bounceSubType", "delayType", "complaintFeedbackType", "complaintSubType")
    said_of_it = [text(facts, name, 100) for name in (*names, "reason", "errorMessage")]
    words = " ".join(filter(None, said_of_it))
    return f"{said.word} {words}".strip() if kind in (EventType.UNKNOWN, EventType.REJECTED) else words


def _moment(facts: Entry) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text(facts, "timestamp", 40))
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
