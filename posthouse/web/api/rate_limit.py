"""How fast a key may ask: a token bucket for each, in this process alone, and what the answer says about it.

No lock and no database: the limit protects this process from one client's loop, so each process of the API
counts for itself, and a key that all of them serve has the limit once for each.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from posthouse.domain.ids import ApiKeyId

_MAX_BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`burst` requests at once, and then `per_second`."""

    per_second: float
    burst: int

    @property
    def window(self) -> int:
        """Seconds in which an empty bucket is full again."""
        return math.ceil(self.burst / self.per_second)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a key stands after a request. `wait`: seconds until its next one; 0: this one was allowed."""

    limit: RateLimit
    left: float
    wait: float

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Of draft-ietf-httpapi-ratelimit-headers-11, and the three that older clients know (seconds)."""
        quota, window = self.limit.burst, self.limit.window
        left = int(self.left)
        full_in = math.ceil((quota - self.left) / self.limit.per_second)
        return [
            (b"ratelimit-policy", b'"default";q=%d;w=%d' % (quota, window)),
            (b"ratelimit", b'"default";r=%d;t=%d' % (left, full_in)),
            (b"ratelimit-limit", b"%d" % quota),
            (b"ratelimit-remaining", b"%d" % left),
            (b"ratelimit-reset", b"%d" % full_in),
        ]


class RateLimiter:
    """The buckets of the keys that asked last; a key that was forgotten begins with a full one."""

    def __init__(self, limit: RateLimit, monotonic: Callable[[], float]) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._buckets: OrderedDict[ApiKeyId, _Bucket] = OrderedDict()

    def take(self, key: ApiKeyId) -> Standing:
        """Count a request of this key."""
        limit, now = self._limit, self._monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(limit.burst, now)
            if len(self._buckets) > _MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
            bucket.tokens = min(limit.burst, bucket.tokens + (now - bucket.filled_at) * limit.per_second)
            bucket.filled_at = now
        if bucket.tokens < 1:
            return Standing(limit, bucket.tokens, (1 - bucket.tokens) / limit.per_second)
        bucket.tokens -= 1
        return Standing(limit, bucket.tokens, 0.0)
