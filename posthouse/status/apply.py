"""The one writer of outcomes: every end of a mail, ours or a relay's, goes through `apply`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from posthouse.domain.event import BounceClass, Event, EventType, Origin
from posthouse.domain.ids import EventId, JobId
from posthouse.domain.job import Status
from posthouse.domain.lifecycle import Decision, Standing, decide
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import SuppressionReason, SuppressionScope
from posthouse.storage import recording
from posthouse.storage.db import Transaction
from posthouse.storage.recording import Delta, LockedJob, Marks, Moved, NewSuppression


@dataclass(frozen=True, slots=True)
class Policy:
    """The house's rules that a recording needs."""

    soft_bounce: tuple[timedelta, ...]  # one wait for each retry
    unknown_after: Mapping[Stream, timedelta]  # how long a doubt may last before it is settled


@dataclass(frozen=True, slots=True)
class Applied:
    stored: int  # events that were not there yet
    homeless: tuple[Event, ...]  # their job is not in the database
    moves: int


@dataclass(slots=True)
class _Tally:
    """What one recording will write; filled event by event, written set by set."""

    moves: dict[JobId, Moved]
    marks: dict[JobId, Marks]
    deltas: Counter[Delta]
    stored: Counter[date]
    suppressions: list[NewSuppression]


async def apply(tx: Transaction, events: Sequence[Event], policy: Policy) -> Applied:
    """Record events: lock their jobs, store what is new, decide, write states, books and suppressions.

    Safe to repeat: an event that is stored already changes nothing. Tables are written in one order (jobs'
    locks, events, jobs, suppressions, books) by everybody, so that two recordings cannot block each other.
    """
    jobs = await recording.lock_jobs(tx, (e.job_id for e in events))
    homeless = tuple(e for e in events if e.job_id not in jobs)
    known = [e for e in events if e.job_id in jobs]
    if not known:
        return Applied(0, homeless, 0)
    new = await recording.insert_events(tx, known)
    fresh = _each_once(known, new)
    earlier_softs = await _soft_bounces(tx, fresh)
    tally = _decide_all(jobs, fresh, earlier_softs, policy)
    await recording.move_jobs(tx, list(tally.moves.values()))
    await recording.mark_jobs(tx, list(tally.marks.values()))
    await recording.suppress(tx, tally.suppressions)
    await recording.book(tx, tally.deltas, tally.stored)
    return Applied(len(fresh), homeless, len(tally.moves))


def _each_once(events: Sequence[Event], new: set[EventId]) -> list[Event]:
    """The new events in the order they happened; one that stands twice in the batch counts once."""
    once = {e.event_id: e for e in reversed(events) if e.event_id in new}
    return sorted(once.values(), key=lambda e: (e.job_id, e.occurred_at, e.event_id))


async def _soft_bounces(tx: Transaction, fresh: Sequence[Event]) -> Mapping[JobId, set[int]]:
    soft = {e.job_id for e in fresh if e.type is EventType.BOUNCED and e.bounce is BounceClass.SOFT}
    return await recording.soft_bounced_attempts(tx, soft)


def _decide_all(
    jobs: Mapping[JobId, LockedJob],
    fresh: Sequence[Event],
    softs: Mapping[JobId, set[int]],
    policy: Policy,
) -> _Tally:
    tally = _Tally({}, {}, Counter(), Counter(), [])
    standings: dict[JobId, Standing] = {}
    for event in fresh:
        job = jobs[event.job_id]
        standing = standings.get(job.job_id) or _standing(job)
        used = sum(1 for attempt in softs.get(job.job_id, ()) if attempt < event.attempt)
        standing = Standing(standing.status, standing.attempt, used, standing.in_doubt)
        decision = decide(standing, event, len(policy.soft_bounce))
        standings[job.job_id] = Standing(decision.status, job.attempt, used, decision.in_doubt)
        tally.stored[job.day] += 1
        _tally_move(tally, job, standing, decision, event, policy)
        _tally_marks(tally, event)
        _tally_suppression(tally, job, event, decision)
    return tally


def _standing(job: LockedJob) -> Standing:
    return Standing(Status(job.status), job.attempt, 0, job.in_doubt)


def _tally_move(
    tally: _Tally, job: LockedJob, before: Standing, decision: Decision, event: Event, policy: Policy
) -> None:
    learned = _learns_id(job, event)
    if decision.status is before.status and decision.in_doubt == before.in_doubt and not learned:
        return
    if decision.status is not before.status:
        delta = Delta(job.day, job.stream, job.campaign_id, before.status.value, decision.status.value)
        tally.deltas[delta] += 1
    earlier = tally.moves.get(job.job_id)
    tally.moves[job.job_id] = Moved(
        job.job_id,
        decision.status,
        decision.in_doubt,
        _due_at(job, before, decision, event, policy) or (earlier.due_at if earlier else None),
        (earlier.sent_at if earlier else None) or _sent_at(decision, event),
        event.relay or (earlier.relay if earlier else None),
        event.provider_message_id or (earlier.provider_message_id if earlier else None),
        _waits_for_soft_retry(decision, earlier),
    )


def _learns_id(job: LockedJob, event: Event) -> bool:
    """Our own hand-over's word for the id, or a relay's while there is none: later words repeat it."""
    if event.provider_message_id is None or event.attempt != job.attempt:
        return False
    return job.provider_message_id is None or event.origin is Origin.HANDOVER


def _waits_for_soft_retry(decision: Decision, earlier: Moved | None) -> bool:
    """A later word of the same batch that leaves the job waiting leaves it waiting for this."""
    if decision.soft_retry is not None:
        return True
    return decision.status is Status.PENDING and earlier is not None and earlier.soft_retry


def _due_at(
    job: LockedJob, before: Standing, decision: Decision, event: Event, policy: Policy
) -> datetime | None:
    """When the job is to be looked at again; None leaves its due_at as it is."""
    if decision.soft_retry is not None:
        return event.occurred_at + policy.soft_bounce[decision.soft_retry]
    if decision.status is before.status:
        return None
    if decision.status is Status.UNKNOWN:
        return event.occurred_at + policy.unknown_after[Stream(job.stream)]
    if decision.status is Status.PENDING:
        return event.due_at or event.occurred_at
    return None


def _sent_at(decision: Decision, event: Event) -> datetime | None:
    arrived = decision.status in (Status.SENT, Status.DELIVERED)
    return event.occurred_at if arrived or event.type is EventType.SENT else None


def _tally_marks(tally: _Tally, event: Event) -> None:
    if event.machine:
        return  # marks say what people did
    at = event.occurred_at
    old = tally.marks.get(event.job_id, Marks(event.job_id))
    match event.type:
        case EventType.OPENED:
            new = Marks(
                old.job_id, old.opened_at or at, old.clicked_at, old.complained_at, old.unsubscribed_at
            )
        case EventType.CLICKED:
            new = Marks(
                old.job_id, old.opened_at, old.clicked_at or at, old.complained_at, old.unsubscribed_at
            )
        case EventType.COMPLAINED:
            new = Marks(
                old.job_id, old.opened_at, old.clicked_at, old.complained_at or at, old.unsubscribed_at
            )
        case EventType.UNSUBSCRIBED:
            new = Marks(
                old.job_id, old.opened_at, old.clicked_at, old.complained_at, old.unsubscribed_at or at
            )
        case _:
            return
    tally.marks[event.job_id] = new


def _tally_suppression(tally: _Tally, job: LockedJob, event: Event, decision: Decision) -> None:
    """A hard bounce and the last soft one suppress the address, a complaint for good; a block never does. An
    address on a relay's own list is put on ours: no bounce, since nobody tried."""
    match event.type, event.bounce:
        case EventType.BOUNCED, BounceClass.HARD:
            scope, reason = SuppressionScope.ALL, SuppressionReason.BOUNCE
        case EventType.BOUNCED, BounceClass.SOFT if decision.status is Status.BOUNCED:
            scope, reason = SuppressionScope.ALL, SuppressionReason.BOUNCE
        case EventType.REJECTED, _ if event.mirrored is not None:
            unsubscribed = event.mirrored is SuppressionReason.UNSUBSCRIBE
            scope = SuppressionScope.MARKETING if unsubscribed else SuppressionScope.ALL
            reason = event.mirrored
        case EventType.COMPLAINED, _:
            scope, reason = SuppressionScope.ALL, SuppressionReason.SPAM
        case EventType.UNSUBSCRIBED, _:
            scope, reason = SuppressionScope.MARKETING, SuppressionReason.UNSUBSCRIBE
        case _:
            return
    note = event.diagnostic or event.reason
    tally.suppressions.append(
        NewSuppression(job.address_key, scope, reason, event.occurred_at, job.job_id, note[:500])
    )
