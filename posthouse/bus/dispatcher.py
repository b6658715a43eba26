"""The dispatcher: due jobs from the table to their stream's topic, and back when a topic loses them.

Jobs become QUEUED (committed) before their records are produced, so a record that a worker reads always finds
its job ready. Whatever happens in between, the table knows it: a dispatch whose records never reached the
topic, or were lost with it, is closed, and its jobs are due again (docs/adr/0021). A job that gets two
records by this is sent once: the second finds another state or another attempt.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from posthouse.bus.budget import Budget
from posthouse.bus.outlook import Outlook
from posthouse.clock import Clock, full_jitter, stopped_within
from posthouse.domain.errors import NotNow
from posthouse.domain.ids import DispatchId
from posthouse.domain.job import Held
from posthouse.domain.stream import Stream
from posthouse.failpoints import failpoint
from posthouse.storage import dispatch
from posthouse.storage.db import Database
from posthouse.storage.dispatch import Place, Queued
from posthouse.storage.hints import Subscription
from posthouse.telemetry import Metrics, log

#: Hints may be lost; the table is looked at this often all the same. Seconds.
POLL: Final = 0.25
#: While the workers' budget is used up. Seconds.
NO_ROOM_POLL: Final = 0.05
#: How old the dispatcher's picture of the workers' pace may be. Seconds; more where the books are long, so
#: that reading them takes at most a twentieth of its time.
FLOW_EVERY: Final = 0.2
_FLOW_SHARE: Final = 20
#: Dispatches of one dispatcher that are being produced at a time.
IN_FLIGHT: Final = 4
#: A producer gives up before this, so nobody is producing what was queued longer ago.
ABANDONED_AFTER: Final = timedelta(seconds=10)
#: Between two looks for what the topic has lost, and for what the workers have done with. Seconds.
SWEEP_EVERY: Final = 1.0
#: Jobs of a dispatch while it is not sure that the topic takes any.
TRIAL: Final = 10
#: Dispatches that are closed in one transaction.
CLOSED_TOGETHER: Final = 50


@dataclass(frozen=True, slots=True)
class Span:
    """Which records a partition has, and where the consumer group stands in it."""

    low: int
    high: int  # the offset of the next record
    committed: int | None  # the next that the group has not done with; None: it has never said


class JobTopic(Protocol):
    """The topic of one stream's jobs, as the dispatcher needs it."""

    async def produce(self, jobs: Sequence[Held]) -> Place:
        """A record for each; all of them are durable when this returns. Raises NotNow, well before
        ABANDONED_AFTER; some may be in the topic then."""
        ...

    async def look(self) -> "TopicState":
        """Raises NotNow when the cluster does not answer, or has no such topic."""
        ...


@dataclass(frozen=True, slots=True)
class TopicState:
    topic_id: str  # another one after the topic was deleted and made again
    spans: Mapping[int, Span]  # by partition


def is_over(place: Place, state: TopicState) -> bool:
    """Whether nobody is going to read these records: they were read and done with, or are gone.

    While only one of them is waiting, nothing is over: a group that lags must not be fed its backlog again.
    """
    if place.topic_id != state.topic_id:
        return True
    return all(_passed(last, state.spans.get(partition)) for partition, last in place.last_offsets.items())


def _passed(last: int, span: Span | None) -> bool:
    if span is None or not span.low <= last < span.high:
        return True
    # A group that stands beyond the end remembers another life of the topic.
    return span.committed is not None and last < span.committed <= span.high


class Dispatcher:
    """For one stream. Any number may run at the same time."""

    def __init__(
        self,
        db: Database,
        stream: Stream,
        topic: JobTopic,
        ear: Subscription,
        clock: Clock,
        rng: random.Random,
        new_id: Callable[[], DispatchId],
        metrics: Metrics,
    ) -> None:
        """`ear` hears when jobs of the stream may be due."""
        self._db = db
        self._stream = stream
        self._topic = topic
        self._ear = ear
        self._clock = clock
        self._rng = rng
        self._new_id = new_id
        self._metrics = metrics
        self._outlook = Outlook(clock)
        self._budget = Budget(clock)
        self._flow_due_at = float("-inf")
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._failures = 1  # until a first dispatch has gone through
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why nothing goes to the topic now."""
        return self._trouble

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, and what is being produced then is seen through."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep_until(stop))
            while not stop.is_set():
                await self._slots.acquire()
                queued = await self._queue_or_wait()
                if queued is None:
                    self._slots.release()
                else:
                    producing = group.create_task(self._deliver(queued))
                    producing.add_done_callback(lambda _: self._slots.release())

    async def sweep(self) -> int:
        """Close what is over. Returns how many jobs are PENDING again because of it. Raises NotNow."""
        back = await dispatch.close(
            self._db, await dispatch.unplaced(self._db, self._stream, ABANDONED_AFTER)
        )
        # Looked at in this order: what was placed before the topic was looked at is in what is seen of it.
        placed = await dispatch.placed(self._db, self._stream)
        if placed:
            state = await self._topic.look()
            over = [one.dispatch_id for one in placed if is_over(one.place, state)]
            for start in range(0, len(over), CLOSED_TOGETHER):
                back += await dispatch.close(self._db, over[start : start + CLOSED_TOGETHER])
        if back:
            log.warning("jobs whose records were lost are due again", stream=self._stream.value, jobs=back)
            self._metrics.redispatched.labels(self._stream.value).inc(back)
            self._ear.wake()
        return back

    async def _sweep_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.sweep()
            except NotNow as error:
                log.warning("sweeping dispatches put off", stream=self._stream.value, reason=error.message)
            await stopped_within(stop, SWEEP_EVERY)

    async def _queue_or_wait(self) -> Queued | None:
        """The next dispatch; None after a wait for something to do."""
        try:
            unsure = self._failures > 0
            if unsure:
                # Nothing is queued for a cluster that does not answer: what waits in the table loses nothing.
                await asyncio.sleep(full_jitter(self._rng, self._failures - 1, base=0.1, cap=2.0))
                await self._topic.look()
                self._trouble = None
            room = await self._room()
            limit = dispatch.queue_size(min(room, TRIAL) if unsure else room)
            queued = await self._queue(limit) if limit else None
        except NotNow as error:
            log.warning("cannot dispatch", stream=self._stream.value, reason=error.message)
            self._failed(error)
            return None
        if queued is None:
            await self._ear.wait(POLL if room else NO_ROOM_POLL)
        return queued

    async def _room(self) -> int:
        began = self._clock.monotonic()
        if began >= self._flow_due_at:
            self._budget.learn(await dispatch.flow(self._db, self._stream))
            took = self._clock.monotonic() - began
            self._flow_due_at = began + max(FLOW_EVERY, _FLOW_SHARE * took)
        return self._budget.room

    async def _queue(self, limit: int) -> Queued | None:
        look = self._outlook.next()
        queued = await dispatch.queue(self._db, self._stream, self._new_id(), limit, look)
        if queued is None:
            self._outlook.saw(look, None, [])
        else:
            self._outlook.saw(look, queued.reached, [job.job_id for job in queued.jobs])
            self._budget.spend(len(queued.jobs))
        return queued

    async def _deliver(self, queued: Queued) -> None:
        """From QUEUED to the topic; back to PENDING if the topic does not take them."""
        failpoint("dispatcher.queued")
        try:
            place = await self._topic.produce(queued.jobs)
        except NotNow as error:
            log.warning(
                "not produced", stream=self._stream.value, jobs=len(queued.jobs), reason=error.message
            )
            self._failed(error)
            await self._close_or_leave(queued.dispatch_id)
            return
        self._failures, self._trouble = 0, None
        self._metrics.dispatched.labels(self._stream.value).inc(len(queued.jobs))
        failpoint("dispatcher.produced")
        try:
            await dispatch.place(self._db, queued.dispatch_id, place)
        except NotNow as error:
            # It looks abandoned then. What workers have not taken by that time gets a second record.
            log.warning("dispatch not noted as produced", reason=error.message)
        failpoint("dispatcher.placed")

    def _failed(self, error: NotNow) -> None:
        self._failures += 1
        self._trouble = f"mail of the {self._stream} stream is not dispatched: {error.message}"

    async def _close_or_leave(self, dispatch_id: DispatchId) -> None:
        try:
            await dispatch.close(self._db, [dispatch_id])
        except NotNow as error:
            log.warning("dispatch left to the sweep", reason=error.message)
