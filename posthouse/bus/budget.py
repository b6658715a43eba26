"""How many jobs of a stream may be QUEUED: as many as its workers took within the last 30 s.

More would be a backlog in the topic that nobody can take back, reorder or count; in the table it waits as
well. The workers' pace is read from the books, so that every dispatcher sees the same one.
"""

from collections import deque
from typing import Final

from posthouse.clock import Clock
from posthouse.storage.dispatch import Flow

#: Seconds of the workers' measured pace that may be QUEUED.
SPAN: Final = 30.0
#: Workers that were idle, or have just begun, are given this much to show their pace with.
LEAST: Final = 1_000
#: Seconds between two readings that are kept.
_STEP: Final = 1.0


class Budget:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._room = 0
        self._readings: deque[tuple[float, int]] = deque()  # when, and how many had been taken

    @property
    def room(self) -> int:
        """How many more may be queued now."""
        return max(0, self._room)

    def learn(self, flow: Flow) -> None:
        """What the books say now."""
        now = self._clock.monotonic()
        while len(self._readings) > 1 and self._readings[1][0] <= now - SPAN:
            self._readings.popleft()
        if not self._readings or now - self._readings[-1][0] >= _STEP:
            self._readings.append((now, flow.taken))
        # Books of a day that was dropped take what they counted with them: the pace is then learned anew.
        taken = flow.taken - self._readings[0][1]
        if taken < 0:
            self._readings.clear()
        self._room = max(LEAST, taken) - flow.queued

    def spend(self, jobs: int) -> None:
        """So many were queued since the books were read."""
        self._room -= jobs
