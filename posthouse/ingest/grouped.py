"""Callbacks that come while others are being stored are stored together, next.

A commit costs the same for one callback as for a hundred. Relays that post one event in a call (SNS, Mailgun,
Postmark) would else pay it for each event; one that comes alone waits for nobody.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from posthouse.bus.port import CallbackSink
from posthouse.domain.errors import NotNow
from posthouse.relays.base import RawCallback

MOST_CALLBACKS: Final = 500
MOST_BYTES: Final = 8_000_000
#: While one group waits for its flush, the next is written.
GROUPS_UNDER_WAY: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    callbacks: Sequence[RawCallback]
    #: None when they are stored. A value also for the error: a relay that hung up leaves nobody to read it.
    outcome: asyncio.Future[NotNow | None]

    @property
    def size(self) -> int:
        return sum(len(callback.body) for callback in self.callbacks)


class GroupedSink:
    """A sink in front of a sink. Use it in one event loop."""

    def __init__(self, behind: CallbackSink) -> None:
        self._behind = behind
        self._queue: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def append(self, callbacks: Sequence[RawCallback]) -> None:
        """Durable when this returns. Raises NotNow: none, or not surely all, of its group are."""
        waiting = _Waiting(callbacks, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if len(self._tasks) < GROUPS_UNDER_WAY:
            task = asyncio.create_task(self._store_groups(), name="callbacks group")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        # Shielded: a relay that hangs up must not take its neighbours' group along.
        failure = await asyncio.shield(waiting.outcome)
        if failure is not None:
            raise failure

    async def _store_groups(self) -> None:
        while self._queue:
            group = self._next_group()
            outcome: NotNow | None = NotNow("The callbacks could not be stored.")
            try:
                await self._behind.append([one for waiting in group for one in waiting.callbacks])
                outcome = None
            except NotNow as error:
                outcome = error
            finally:
                for waiting in group:
                    if not waiting.outcome.done():
                        waiting.outcome.set_result(outcome)

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        callbacks = size = 0
        while self._queue:
            first = self._queue[0]
            callbacks += len(first.callbacks)
            size += first.size
            if group and (callbacks > MOST_CALLBACKS or size > MOST_BYTES):
                break
            group.append(self._queue.popleft())
        return group
