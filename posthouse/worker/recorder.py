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
    """Results that arrive while one group commits form the next group."""

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
        group: list[_Waiting] = []
        try:
            while True:
                await self._arrived.wait()
                group = self._next_group()
                await self._commit([event for waiting in group for event in waiting.events])
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.set_result(None)
        except BaseException as error:
            self._ended = True
            for waiting in (*group, *self._waiting):
                _fail(waiting.done, error)
            raise

    def _next_group(self) -> list[_Waiting]:
        taken, size = 0, 0
        for waiting in self._waiting:
            if taken and size + len(waiting.events) > GROUP:
                break
            taken, size = taken + 1, size + len(waiting.events)
        group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        if not self._waiting:
            self._arrived.clear()
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
