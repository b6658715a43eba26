"""The database's clock, read without asking it: ids take their millisecond from it, so that the partition
they belong to does not depend on which machine made them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime

from posthouse.clock import Clock
from posthouse.domain.errors import NotNow
from posthouse.storage.background import in_background
from posthouse.storage.db import Database

MEASURE_EVERY = 60.0  # seconds
_SAMPLES = 3


class DatabaseClock:
    """Our monotonic clock plus an offset, measured again each minute."""

    def __init__(self, database: Database, clock: Clock, *, measure_every: float = MEASURE_EVERY) -> None:
        self._database = database
        self._clock = clock
        self._measure_every = measure_every  # seconds
        self._offset_ms: float | None = None

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC on the database's clock, to about half a round trip."""
        if self._offset_ms is None:
            raise RuntimeError("the database's clock was not measured yet")
        return int(self._clock.monotonic() * 1000.0 + self._offset_ms)

    def today(self) -> date:
        """The UTC day on the database's clock."""
        return datetime.fromtimestamp(self.now_ms() / 1000.0, UTC).date()

    async def measure(self) -> None:
        """Take the offset anew: the sample with the shortest round trip, at its midpoint. Raises NotNow."""
        samples = []
        async with self._database.session() as session:
            for _ in range(_SAMPLES):
                before = self._clock.monotonic()
                theirs = await session.value(float, "database_clock")
                after = self._clock.monotonic()
                samples.append((after - before, theirs - (before + after) / 2 * 1000.0))
        self._offset_ms = min(samples)[1]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["DatabaseClock"]:
        """Measured, and measured again each minute; while the database is away the last offset holds.

        Raises NotNow when it cannot be measured at first.
        """
        await self.measure()
        async with in_background(self._keep_measuring(), "database clock"):
            yield self

    async def _keep_measuring(self) -> None:
        while True:
            await asyncio.sleep(self._measure_every)
            with suppress(NotNow):
                await self.measure()
