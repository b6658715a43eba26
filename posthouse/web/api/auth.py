"""Who is asking, and may they: `Authorization: Bearer ph_live_...`, or `ph_test_...` for the sandbox."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from posthouse.clock import Clock
from posthouse.domain.errors import Forbidden
from posthouse.domain.ids import ApiKeyId
from posthouse.storage import keys
from posthouse.storage.db import Database
from posthouse.storage.keys import ApiKey, KeyScope, KeySecret, read_secret
from posthouse.web.api.marks import add_headers
from posthouse.web.api.problems import ApiRequest, HttpError, TooManyRequests
from posthouse.web.api.rate_limit import RateLimit, RateLimiter

#: Seconds that a key is remembered. A revocation counts everywhere within 5: this, and the time of a look-up.
MEMORY = 4.0
_MAX_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    key: ApiKey
    asked_at: float  # before the look-up, so that its duration does not add to the memory


class KeyRing:
    """Keys that were found valid, remembered for `MEMORY` seconds. What is not valid is never remembered.

    It also notes when each was used last; `write_uses` stores that, off the path of requests.
    """

    def __init__(self, database: Database, clock: Clock, limit: RateLimit) -> None:
        self._database = database
        self._clock = clock
        self._limiter = RateLimiter(limit, clock.monotonic)
        self._known: OrderedDict[KeySecret, _Known] = OrderedDict()
        self._used: dict[ApiKeyId, datetime] = {}

    async def authenticate(self, request: ApiRequest, scope: KeyScope) -> ApiKey:
        """The key that a request came with.

        Raises HttpError (401 without a key, 403 with one that is not valid: Resend's clients know the two by
        that; 429 above its rate), Forbidden without the scope, NotNow.
        """
        key = await self._valid(_bearer(request))
        self._used[key.api_key_id] = self._clock.now()
        self._count(key)
        if scope not in key.scopes:
            raise Forbidden(
                f"This needs a key with the scope {scope}; this one has {', '.join(sorted(key.scopes))}.",
                code="restricted_api_key",
            )
        return key

    def forget(self, key: ApiKeyId) -> None:
        """It was revoked here: this process need not remember it to the end."""
        for secret in [secret for secret, known in self._known.items() if known.key.api_key_id == key]:
            del self._known[secret]

    async def write_uses(self) -> None:
        """Store when keys were used last. Raises NotNow, after which the next call stores it."""
        used = dict(self._used)
        await keys.mark_used(self._database, used)
        for key, at in used.items():
            if self._used[key] is at:  # else it was used again meanwhile
                del self._used[key]

    def _count(self, key: ApiKey) -> None:
        standing = self._limiter.take(key.api_key_id)
        add_headers(standing.headers())
        if standing.wait > 0:
            raise TooManyRequests(
                f"This key may ask {standing.limit.burst} times in {standing.limit.window} s. Wait for the "
                "seconds that Retry-After says, or send mails in batches: a batch counts as one request.",
                retry_after=standing.wait,
            )

    async def _valid(self, text: str) -> ApiKey:
        secret = read_secret(text)
        key = None if secret is None else await self._find(secret)
        if key is None:
            raise HttpError(
                HTTPStatus.FORBIDDEN,
                "This API key is not valid: it was never made, or it was revoked. Ask for a new one.",
                code="invalid_api_key",
            )
        return key

    async def _find(self, secret: KeySecret) -> ApiKey | None:
        now = self._clock.monotonic()
        known = self._known.get(secret)
        if known is not None and now - known.asked_at < MEMORY:
            return known.key
        key = await keys.find(self._database, secret)
        self._known.pop(secret, None)
        if key is not None:
            self._known[secret] = _Known(key, now)
            if len(self._known) > _MAX_KEYS:
                self._known.popitem(last=False)
        return key


def _bearer(request: ApiRequest) -> str:
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise HttpError(
            HTTPStatus.UNAUTHORIZED,
            f"No API key: send one as Authorization: Bearer {keys.LIVE_PREFIX}...",
            code="missing_api_key",
        )
    return text.strip()
