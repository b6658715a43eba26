"""The sweeper: finds dead workers by their beats, and settles outcomes that stayed unknown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from posthouse.clock import Clock
from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import EventId, InstanceId, JobId, own_event_id
from posthouse.domain.stream import Stream
from posthouse.failpoints import failpoint
from posthouse.status.apply import Policy, apply
from posthouse.storage import leases
from posthouse.storage.db import Database, Session, Transaction
from posthouse.storage.leases import Doubt, Left, Living
from posthouse.telemetry import log

#: A mail that this many workers died of is not tried again.
DEATHS_ALLOWED: Final = 3
#: A doubt held for the operator ends after this long, so that it pins no partition.
DOUBT_ENDS_AFTER: Final = timedelta(days=7)


@dataclass(slots=True)
class Watch:
    """Beats as one sweeper saw them, by its own monotonic clock, on one unbroken connection.

    Begin a new one whenever the connection was lost: a database outage must not make everybody look dead.
    """

    dead_after: timedelta
    seen: dict[InstanceId, tuple[datetime, float]]
    looked_at: float

    def still(self, workers: Sequence[Living], now: float) -> list[Living]:
        """The workers whose beat has stood still for long enough. `now` is when they were looked at."""
        # A server or a sweeper that stood still keeps the connection, and finds every beat old.
        unbroken = now - self.looked_at <= self.dead_after.total_seconds() / 2
        before = self.seen if unbroken else {}
        self.looked_at = now
        self.seen = {
            w.instance: before[w.instance]
            if before.get(w.instance, (None,))[0] == w.beat_at
            else (w.beat_at, now)
            for w in workers
        }
        limit = self.dead_after.total_seconds()
        return [w for w in workers if now - self.seen[w.instance][1] >= limit]


def new_watch(dead_after: timedelta) -> Watch:
    return Watch(dead_after, {}, float("-inf"))


async def sweep_dead(db: Database, session: Session, watch: Watch, policy: Policy, clock: Clock) -> int:
    """Bury the workers that stopped beating; their jobs become UNKNOWN. Returns how many jobs."""
    workers = await leases.living(session)
    swept = 0
    for worker in watch.still(workers, clock.monotonic()):
        async with db.transaction() as tx:
            swept += await _bury(tx, worker, policy, clock.now())
            failpoint("sweeper.before_commit")
        failpoint("sweeper.after_commit")
    return swept + await _sweep_leftovers(db, session, policy, clock.now())


async def _bury(tx: Transaction, worker: Living, policy: Policy, now: datetime) -> int:
    """Marking a worker dead and moving its jobs is one transaction: nobody sees one without the other."""
    if not await leases.bury(tx, worker):
        return 0
    left = await leases.held_by(tx, [worker.instance])
    await leases.count_deaths(tx, [job.job_id for job in left])
    await apply(tx, [_after_death(job, now) for job in left], policy)
    log.warning("worker declared dead", instance=str(worker.instance), jobs=len(left))
    return len(left)


async def _sweep_leftovers(db: Database, session: Session, policy: Policy, now: datetime) -> int:
    """What was claimed for workers that had ended: one that was stopped claims once more before it learns
    that it is dead, and the answer to a last claim may be lost."""
    ended = await leases.ended(session)
    if not ended:
        return 0
    async with db.transaction() as tx:
        left = await leases.held_by(tx, ended)
        if left:
            why = "its worker ended without a word about this mail"
            await apply(
                tx,
                [_own(job.job_id, job.attempt, EventType.OUTCOME_UNKNOWN, now, why) for job in left],
                policy,
            )
            log.warning("claims of ended workers", jobs=len(left))
    return len(left)


def _after_death(job: Left, now: datetime) -> Event:
    """In doubt, whether it was begun or not; a mail that kills workers ends here."""
    if job.deaths + 1 >= DEATHS_ALLOWED:
        return _own(
            job.job_id,
            job.attempt,
            EventType.FAILED,
            now,
            "crashed_worker: each worker that took this mail died",
        )
    return _own(
        job.job_id, job.attempt, EventType.OUTCOME_UNKNOWN, now, "the worker died with this mail in hand"
    )


@dataclass(frozen=True, slots=True)
class DoubtRule:
    """What silence means for a stream, and what to do where it means nothing."""

    silence_means_not_taken: bool  # every relay of the stream reports each mail it takes
    repeat: bool  # where silence proves nothing: send again, or hold for the operator


#: The sandbox tells what becomes of a mail before it says that it took it, whatever the stream's relays do.
_SANDBOX_RULE: Final = DoubtRule(silence_means_not_taken=True, repeat=False)


async def settle_doubts(db: Database, rules: Mapping[Stream, DoubtRule], policy: Policy, clock: Clock) -> int:
    """Settle unknown outcomes whose time has come. Returns how many were settled or held."""
    async with db.transaction() as tx:
        doubts = await leases.doubts_due(tx)
        now = clock.now()
        events = [_settled(d, now, _rule(d, rules)) for d in doubts]
        await apply(tx, [event for event in events if event is not None], policy)
        held = [doubt.job_id for doubt, event in zip(doubts, events, strict=True) if event is None]
        await leases.hold_doubts(tx, held, now + DOUBT_ENDS_AFTER)
        failpoint("sweeper.settled")
    return len(doubts)


def _rule(doubt: Doubt, rules: Mapping[Stream, DoubtRule]) -> DoubtRule:
    return _SANDBOX_RULE if doubt.sandbox else rules[Stream(doubt.stream)]


def _settled(doubt: Doubt, now: datetime, rule: DoubtRule) -> Event | None:
    """How silence ends a doubt; None: it does not, and the doubt is held for the operator."""
    if rule.silence_means_not_taken:
        why = "the relay reports each mail it takes and did not report this one"
        return _not_repeated(doubt, now, why) if doubt.no_repeat else _goes_again(doubt, now, why)
    if rule.repeat:
        why = "the outcome stayed unknown"
        return _not_repeated(doubt, now, why) if doubt.no_repeat else _goes_again(doubt, now, why)
    if doubt.held:
        return _own(doubt.job_id, doubt.attempt, EventType.FAILED, now, "the outcome never became known")
    return None


def _goes_again(doubt: Doubt, now: datetime, why: str) -> Event:
    return _own(doubt.job_id, doubt.attempt, EventType.DEFERRED, now, f"{why}: sent again")


def _not_repeated(doubt: Doubt, now: datetime, why: str) -> Event:
    """Cancelling came too late for the attempt in doubt, and in time for the one that would follow it."""
    reason = f"{why}, and it was to be cancelled: not sent again"
    return _own(doubt.job_id, doubt.attempt, EventType.CANCELLED, now, reason)


def _own(job_id: JobId, attempt: int, kind: EventType, now: datetime, reason: str) -> Event:
    name = kind.value if kind is not EventType.DEFERRED else "settled"
    return Event(
        job_id=job_id,
        event_id=own_event_id(job_id, attempt, name),
        attempt=attempt,
        type=kind,
        origin=Origin.HOUSE,
        occurred_at=now,
        reason=reason,
        due_at=now,
    )


def resolved_by_operator(job_id: JobId, attempt: int, kind: EventType, now: datetime, reason: str) -> Event:
    """The operator's word about a held outcome: sent, failed, or deferred (goes again)."""
    return Event(
        job_id=job_id,
        event_id=EventId(uuid4()),
        attempt=attempt,
        type=kind,
        origin=Origin.HOUSE,
        occurred_at=now,
        reason=f"resolved by the operator: {reason}",
        due_at=now,
    )
