"""How fast an account may send, kept by its sender: SES refuses what comes faster, and counts it.

SES says the account's rate (GetAccount). Several workers may share it without knowing of each other, so
each feels its way: down by half when SES refuses, up again by a hundredth of the account's rate with each
mail that it took (additive increase, multiplicative decrease, as TCP shares a line).
"""

from typing import Final

#: A claimed mail waits no longer than this for its turn.
MOST_WAIT: Final = 0.5  # seconds
#: However many others share the account, a worker keeps trying at this rate.
_LEAST_RATE: Final = 0.5  # mails a second
_STEP: Final = 0.01
#: Idle time that may be made up for: SES allows short bursts above the rate.
_BURST: Final = 0.5  # seconds


class Pace:
    """The turns of one account's mails in this process. Times are of a monotonic clock."""

    def __init__(self) -> None:
        self._most: float | None = None  # the account's rate; None: not known, or not limited
        self._rate = 0.0
        self._next = 0.0  # when the next mail may begin
        self._lowered = 0.0

    def allow(self, mails_per_second: float) -> None:
        """What the account may send now; below zero: without limit (SES says -1)."""
        if mails_per_second < 0:
            self._most = None
            return
        most = max(mails_per_second, _LEAST_RATE)
        if most != self._most:
            self._most, self._rate = most, most

    def turn(self, now: float) -> float:
        """Seconds until this mail's turn, which is then taken. Above MOST_WAIT: not taken, try then."""
        if self._most is None:
            return 0.0
        start = max(self._next, now - _BURST)
        wait = max(0.0, start - now)
        if wait <= MOST_WAIT:
            self._next = start + 1.0 / self._rate
        return wait

    def refused(self, now: float) -> None:
        """SES said that mails came too fast. The refusals of one second are one refusal."""
        if self._most is None or now - self._lowered < 1.0:
            return
        self._lowered = now
        self._rate = max(_LEAST_RATE, self._rate / 2)

    def took(self) -> None:
        if self._most is not None and self._rate < self._most:
            self._rate = min(self._most, self._rate + self._most * _STEP)
