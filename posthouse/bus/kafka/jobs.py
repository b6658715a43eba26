"""bus.port.JobSource over a stream's topic: its records name jobs, which are claimed by id in the table."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from enum import Enum, auto
from typing import Final, assert_never

from posthouse.bus.kafka.job_records import JobRecord, read
from posthouse.bus.kafka.member import Member
from posthouse.bus.kafka.poison import SetAside
from posthouse.bus.kafka.progress import Progress
from posthouse.bus.kafka.topics import jobs_of, workers_of
from posthouse.clock import Clock
from posthouse.config import KafkaSettings
from posthouse.domain.errors import NotNow
from posthouse.domain.ids import InstanceId, JobId
from posthouse.domain.job import ClaimedJob, Held, Status
from posthouse.domain.stream import Stream
from posthouse.storage import jobs
from posthouse.storage.background import in_background
from posthouse.storage.db import Database
from posthouse.storage.jobs import Standing

#: A job that was locked when its record came is looked at again after so long. Seconds.
LOOKED_AT_AGAIN: Final = 0.1
#: Between two commits of offsets. Seconds. What was done and is not committed is read again after a crash.
COMMIT_EVERY: Final = 0.2
#: Records fetched at a time, for the next claims too: the thread that fetches waits for its turn at the
#: interpreter, several ms when mails are composed meanwhile.
FETCHED: Final = 300
#: The longest that a fetch may block its thread, and so a commit or an end. Seconds.
LONGEST_FETCH: Final = 0.25
#: Claims in a row that take no job, before the caller gets a chance to stop.
VAIN_CLAIMS: Final = 20


class Verdict(Enum):
    """What became of the job that a record names, where the record itself is in order."""

    DECIDED = auto()  # claimed, or ended in the claim
    STALE = auto()  # taken before, cancelled, moved, or given another record
    LOCKED = auto()  # somebody has it locked, or it is not due: to be looked at again


class KafkaJobs:
    """For one worker. `async with KafkaJobs(...).running() as source`"""

    def __init__(
        self,
        db: Database,
        settings: KafkaSettings,
        set_aside: SetAside,
        clock: Clock,
        stream: Stream,
        worker: InstanceId,
    ) -> None:
        self._db = db
        self._settings = settings
        self._set_aside = set_aside
        self._clock = clock
        self._stream = stream
        self._worker = worker
        self._progress = Progress()
        self._fetched: deque[JobRecord] = deque()
        self._again: deque[tuple[float, JobRecord]] = deque()  # with the time
        self._in_hand: dict[Held, list[JobRecord]] = {}  # by what the worker holds
        self._membership = AsyncExitStack()
        self._member: Member | None = None  # None: it has left
        self._paused = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator["KafkaJobs"]:
        """In the stream's consumer group, until `leave` or the end of the context."""
        loop = asyncio.get_running_loop()

        def lost(partitions: frozenset[int]) -> None:
            loop.call_soon_threadsafe(self._lose, partitions)

        member = Member(self._settings, workers_of(self._stream), jobs_of(self._stream), lost)
        async with self._membership:
            self._member = await self._membership.enter_async_context(member.running())
            await self._membership.enter_async_context(
                in_background(self._commit_for_ever(self._member), "offsets")
            )
            yield self
            await self.leave()

    async def take(self, limit: int) -> list[ClaimedJob]:
        if self._paused or limit < 1:
            return []
        for _ in range(VAIN_CLAIMS):
            records = await self._next_records(limit)
            if not records:
                self._set_aside.quiet()
            # Before the claim: what fails here must not lose what a claim has taken.
            self._finish(await self._set_aside.bury())
            if not records:
                return []
            if claimed := await self._claim(records):
                return claimed
        return []

    async def release(self, held: Sequence[Held], due_at: datetime | None) -> int:
        """They are PENDING and get another record: the old one names an attempt that is over."""
        return await jobs.release(self._db, self._worker, held, due_at)

    async def disown(self, in_hand: Collection[Held]) -> int:
        return await jobs.disown(self._db, self._worker, in_hand)

    def done(self, held: Sequence[Held]) -> None:
        for one in held:
            self._finish(self._in_hand.pop(one, ()))

    async def wait(self, timeout: float) -> None:
        ends = self._clock.monotonic() + timeout
        while not self._fetched and (left := self._waits_for(ends)) > 0:
            if self._member is None or self._paused:
                await asyncio.sleep(left)
            else:
                await self._fetch(self._member, FETCHED, min(left, LONGEST_FETCH))

    async def leave(self) -> None:
        """The partitions are the others' at once, not when the last mail in hand is done: the records of what
        is in hand are read again there, and find their jobs taken."""
        if self._member is None:
            return
        await self._commit(self._member)
        self._member = None
        await self._membership.aclose()
        self._fetched.clear()
        self._again.clear()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    async def _next_records(self, limit: int) -> list[JobRecord]:
        """Those whose time has come to be looked at again, then the next ones."""
        if self._member is None:
            return []
        now = self._clock.monotonic()
        records: list[JobRecord] = []
        while self._again and self._again[0][0] <= now and len(records) < limit:
            records.append(self._again.popleft()[1])
        if len(self._fetched) < limit - len(records):
            await self._fetch(self._member, FETCHED, 0.0)
        while self._fetched and len(records) < limit:
            records.append(self._fetched.popleft())
        return records

    async def _fetch(self, member: Member, limit: int, timeout: float) -> None:
        for message in await member.fetch(limit, timeout):
            record = read(message)
            # What comes after a run stays where it is: it is not taken, so it is never committed.
            if not self._set_aside.is_stopped(record.partition):
                self._progress.took(record.partition, record.offset)
                self._fetched.append(record)

    def _waits_for(self, ends: float) -> float:
        now = self._clock.monotonic()
        return min(ends, self._again[0][0] if self._again else ends) - now

    async def _claim(self, records: Sequence[JobRecord]) -> list[ClaimedJob]:
        named = {record.names for record in records if record.names is not None}
        try:
            claimed, decided = await jobs.claim_queued(self._db, self._stream, self._worker, list(named))
            others = {one.job_id for one in named if one.job_id not in decided}
            standing = await jobs.standing_of(self._db, others)
        except NotNow:
            # The claim may be committed: the caller disowns it, and the records find another attempt then.
            self._fetched.extendleft(reversed(records))
            raise
        held = {job.job_id: job.held for job in claimed}
        for record in records:
            self._follow(record, _judged(record, self._stream, decided, standing), held)
        return claimed

    def _follow(self, record: JobRecord, verdict: Verdict | str, held: Mapping[JobId, Held]) -> None:
        """Where a record goes after the claim; a verdict in words is the reason why it is poison."""
        if isinstance(verdict, str) or record.names is None:
            self._set_aside.suspect(record, str(verdict))
            return
        self._set_aside.good(record.partition)
        match verdict:
            case Verdict.DECIDED if record.names.job_id in held:
                self._in_hand.setdefault(held[record.names.job_id], []).append(record)
            case Verdict.DECIDED | Verdict.STALE:
                self._finish([record])
            case Verdict.LOCKED:
                self._again.append((self._clock.monotonic() + LOOKED_AT_AGAIN, record))
            case _:
                assert_never(verdict)

    def _finish(self, records: Iterable[JobRecord]) -> None:
        for record in records:
            self._progress.done(record.partition, record.offset)

    def _lose(self, partitions: frozenset[int]) -> None:
        """Another member reads these records from now on; jobs in hand stay so, and he finds them taken."""
        self._progress.lost(partitions)
        self._set_aside.forget(partitions)
        self._fetched = deque(one for one in self._fetched if one.partition not in partitions)
        self._again = deque(one for one in self._again if one[1].partition not in partitions)

    async def _commit_for_ever(self, member: Member) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY)
            await self._commit(member)

    async def _commit(self, member: Member) -> None:
        offsets = self._progress.to_commit()
        await member.commit(offsets)
        self._progress.committed(offsets)


def _judged(
    record: JobRecord, stream: Stream, decided: Collection[JobId], standing: Mapping[JobId, Standing]
) -> Verdict | str:
    if record.names is None:
        return "it is not a record of a job"
    if record.names.job_id in decided:
        return Verdict.DECIDED
    stands = standing.get(record.names.job_id)
    if stands is None:
        return "there is no such job in this house's database"
    if stands.stream is not stream:
        return f"it names a job of the stream {stands.stream}"
    waits = stands.status is Status.QUEUED and stands.attempt == record.names.attempt
    return Verdict.LOCKED if waits else Verdict.STALE
