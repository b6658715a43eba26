"""Whether a call is tried again, and when. Every one may be: what accepts mail carries an idempotency key."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from posthouse.client.errors import ApiError, TooManyRequests, Unavailable, error_of

_IN_PROGRESS = "idempotency_in_progress"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, read whole."""

    status: int
    headers: Mapping[str, str]
    body: object

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"


@dataclass(frozen=True, slots=True)
class Retries:
    """Full jitter (each wait is anything up to the longest of its try), never below what Retry-After says.

    Times in seconds. `tries` counts the first one.
    """

    tries: int = 5
    base: float = 0.2
    cap: float = 10.0
    longest_told: float = 120.0  # a Retry-After beyond it is the caller's to wait for
    rng: random.Random = field(default_factory=random.Random)

    def wait_after(self, outcome: Answer | Exception, tried: int) -> float:
        """Seconds until the next try. Raises ApiError when there is none, or no sense in one."""
        error = _error(outcome)
        if tried >= self.tries or not _passing(error):
            raise error
        told = _told(outcome)
        if told > self.longest_told:
            raise error
        longest = min(self.cap, self.base * 2 ** (tried - 1))
        return max(self.rng.uniform(0, longest), told)


def _error(outcome: Answer | Exception) -> ApiError:
    if isinstance(outcome, Answer):
        return error_of(outcome.status, outcome.body)
    error = Unavailable(f"The house could not be reached: {str(outcome) or type(outcome).__name__}.")
    error.__cause__ = outcome
    return error


def _passing(error: ApiError) -> bool:
    return isinstance(error, Unavailable | TooManyRequests) or error.code == _IN_PROGRESS


def _told(outcome: Answer | Exception) -> float:
    text = outcome.headers.get("retry-after", "") if isinstance(outcome, Answer) else ""
    return float(text) if text.isdecimal() else 0.0
