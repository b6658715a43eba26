"""What a relay's answer means for a job: the event to record, or that nothing was begun."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from msgspec import Struct

from posthouse.clock import full_jitter
from posthouse.domain.event import BounceClass, Event, EventType, Origin
from posthouse.domain.ids import RelayAccount, own_event_id
from posthouse.domain.job import ClaimedJob
from posthouse.domain.suppression import SuppressionReason
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    NotBegun,
    NotTried,
    Outcome,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    TryLater,
)

#: A broken account is mended by people, not by trying: look again after a minute or so.
ACCOUNT_RETRY = 60.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits after transient trouble: full jitter between base and cap.

    A wait that the server or the meaning of its reply implies (greylisting) counts up to `longest_hint`.
    """

    base: timedelta
    cap: timedelta
    longest_hint: timedelta = timedelta(hours=4)


class HandedOver(Struct, frozen=True):
    """A job with the answer it got, from whom and when."""

    job: ClaimedJob
    outcome: Outcome
    relay: RelayAccount
    at: datetime
    template_version: int | None = None


def event_of(done: HandedOver, backoff: Backoff, rng: random.Random) -> Event | None:
    """The event of an answer; None when the hand-over was not begun and the job just goes back."""
    outcome = done.outcome
    match outcome:
        case Accepted():
            return _event(
                done, EventType.SENT, provider_message_id=outcome.provider_message_id, reply=outcome.reply
            )
        case RejectedRecipient():
            return _event(
                done,
                EventType.BOUNCED,
                bounce=outcome.bounce,
                reason="the recipient's server refused the address",
                reply=outcome.reply,
                code=outcome.smtp_code,
                enhanced=outcome.enhanced_code,
            )
        case NotTried():
            return _event(
                done,
                EventType.REJECTED,
                reason="the relay does not try this address: it stands on the relay's own list",
                reply=outcome.reply,
                mirrored=outcome.listed_for,
            )
        case RejectedMessage():
            return _event(
                done,
                EventType.REJECTED,
                reason="the relay refused the message",
                reply=outcome.reply,
                code=outcome.smtp_code,
                enhanced=outcome.enhanced_code,
            )
        case TryLater():
            return _event(
                done,
                EventType.DEFERRED,
                reason="not taken for now",
                reply=outcome.reply,
                code=outcome.smtp_code,
                enhanced=outcome.enhanced_code,
                due_at=_not_past_expiry(done, _wait(done.job, outcome, backoff, rng)),
            )
        case AccountTrouble():
            return _event(
                done,
                EventType.DEFERRED,
                reason="the relay account is in trouble: the operator must act",
                reply=outcome.reply,
                code=outcome.smtp_code,
                enhanced=outcome.enhanced_code,
                due_at=_not_past_expiry(done, ACCOUNT_RETRY * (1.0 + rng.random())),
            )
        case OutcomeUnknown():
            return _event(done, EventType.OUTCOME_UNKNOWN, reason=outcome.reason)
        case NotBegun():
            return None
        case _:
            assert_never(outcome)


def failed(job: ClaimedJob, reason: str, at: datetime) -> Event:
    """The end of a job that cannot be composed."""
    return Event(
        job_id=job.job_id,
        event_id=own_event_id(job.job_id, job.attempt, EventType.FAILED),
        attempt=job.attempt,
        type=EventType.FAILED,
        origin=Origin.HOUSE,
        occurred_at=at,
        reason=reason,
    )


def _wait(job: ClaimedJob, outcome: TryLater, backoff: Backoff, rng: random.Random) -> float:
    """Seconds: what the relay asks for within reason, so that one that says 0 makes no hot loop."""
    base = backoff.base.total_seconds()
    if outcome.retry_after is not None:
        return max(base, min(backoff.longest_hint.total_seconds(), outcome.retry_after))
    return full_jitter(rng, job.attempt - 1, base, backoff.cap.total_seconds())


def _not_past_expiry(done: HandedOver, seconds: float) -> datetime:
    """No later than the job's expiry, so that an expired job ends on time instead of waiting for its turn."""
    left = (done.job.expires_at - done.at).total_seconds()
    return done.at + timedelta(seconds=max(0.0, min(left, seconds)))


def _event(
    done: HandedOver,
    kind: EventType,
    *,
    reason: str = "",
    reply: str = "",
    code: int | None = None,
    enhanced: str | None = None,
    provider_message_id: str | None = None,
    bounce: BounceClass | None = None,
    mirrored: SuppressionReason | None = None,
    due_at: datetime | None = None,
) -> Event:
    return Event(
        job_id=done.job.job_id,
        event_id=own_event_id(done.job.job_id, done.job.attempt, kind),
        attempt=done.job.attempt,
        type=kind,
        origin=Origin.HANDOVER,
        occurred_at=done.at,
        bounce=bounce,
        reason=reason,
        relay=done.relay,
        provider_message_id=provider_message_id,
        smtp_code=code,
        enhanced_code=enhanced,
        diagnostic=reply,
        template_version=done.template_version,
        mirrored=mirrored,
        due_at=due_at,
    )
