"""Recording as processes do it: `apply` in a transaction, and apart from it the case that nearly all are."""

import random
from collections import Counter
from collections.abc import Sequence

from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import JobId
from posthouse.failpoints import failpoint
from posthouse.status.apply import Applied, Policy, apply
from posthouse.storage import recording
from posthouse.storage.db import Database, Transaction, TransactionConflict, retry_conflicts


async def record(db: Database, events: Sequence[Event], policy: Policy, rng: random.Random) -> Applied:
    """Record events durably: `apply` in a transaction of its own, run again when another was in the way.

    Nearly every event of a worker says that a mail in hand was accepted. For a job in SENDING under that very
    attempt the lifecycle knows one answer, SENT: those go by one statement instead of a transaction's six
    round trips (9 ms of the 29 that a mail is in hand, and a tenth of a worker's processor time). Whatever
    does not fit, in whatever way, goes the whole way. Raises NotNow.
    """
    plain = [event for event in events if _is_plain_acceptance(event)]
    failpoint("record.before_commit")
    done = await _record_plain(db, plain)
    rest = [event for event in events if not (event.job_id in done and _is_plain_acceptance(event))]
    if not rest:
        return Applied(len(done), (), len(done))

    async def work(tx: Transaction) -> Applied:
        applied = await apply(tx, rest, policy)
        failpoint("record.before_commit")
        return applied

    applied = await retry_conflicts(db, work, rng=rng)
    return Applied(applied.stored + len(done), applied.homeless, applied.moves + len(done))


async def _record_plain(db: Database, plain: Sequence[Event]) -> set[JobId]:
    """Jobs that are done with. One that stands twice in the batch is nobody's plain case."""
    once = Counter(event.job_id for event in plain)
    single = [event for event in plain if once[event.job_id] == 1]
    if not single:
        return set()
    try:
        return await recording.record_sent(db, single)
    except TransactionConflict:
        return set()  # the whole way waits for its turn


def _is_plain_acceptance(event: Event) -> bool:
    return (
        event.type is EventType.SENT
        and event.origin is Origin.HANDOVER
        and not event.reason
        and event.smtp_code is None
        and event.raw is None
    )
