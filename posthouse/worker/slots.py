"""Slots: one for each message that would be in doubt if this worker died now."""

import asyncio
from typing import Final

from posthouse.clock import Clock

#: A claim of few jobs is dear; it is made all the same this long after the first slot became free.
CLAIM_DELAY: Final = 0.005


class Slots:
    """Counts messages in hand, and says how many may be claimed now."""

    def __init__(self, total: int, clock: Clock) -> None:
        if total < 1:
            raise ValueError("a worker needs at least one slot")
        self._total = total
        self._threshold = max(1, min(100, total // 4))
        self._clock = clock
        self._used = 0
        self._free_since = clock.monotonic()
        self._changed = asyncio.Event()

    @property
    def used(self) -> int:
        return self._used

    def take(self, n: int) -> None:
        if n > self._total - self._used:
            raise ValueError("claimed more than there are free slots")
        self._used += n
        self._free_since = self._clock.monotonic()

    def give_back(self, n: int) -> None:
        if n > self._used:
            raise ValueError("gave back more slots than were taken")
        if self._used == self._total:
            self._free_since = self._clock.monotonic()
        self._used -= n
        self._changed.set()

    async def claimable(self) -> int:
        """How many jobs to claim, once it is worth it: a quarter of the slots (at most 100) are free, or
        5 ms have passed since the first became so."""
        while True:
            free = self._total - self._used
            if free >= self._threshold:
                return free
            self._changed.clear()
            if free == 0:
                await self._changed.wait()
                continue
            left = self._free_since + CLAIM_DELAY - self._clock.monotonic()
            if left <= 0:
                return free
            await _changed_within(self._changed, left)


async def _changed_within(changed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return
