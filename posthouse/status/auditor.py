"""The audit of a house: read both files and the database, compare, and count the books."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from posthouse.domain.event import BounceClass, EventType, Origin
from posthouse.domain.job import OPEN_STATES, Status
from posthouse.status.audit import Comparison, Key, Known, compare
from posthouse.status.ledgers import read_arrivals, read_promises
from posthouse.storage import audit, books
from posthouse.storage.audit import AuditedJob, Trace
from posthouse.storage.books import Books
from posthouse.storage.db import Database

#: Ends that need a reason in words; SENT and DELIVERED speak for themselves.
_NEED_A_REASON = frozenset(Status) - OPEN_STATES - {Status.SENT, Status.DELIVERED}
_ENDS = frozenset(
    {
        EventType.BOUNCED,
        EventType.REJECTED,
        EventType.FAILED,
        EventType.SUPPRESSED,
        EventType.CANCELLED,
        EventType.EXPIRED,
    }
)


@dataclass(frozen=True, slots=True)
class Verdict:
    comparison: Comparison
    books: Books

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing unexplained, and the books balance."""
        return self.comparison.clean and self.books.residual == 0


async def audit_house(db: Database, client: Path, sink: Path, *, settled: bool) -> Verdict:
    """Compare the three ledgers of a house. `settled`: nothing should be under way any more.

    Holds the ids of all three in memory, about 0.5 GB for a million mails. Raises NotFound or InvalidInput
    for the files, NotNow for the database.
    """
    promises, arrivals = read_promises(client), read_arrivals(sink)
    jobs = await _known_jobs(db)
    return Verdict(compare(promises, arrivals, jobs, settled=settled), await books.residual(db))


@dataclass(slots=True)
class _Timeline:
    """What the events of one job explain."""

    explained: frozenset[int] = frozenset()
    refused_at_handover: bool = False
    reasoned: bool = False

    def add(self, trace: Trace) -> None:
        if _explains_a_repeat(trace):
            self.explained |= {trace.attempt}
        if trace.type is EventType.BOUNCED and trace.origin is Origin.HANDOVER:
            self.refused_at_handover = True
        if trace.type in _ENDS and trace.reasoned:
            self.reasoned = True


def _explains_a_repeat(trace: Trace) -> bool:
    """Whether another attempt after this one is as it should be."""
    soft_bounce = trace.type is EventType.BOUNCED and trace.bounce is BounceClass.SOFT
    return soft_bounce or trace.type in (EventType.OUTCOME_UNKNOWN, EventType.DEFERRED)


async def _known_jobs(db: Database) -> Mapping[Key, Known]:
    async with books.snapshot(db) as snapshot:
        timelines = await _timelines(audit.traces(snapshot))
        return await _knowledge(audit.jobs(snapshot), timelines)


async def _timelines(traces: AsyncIterator[Trace]) -> Mapping[Key, _Timeline]:
    timelines: defaultdict[Key, _Timeline] = defaultdict(_Timeline)
    async for trace in traces:
        timelines[trace.job_id.bytes].add(trace)
    return timelines


async def _knowledge(
    jobs: AsyncIterator[AuditedJob], timelines: Mapping[Key, _Timeline]
) -> Mapping[Key, Known]:
    silent = _Timeline()
    shared: dict[Known, Known] = {}  # a million jobs have a handful of different stories
    known: dict[Key, Known] = {}
    async for job in jobs:
        timeline = timelines.get(job.job_id.bytes, silent)
        story = Known(
            job.status,
            timeline.explained,
            timeline.refused_at_handover,
            reasoned=timeline.reasoned or job.status not in _NEED_A_REASON,
            sandboxed=job.sandboxed,
        )
        known[job.job_id.bytes] = shared.setdefault(story, story)
    return known
