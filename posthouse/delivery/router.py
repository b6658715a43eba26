"""Which relay of a stream takes the next mails, and for how long a troubled one is left alone."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from posthouse.clock import Clock, full_jitter
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    NotBegun,
    NotTried,
    Outcome,
    RejectedRecipient,
    Relay,
    TryLater,
)

PAUSE_BASE: Final = 0.25  # seconds
#: However long a relay asks to be left alone, it is tried again by then: transactional mail has 30 s.
PAUSE_CAP: Final = 10.0
#: Credentials and plans are mended by people: look again each minute.
CIRCUIT_OPEN: Final = 60.0


@dataclass(slots=True)
class _Health:
    paused_until: float = 0.0
    strikes: int = 0  # troubles since the last acceptance


class Router:
    """The relays of one stream in the operator's order; the first that is not paused is chosen."""

    def __init__(self, relays: Sequence[Relay], clock: Clock, rng: random.Random) -> None:
        if not relays:
            raise ValueError("a stream needs at least one relay")
        self._relays = tuple(relays)
        self._clock = clock
        self._rng = rng
        self._health = [_Health() for _ in relays]

    def choose(self) -> Relay | None:
        """None while every relay is paused."""
        now = self._clock.monotonic()
        for relay, health in zip(self._relays, self._health, strict=True):
            if health.paused_until <= now:
                return relay
        return None

    def resumes_in(self) -> float:
        """Seconds until the first relay may be tried again; 0 if one may be now."""
        now = self._clock.monotonic()
        return max(0.0, min(h.paused_until for h in self._health) - now)

    def learn(self, relay: Relay, outcomes: Sequence[Outcome]) -> None:
        """Pause a relay that is in trouble, by its own hint where it gave one.

        A relay that took, or judged, any mail of the set is at work: what it said about another mail is about
        that mail.
        """
        health = self._health[self._relays.index(relay)]
        if any(isinstance(outcome, AccountTrouble) for outcome in outcomes):
            health.paused_until = self._clock.monotonic() + CIRCUIT_OPEN
            return
        full = [o.resumes_in for o in outcomes if isinstance(o, NotBegun) and o.resumes_in is not None]
        if full:
            # Healthy, and used up for now. Claiming for it meanwhile would only turn the queue over.
            health.paused_until = self._clock.monotonic() + min(PAUSE_CAP, max(full))
        if any(isinstance(outcome, Accepted | RejectedRecipient | NotTried) for outcome in outcomes):
            health.strikes = 0
            return
        slow = [o for o in outcomes if isinstance(o, TryLater) and o.slow_relay]
        if not slow:
            return
        pause = full_jitter(self._rng, health.strikes, PAUSE_BASE, PAUSE_CAP)
        hints = [o.retry_after for o in slow if o.retry_after is not None]
        health.strikes += 1
        health.paused_until = self._clock.monotonic() + min(PAUSE_CAP, max([pause, *hints]))
