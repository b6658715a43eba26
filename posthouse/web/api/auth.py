"""Who is asking, and may they: `Authorization: Bearer ph_live_...`, or `ph_test_...` for the sandbox."""

from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus

from posthouse.clock import Clock
from posthouse.domain.errors import Forbidden
from posthouse.storage import keys
from posthouse.storage.db import Database
from posthouse.storage.keys import ApiKey, KeyScope, KeySecret, read_secret
from posthouse.web.api.problems import ApiRequest, HttpError

#: Seconds that a key is remembered. A revocation counts everywhere within 5: this, and the time of a look-up.
MEMORY = 4.0
_MAX_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    key: ApiKey
    asked_at: float  # before the look-up, so that its duration does not add to the memory


class KeyRing:
    """Keys that were found valid, remembered for `MEMORY` seconds. What is not valid is never remembered."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: OrderedDict[KeySecret, _Known] = OrderedDict()

    async def authenticate(self, request: ApiRequest, scope: KeyScope) -> ApiKey:
        """The key that a request came with.

        Raises HttpError (401 without a key, 403 with one that is not valid: Resend's clients know the two by
        that), Forbidden without the scope, NotNow.
        """
        key = await self._valid(_bearer(request))
        if scope not in key.scopes:
            raise Forbidden(
                f"This needs a key with the scope {scope}; this one has {', '.join(sorted(key.scopes))}.",
                code="restricted_api_key",
            )
        return key

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
