"""Bounce mails and complaints as events of their jobs: the way back from relays that speak SMTP only.

What a report says is believed of a mail of ours only where a signed return path stands in it: it came to
one, or it quotes one. Anybody can write the rest, so a report without one suppresses nobody.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from posthouse.clock import Clock
from posthouse.domain.bounce_mail import INBOUND, INBOUND_ACCOUNT, RECEIVED_HEADER, RECIPIENT_HEADER
from posthouse.domain.event import BounceClass, Event, EventType, Origin
from posthouse.domain.ids import foreign_event_id
from posthouse.domain.job import Held
from posthouse.domain.return_path import attempts_in, read_return_path
from posthouse.ingest.bounce_mail import classify
from posthouse.ingest.bounces.report import Kind, Recipient, Report
from posthouse.relays.base import RawCallback, Unplaced
from posthouse.replies.bounce_rules import Action

#: As much of a mail as the timeline and the dead letters keep: the report stands before what it returns.
KEPT: Final = 64 * 1024

_REPLY_CODE: Final = re.compile(r"\b([245][0-9]{2})[ -]")
#: From the mildest. One failure among several is another recipient's, as behind an alias; it is no proof.
_MILDEST_FIRST: Final = (BounceClass.SOFT, BounceClass.BLOCK, BounceClass.HARD)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a report comes to for one mail."""

    type: EventType
    bounce: BounceClass | None
    about: Recipient | None


class BounceMails:
    """relays.base.CallbackReader of what the inbound listener stored."""

    relay = INBOUND
    account = INBOUND_ACCOUNT

    def __init__(self, key: bytes, clock: Clock) -> None:
        """`key`: of the signed return paths."""
        self._key = key
        self._clock = clock

    def verify(self, callback: RawCallback) -> bool:
        """Never: bounce mails come by SMTP, so what is posted to /hooks in their name is a forgery."""
        return False

    def parse(self, callback: RawCallback) -> tuple[list[Event], list[Unplaced]]:
        """The events of the mail that a report is about. Never raises: whatever it is, it is a mail."""
        report = classify(callback.body)
        told = _told(report)
        held = self._attempt(callback)
        if told is None:
            # A robot's answer to a return path is expected (RFC 3834); anything else is for a person to read.
            return [], [] if report.kind is Kind.AUTO_REPLY else [_stray(EventType.UNKNOWN, None, callback)]
        if held is None:
            return [], [_stray(told.type, told.bounce, callback)]
        return [self._event(callback, held, told)], []

    def _attempt(self, callback: RawCallback) -> Held | None:
        """The address that it came to tells; a feedback loop's report only quotes ours. Two are nobody's."""
        held = read_return_path(callback.headers.get(RECIPIENT_HEADER, ""), self._key)
        if held is not None:
            return held
        quoted = attempts_in(callback.body, self._key)
        return quoted[0] if len(quoted) == 1 else None

    def _event(self, callback: RawCallback, held: Held, told: _Told) -> Event:
        about = told.about
        diagnostic = about.diagnostic if about is not None else ""
        code = _REPLY_CODE.search(diagnostic)
        digest = hashlib.sha256(callback.body).hexdigest()
        return Event(
            job_id=held.job_id,
            event_id=foreign_event_id(INBOUND, f"{held.job_id}:{held.attempt}:{told.type}:{digest}"),
            attempt=held.attempt,
            type=told.type,
            origin=Origin.RELAY,
            occurred_at=self._received_at(callback),
            bounce=told.bounce,
            reason=diagnostic or (about.reason.value if about is not None else ""),
            smtp_code=int(code[1]) if code else None,
            enhanced_code=(about.status or None) if about is not None else None,
            diagnostic=diagnostic,
            raw=callback.body[:KEPT],
            recipient=(about.address or None) if about is not None else None,
        )

    def _received_at(self, callback: RawCallback) -> datetime:
        """When it was stored: the Date of a report is whatever its server's clock says."""
        text = callback.headers.get(RECEIVED_HEADER, "")
        return datetime.fromisoformat(text) if text else self._clock.now()


def _stray(kind: EventType, bounce: BounceClass | None, callback: RawCallback) -> Unplaced:
    """No address: a report that shows no signature may not suppress one."""
    return Unplaced(None, kind, bounce, callback.body[:KEPT])


def _told(report: Report) -> _Told | None:
    """None: nothing about a mail of ours."""
    match report.kind:
        case Kind.BOUNCE:
            return _bounced(report.recipients)
        case Kind.COMPLAINT:
            return _Told(EventType.COMPLAINED, None, _first(report.recipients))
        case Kind.DELAYED:
            return _Told(EventType.DEFERRED, None, _first(report.recipients))
        case Kind.DELIVERED:
            return _Told(EventType.DELIVERED, None, _first(report.recipients))
        case Kind.AUTO_REPLY | Kind.OTHER:
            return None
        case _:
            assert_never(report.kind)


def _first(recipients: Sequence[Recipient]) -> Recipient | None:
    return recipients[0] if recipients else None


def _bounced(recipients: Sequence[Recipient]) -> _Told:
    """One mail has one recipient; where a report names several, the mildest word counts."""
    judged = sorted(recipients, key=lambda one: _MILDEST_FIRST.index(_class_of(one)))
    if not judged:
        return _Told(EventType.BOUNCED, BounceClass.SOFT, None)
    return _Told(EventType.BOUNCED, _class_of(judged[0]), judged[0])


def _class_of(recipient: Recipient) -> BounceClass:
    """What is to be done decides: only a recipient to be suppressed is a hard bounce."""
    match recipient.action:
        case Action.SUPPRESS:
            return BounceClass.HARD
        case Action.RETRY:
            return BounceClass.SOFT
        case Action.NONE:
            return BounceClass.BLOCK
        case _:
            assert_never(recipient.action)
