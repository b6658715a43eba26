"""Group commit of results: what hand-overs say is recorded in sets, and nothing is free until it is."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from posthouse.domain.errors import NotNow
from posthouse.domain.event import Event
from posthouse.telemetry import log

#: Events recorded in one transaction.
GROUP: Final = 256
#: Transactions under way at the same time. With one, results waited in line for the database's answer to the
#: ones before (8 ms for 34 mails); their mails are different, so they do not meet.
LANES: Final = 2
#: While the database is away: seconds between tries.
RETRY_EVERY: Final = 0.5

Record = Callable[[Sequence[Event]], Awaitable[None]]


class RecorderEnded(RuntimeError):
    """The recorder was stopped or failed; who still has results keeps them to himself."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    events: Sequence[Event]
    done: asyncio.Future[None]


class Recorder:
    """Results that arrive while others are committed form the next group."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._waiting: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._ended = False

    async def recorded(self, events: Sequence[Event]) -> None:
        """Returns when the events are committed, however long the database is away. Raises what `run` ended
        with, since then nothing is recorded any more."""
        if not events:
            return
        if self._ended:
            raise RecorderEnded("results cannot be recorded any more")
        waiting = _Waiting(events, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        await waiting.done

    async def run(self) -> None:
        """Commit groups until cancelled. A bug ends it, aloud, for everybody who waits."""
        lanes = [asyncio.create_task(self._commit_groups()) for _ in range(LANES)]
        try:
            await asyncio.gather(*lanes)
        except BaseException as error:
            self._ended = True
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
            for waiting in self._waiting:
                _fail(waiting.done, error)
            raise

    async def _commit_groups(self) -> None:
        while True:
            group = await self._next_group()
            try:
                await self._commit([event for waiting in group for event in waiting.events])
            except BaseException:
                self._waiting += group  # for `run` to tell them why
                raise
            for waiting in group:
                if not waiting.done.done():
                    waiting.done.set_result(None)

    async def _next_group(self) -> list[_Waiting]:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        taken, size = 0, 0
        for waiting in self._waiting:
            if taken and size + len(waiting.events) > GROUP:
                break
            taken, size = taken + 1, size + len(waiting.events)
        group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return group

    async def _commit(self, events: Sequence[Event]) -> None:
        # Recording can be repeated: our event ids are the same each time, so a commit whose answer was lost
        # is found done.
        while True:
            try:
                await self._record(events)
            except NotNow as error:
                log.warning("results not recorded yet", events=len(events), reason=error.message)
                await asyncio.sleep(RETRY_EVERY)
            else:
                return


def _fail(done: asyncio.Future[None], error: BaseException) -> None:
    if done.done():
        return
    if isinstance(error, Exception):
        done.set_exception(error)
    else:
        done.cancel()
