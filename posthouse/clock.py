"""Time and randomness as arguments. Nothing else in Posthouse asks the system for either."""

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Wall time, UTC, aware."""
        ...

    def monotonic(self) -> float:
        """Seconds that only rise: for leases, timeouts and rates."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stands until it is moved: for tests and simulations."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._start.timestamp() + self._elapsed, UTC)

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("time does not go back")
        self._elapsed += seconds


def full_jitter(rng: random.Random, attempt: int, base: float, cap: float) -> float:
    """Seconds to wait before retry number `attempt` (0 = first): uniform up to base * 2^attempt, at most cap.

    The floor of `base` keeps a burst from coming back at once.
    """
    ceiling = min(cap, base * 2.0 ** min(attempt, 32))
    return base + rng.random() * max(0.0, ceiling - base)


async def stopped_within(stop: asyncio.Event, seconds: float) -> None:
    """Return at `stop`, or after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
