"""/v1/keys: make, list, revoke. A key gives, sees and ends only keys that may do no more than itself."""

import secrets
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from posthouse.domain.errors import NotFound
from posthouse.domain.ids import ApiKeyId
from posthouse.domain.stream import Stream
from posthouse.intake.plain_json import check_text
from posthouse.storage import keys
from posthouse.storage.keys import ApiKey, KeyScope, KeySecret
from posthouse.telemetry import log
from posthouse.web.api.body import decode, refuse_other_than_json
from posthouse.web.api.bounds import domains_within, more_than_the_giver, stream_within
from posthouse.web.api.cursor import from_cursor, to_cursor
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest

_PageSize = Annotated[int, QueryParameter(ge=1, le=100)]


class KeyEnvironment(StrEnum):
    """A test key's mail never reaches a relay."""

    LIVE = "live"
    TEST = "test"


class PostedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is left out is as it is for the key that asks."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    scopes: Annotated[list[KeyScope], msgspec.Meta(min_length=1, max_length=10)]
    stream: Stream | None = None
    from_domains: Annotated[list[str], msgspec.Meta(max_length=100)] = []
    environment: KeyEnvironment | None = None


class KeyView(msgspec.Struct, frozen=True):
    """`stream` null: both; `from_domains` empty: all that its streams have. `last_used_at`: to the minute."""

    id: str
    name: str
    environment: KeyEnvironment
    scopes: list[KeyScope]
    stream: Stream | None
    from_domains: list[str]
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewKey(KeyView, frozen=True, kw_only=True):
    """`key` is the secret. It is shown this once: only its SHA-256 is stored."""

    key: KeySecret


class KeyPage(msgspec.Struct, frozen=True):
    """Newest first."""

    data: list[KeyView]
    has_more: bool
    next_cursor: str | None


class Revoked(msgspec.Struct, frozen=True):
    id: str
    revoked: bool


_decoder = msgspec.json.Decoder(PostedKey)


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @post("/keys", status_code=HTTPStatus.CREATED)
    async def create_key(request: ApiRequest) -> NewKey:
        giver = await deps.keys.authenticate(request, KeyScope.MANAGE)
        refuse_other_than_json(request)
        async with deps.bodies.read(request) as body:
            posted = decode(body, _decoder)
        check_text(posted.name, "/name")
        key, secret = await keys.create(
            deps.database,
            name=posted.name,
            stream=stream_within(posted.stream, giver),
            from_domains=domains_within(posted.from_domains, giver),
            now=deps.now(),
            random_bytes=secrets.token_bytes,
            scopes=_scopes(posted, giver),
            sandbox=_sandbox(posted, giver),
        )
        log.info("api_key_created", key_id=str(key.api_key_id), by=str(giver.api_key_id))
        return NewKey(**msgspec.structs.asdict(_view(key)), key=secret)

    @get("/keys")
    async def list_keys(
        request: ApiRequest, limit: _PageSize = 50, cursor: FromQuery[str | None] = None
    ) -> KeyPage:
        asking = await deps.keys.authenticate(request, KeyScope.MANAGE)
        after = None if cursor is None else ApiKeyId(from_cursor(cursor, UUID))
        found = await keys.page(deps.database, within=asking, after=after, limit=limit + 1)
        return _page(found, limit)

    @delete("/keys/{key_id:str}", status_code=HTTPStatus.OK)
    async def revoke_key(request: ApiRequest, key_id: FromPath[str]) -> Revoked:
        asking = await deps.keys.authenticate(request, KeyScope.MANAGE)
        key = _key_id(key_id)
        if not await keys.revoke_within(deps.database, key, within=asking):
            raise _not_found()
        deps.keys.forget(key)
        log.info("api_key_revoked", key_id=str(key), by=str(asking.api_key_id))
        return Revoked(str(key), revoked=True)

    return [create_key, list_keys, revoke_key]


def _scopes(posted: PostedKey, giver: ApiKey) -> frozenset[KeyScope]:
    for i, scope in enumerate(posted.scopes):
        if scope not in giver.scopes:
            raise more_than_the_giver(f"the scope {scope}", f"/scopes/{i}")
    return frozenset(posted.scopes)


def _sandbox(posted: PostedKey, giver: ApiKey) -> bool:
    if giver.sandbox and posted.environment is KeyEnvironment.LIVE:
        raise more_than_the_giver("live mail", "/environment")
    return giver.sandbox or posted.environment is KeyEnvironment.TEST


def _key_id(text: str) -> ApiKeyId:
    try:
        return ApiKeyId(UUID(text))
    except ValueError:
        raise _not_found() from None


def _not_found() -> NotFound:
    return NotFound("There is no such key to revoke; GET /v1/keys lists those that this key may end.")


def _page(found: list[ApiKey], size: int) -> KeyPage:
    shown, has_more = found[:size], len(found) > size
    return KeyPage(
        [_view(key) for key in shown], has_more, to_cursor(shown[-1].api_key_id) if has_more else None
    )


def _view(key: ApiKey) -> KeyView:
    return KeyView(
        id=str(key.api_key_id),
        name=key.name,
        environment=KeyEnvironment.TEST if key.sandbox else KeyEnvironment.LIVE,
        scopes=sorted(key.scopes),
        stream=key.stream,
        from_domains=sorted(key.from_domains),
        created_at=key.created_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
    )
