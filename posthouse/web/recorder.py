"""Readers' events on their way to the database: answered first, recorded after, in sets.

An event waits in memory for at most a tenth of a second while the database takes events. When it does not, it
goes to the spool and is recorded when the database is back. Both are bounded; what finds no room is counted.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

from posthouse.clock import Clock
from posthouse.domain.errors import NotNow
from posthouse.domain.event import Event
from posthouse.storage.background import in_background
from posthouse.telemetry import Metrics, log
from posthouse.web.spool import Segment, Spool

#: Records events; committed when it returns. Safe to repeat. Raises NotNow.
Record: TypeAlias = Callable[[Sequence[Event]], Awaitable[None]]

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Pace:
    """All in seconds but `in_memory`, which is events."""

    flush_every: float = 0.1
    give_up_after: float = 5.0  # a database that is silent for so long is away
    look_again_after: float = 1.0  # while it is away
    in_memory: int = 50_000


class Recorder:
    """One a process. `offer` never waits; the rest happens in `running`."""

    def __init__(
        self, record: Record, spool: Spool, *, clock: Clock, metrics: Metrics, pace: Pace | None = None
    ) -> None:
        self._record = record
        self._spool = spool
        self._clock = clock
        self._metrics = metrics
        self._pace = pace or Pace()
        self._waiting: deque[Event] = deque()
        self._came = asyncio.Event()
        self._away_until = 0.0  # on the monotonic clock; 0: the database takes events
        self._spooled = True  # whether the spool may hold anything: an earlier process may have left some

    def offer(self, event: Event) -> None:
        """Have an event recorded soon. A full memory drops it, counted."""
        if len(self._waiting) >= self._pace.in_memory:
            self._metrics.tracking_dropped.inc()
            return
        self._waiting.append(event)
        self._came.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Recorder"]:
        """Records until the block ends; what is waiting then is recorded, or spooled for the next start."""
        async with in_background(self._run(), "reader events"):
            yield self
        await self._flush()
        await asyncio.to_thread(self._spool.close)

    async def _run(self) -> None:
        while True:
            await self._wait_for_work()
            await self._flush()
            if self._spooled and not self._is_away():
                await self._replay()

    async def _wait_for_work(self) -> None:
        """Until events came and had the time to be joined by others; while some are spooled, not for long."""
        try:
            async with asyncio.timeout(self._pace.look_again_after if self._spooled else None):
                await self._came.wait()
        except TimeoutError:
            return
        self._came.clear()
        await asyncio.sleep(self._pace.flush_every)

    async def _flush(self) -> None:
        """Everything that waits, in batches."""
        while self._waiting:
            batch = list(islice(self._waiting, BATCH))
            if self._is_away() or not await self._recorded(batch):
                await self._set_aside(batch)
            # Only now: a cancellation above leaves them for the last flush.
            for _ in batch:
                self._waiting.popleft()

    async def _set_aside(self, batch: Sequence[Event]) -> None:
        self._spooled = True
        self._dropped(await asyncio.to_thread(self._spool.append, batch), "the spool is full")

    async def _replay(self) -> None:
        """One segment of the spool, if there is one."""
        segment = await asyncio.to_thread(self._spool.oldest)
        if segment is None:
            self._spooled = False
        elif await self._recorded_whole(segment):
            self._dropped(segment.torn, "cut off in the spool")
            await asyncio.to_thread(self._spool.remove, segment)

    async def _recorded_whole(self, segment: Segment) -> bool:
        for start in range(0, len(segment.events), BATCH):
            if not await self._recorded(segment.events[start : start + BATCH]):
                return False
        return True

    async def _recorded(self, batch: Sequence[Event]) -> bool:
        """Whether the batch is dealt with; False when the database is away."""
        try:
            async with asyncio.timeout(self._pace.give_up_after):
                await self._record(batch)
        except (NotNow, TimeoutError) as error:
            if not self._is_away():
                log.warning("reader_events_wait", error=str(error) or "the database does not answer")
            self._away_until = self._clock.monotonic() + self._pace.look_again_after
            return False
        except Exception as error:  # one event that cannot be recorded must not hold up all others
            if len(batch) == 1:
                log.error("reader_event_dropped", event_id=str(batch[0].event_id), error=repr(error))
                self._dropped(1, "cannot be recorded")
                return True
            middle = len(batch) // 2
            return await self._recorded(batch[:middle]) and await self._recorded(batch[middle:])
        self._away_until = 0.0
        return True

    def _is_away(self) -> bool:
        return self._clock.monotonic() < self._away_until

    def _dropped(self, events: int, why: str) -> None:
        if events:
            self._metrics.tracking_dropped.inc(events)
            log.error("reader_events_dropped", events=events, reason=why)
