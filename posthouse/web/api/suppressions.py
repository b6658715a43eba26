"""/v1/suppressions: list, add, remove."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from posthouse.domain.address import key_of, normalise, parse_mailbox
from posthouse.domain.errors import InvalidAddress, InvalidInput
from posthouse.domain.suppression import Suppression, SuppressionReason, SuppressionScope, SuppressionSource
from posthouse.intake.plain_json import check_text
from posthouse.storage import suppressions
from posthouse.storage.keys import KeyScope
from posthouse.storage.suppressions import Place
from posthouse.telemetry import log
from posthouse.web.api.body import decode, refuse_other_than_json
from posthouse.web.api.cursor import from_cursor, to_cursor
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest

_PageSize = Annotated[int, QueryParameter(ge=1, le=100)]


class PostedSuppression(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`scope` left out: marketing for an unsubscription, else all."""

    address: str
    reason: SuppressionReason = SuppressionReason.MANUAL
    scope: SuppressionScope | None = None
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    note: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class SuppressionView(msgspec.Struct, frozen=True):
    address: str
    reason: SuppressionReason
    scope: SuppressionScope
    source: SuppressionSource
    added_at: datetime
    expires_at: datetime | None
    recipient_id: str | None  # the mail whose event caused it
    note: str


class SuppressionPage(msgspec.Struct, frozen=True):
    """Newest first."""

    data: list[SuppressionView]
    has_more: bool
    next_cursor: str | None


class Removed(msgspec.Struct, frozen=True):
    removed: list[SuppressionView]


_decoder = msgspec.json.Decoder(PostedSuppression)


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @get("/suppressions")
    async def list_suppressions(
        request: ApiRequest,
        limit: _PageSize = 50,
        cursor: FromQuery[str | None] = None,
        address: FromQuery[str | None] = None,
    ) -> SuppressionPage:
        await deps.keys.authenticate(request, KeyScope.READ)
        after = None if cursor is None else _place(cursor)
        only = None if address is None else normalise(address)
        entries = await suppressions.page(deps.database, after=after, address=only, limit=limit + 1)
        return _page(entries, limit)

    @post("/suppressions", status_code=HTTPStatus.CREATED)
    async def add_suppression(request: ApiRequest) -> SuppressionView:
        await deps.keys.authenticate(request, KeyScope.MANAGE)
        refuse_other_than_json(request)
        async with deps.bodies.read(request) as body:
            entry = _entry(decode(body, _decoder), deps.now())
            return _view(await suppressions.add(deps.database, entry))

    @delete("/suppressions/{address:path}", status_code=HTTPStatus.OK)
    async def remove_suppression(
        request: ApiRequest,
        address: FromPath[str],
        force: FromQuery[bool] = False,
        reason: FromQuery[str] = "",
    ) -> Removed:
        key = await deps.keys.authenticate(request, KeyScope.MANAGE)
        normalised = normalise(address.removeprefix("/"))
        if force and not reason.strip():
            raise InvalidInput("Removing a complaint needs a reason: add reason=... to force=true.")
        removed = await suppressions.remove(deps.database, normalised, with_complaints=force)
        log.info("suppression_removed", address=normalised, key_id=str(key.api_key_id), reason=reason[:1000])
        return Removed([_view(entry) for entry in removed])

    return [list_suppressions, add_suppression, remove_suppression]


def _entry(posted: PostedSuppression, now: datetime) -> Suppression:
    check_text(posted.note, "/note")
    if posted.reason is SuppressionReason.SPAM and posted.expires_at is not None:
        raise InvalidInput("A complaint suppresses for good: it has no expires_at.", pointer="/expires_at")
    unsubscribed = posted.reason is SuppressionReason.UNSUBSCRIBE
    if unsubscribed and posted.scope is SuppressionScope.ALL:
        raise InvalidInput("Unsubscribing stops marketing, never transactional mail.", pointer="/scope")
    try:
        address = key_of(parse_mailbox(posted.address))
    except InvalidAddress as error:
        raise InvalidAddress(error.message, pointer="/address") from error
    return Suppression(
        address=address,
        reason=posted.reason,
        scope=posted.scope or (SuppressionScope.MARKETING if unsubscribed else SuppressionScope.ALL),
        source=SuppressionSource.API,
        added_at=now,
        expires_at=posted.expires_at,
        note=posted.note,
    )


def _place(cursor: str) -> Place:
    place = from_cursor(cursor, Place)
    for text in (place.address, place.scope, place.reason):
        check_text(text, "")
    if place.added_at.tzinfo is None:
        raise InvalidInput("This is no cursor of this list.", code="invalid_cursor")
    return place


def _page(entries: list[Suppression], size: int) -> SuppressionPage:
    shown, has_more = entries[:size], len(entries) > size
    return SuppressionPage(
        [_view(entry) for entry in shown],
        has_more,
        to_cursor(suppressions.place_of(shown[-1])) if has_more else None,
    )


def _view(entry: Suppression) -> SuppressionView:
    return SuppressionView(
        address=entry.address,
        reason=entry.reason,
        scope=entry.scope,
        source=entry.source,
        added_at=entry.added_at,
        expires_at=entry.expires_at,
        recipient_id=None if entry.job_id is None else str(entry.job_id),
        note=entry.note,
    )
