"""The sweeper: finds dead workers by their beats."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from posthouse.clock import Clock
from posthouse.domain.event import Event, EventType
from posthouse.domain.ids import InstanceId
from posthouse.failpoints import failpoint
from posthouse.status.apply import Policy, apply
from posthouse.status.house_events import house_event
from posthouse.storage import leases
from posthouse.storage.db import Database, Session, Transaction
from posthouse.storage.leases import Left, Living
from posthouse.telemetry import log

#: A mail that this many workers died of is not tried again.
DEATHS_ALLOWED: Final = 3


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
                [house_event(job.job_id, job.attempt, EventType.OUTCOME_UNKNOWN, now, why) for job in left],
                policy,
            )
            log.warning("claims of ended workers", jobs=len(left))
    return len(left)


def _after_death(job: Left, now: datetime) -> Event:
    """In doubt, whether it was begun or not; a mail that kills workers ends here."""
    if job.deaths + 1 >= DEATHS_ALLOWED:
        return house_event(
            job.job_id,
            job.attempt,
            EventType.FAILED,
            now,
            "crashed_worker: each worker that took this mail died",
        )
    return house_event(
        job.job_id, job.attempt, EventType.OUTCOME_UNKNOWN, now, "the worker died with this mail in hand"
    )
