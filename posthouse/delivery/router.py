"""Which relay of a stream takes the next mails, and for how long a troubled one is left alone."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from posthouse.clock import Clock, full_jitter
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    NotBegun,
    NotTried,
    Outcome,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    Relay,
    TryLater,
)

PAUSE_BASE: Final = 0.25  # seconds
#: However long a relay asks to be left alone, it is tried again by then: transactional mail has 30 s.
PAUSE_CAP: Final = 10.0
#: A relay that has mail in hand and has said nothing of any for so long gets no more, but for one set every
#: PAUSE_CAP, to see. Else one that hangs would get, and put in doubt, all that a worker can hold. Seconds.
SILENCE: Final = 2.0
#: While every relay is silent: until they are looked at again. Seconds.
LOOK_AGAIN: Final = 0.25
#: Credentials and plans are mended by people: look again each minute.
CIRCUIT_OPEN: Final = 60.0


@dataclass(slots=True)
class _Health:
    paused_until: float = 0.0
    strikes: int = 0  # troubles since the last acceptance
    out: int = 0  # mails given to it and not answered
    out_since: float = 0.0  # when the first of them was given to it
    given: float = 0.0  # when it was last given any
    heard: float = float("-inf")  # when it last said something of a mail


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
        """None while every relay is paused, or silent."""
        now = self._clock.monotonic()
        for relay, health in zip(self._relays, self._health, strict=True):
            if _rests(health, now) <= 0:
                return relay
        return None

    def resumes_in(self) -> float:
        """Seconds until the first relay may be tried again; 0 if one may be now."""
        now = self._clock.monotonic()
        return max(0.0, min(_rests(health, now) for health in self._health))

    def given(self, relay: Relay, mails: int) -> None:
        """So many mails go to the relay now; `learn` is told of each."""
        health, now = self._health[self._relays.index(relay)], self._clock.monotonic()
        if not health.out:
            health.out_since = now
        health.out += mails
        health.given = now

    def learn(self, relay: Relay, outcomes: Sequence[Outcome]) -> None:
        """Pause a relay that is in trouble, by its own hint where it gave one.

        A relay that took, or judged, any mail of the set is at work: what it said about another mail is about
        that mail.
        """
        health = self._health[self._relays.index(relay)]
        health.out -= len(outcomes)
        was_heard = self._clock.monotonic() - health.heard < SILENCE
        if any(map(_is_answer, outcomes)):
            health.heard = self._clock.monotonic()
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
        # No connection to be had: of a relay that answers, that is to say that it is busy.
        shut = not was_heard and any(isinstance(o, NotBegun) and o.slow_relay for o in outcomes)
        if not slow and not shut:
            return
        pause = full_jitter(self._rng, health.strikes, PAUSE_BASE, PAUSE_CAP)
        hints = [o.retry_after for o in slow if o.retry_after is not None]
        health.strikes += 1
        health.paused_until = self._clock.monotonic() + min(PAUSE_CAP, max([pause, *hints]))


def _rests(health: _Health, now: float) -> float:
    """Seconds for which it gets no mail; not above 0: it may have some."""
    is_silent = health.out > 0 and now - max(health.heard, health.out_since) >= SILENCE
    silence = min(LOOK_AGAIN, health.given + PAUSE_CAP - now) if is_silent else 0.0
    return max(health.paused_until - now, silence)


def _is_answer(outcome: Outcome) -> bool:
    """Whether the relay said it, and said it of a mail."""
    match outcome:
        case TryLater():
            return not outcome.slow_relay
        case Accepted() | RejectedRecipient() | NotTried() | RejectedMessage():
            return True
        case AccountTrouble() | OutcomeUnknown() | NotBegun():
            return False
        case _:
            assert_never(outcome)
