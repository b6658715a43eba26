"""How far back a taker looks in the queue's index."""

from datetime import datetime, timedelta
from typing import Final

from posthouse.clock import Clock

#: Takers look no further back than this below the last due_at they took: under it lie dead index entries.
FLOOR_MARGIN: Final = timedelta(seconds=30)
#: One look in this time goes without a floor, so that nothing older is ever left behind. Seconds.
FLOORLESS_EVERY: Final = 1.0


class Floor:
    """The due_at below which one taker does not look this time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._floor: datetime | None = None
        self._floorless_at = 0.0

    def next(self) -> datetime | None:
        """None: look at everything."""
        now = self._clock.monotonic()
        if self._floor is None or now - self._floorless_at >= FLOORLESS_EVERY:
            self._floorless_at = now
            return None
        return self._floor

    def reached(self, due_at: datetime) -> None:
        """The latest that was taken."""
        self._floor = due_at - FLOOR_MARGIN
