"""/v1/suppressions: list, add, remove."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from posthouse.domain.address import normalise
from posthouse.domain.errors import InvalidInput
from posthouse.domain.suppression import Suppression, SuppressionReason, SuppressionScope, SuppressionSource
from posthouse.intake.plain_json import check_text
from posthouse.intake.suppressing import PostedSuppression, suppression_of
from posthouse.storage import suppressions
from posthouse.storage.keys import KeyScope
from posthouse.storage.suppressions import Filter, Place, Removal, Remover
from posthouse.telemetry import log
from posthouse.web.api.body import decode, refuse_other_than_json
from posthouse.web.api.cursor import from_cursor, to_cursor
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest

_PageSize = Annotated[int, QueryParameter(ge=1, le=100)]
#: Named otherwise in Python: the framework keeps the name `scope` for itself.
_Scope = Annotated[SuppressionScope | None, QueryParameter(name="scope")]
_MAX_REASON = 1000  # characters of why somebody is mailed again
_SHOWN_REMOVALS = 20


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


class RemovalView(msgspec.Struct, frozen=True):
    """An entry that was taken away; `removed_by` null: by the operator, else by the API key with this id."""

    reason: str
    scope: str
    added_at: datetime
    removed_at: datetime
    removed_by: UUID | None
    why: str


class AddressView(msgspec.Struct, frozen=True):
    """All that is known of an address, also entries that have ended; the latest removals first."""

    address: str
    suppressions: list[SuppressionView]
    removals: list[RemovalView]


_decoder = msgspec.json.Decoder(PostedSuppression)


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @get("/suppressions")
    async def list_suppressions(
        request: ApiRequest,
        limit: _PageSize = 50,
        cursor: FromQuery[str | None] = None,
        address: FromQuery[str | None] = None,
        reason: FromQuery[SuppressionReason | None] = None,
        only_scope: _Scope = None,
    ) -> SuppressionPage:
        await deps.keys.authenticate(request, KeyScope.READ)
        after = None if cursor is None else place_at(cursor)
        only = Filter(None if address is None else normalise(address), reason, only_scope)
        entries = await suppressions.page(deps.database, only=only, after=after, limit=limit + 1)
        return page_view(entries, limit)

    @get("/suppressions/{address:path}")
    async def get_suppressions(request: ApiRequest, address: FromPath[str]) -> AddressView:
        await deps.keys.authenticate(request, KeyScope.READ)
        key = normalise(address.removeprefix("/"))
        entries = await suppressions.entries_of(deps.database, key)
        removals = await suppressions.removals_of(deps.database, key, limit=_SHOWN_REMOVALS)
        return AddressView(key, [view(entry) for entry in entries], [removal_view(one) for one in removals])

    @post("/suppressions", status_code=HTTPStatus.CREATED)
    async def add_suppression(request: ApiRequest) -> SuppressionView:
        await deps.keys.authenticate(request, KeyScope.MANAGE)
        refuse_other_than_json(request)
        async with deps.bodies.read(request) as body:
            entry = suppression_of(decode(body, _decoder), SuppressionSource.API, deps.now())
            return view(await suppressions.add(deps.database, entry))

    @delete("/suppressions/{address:path}", status_code=HTTPStatus.OK)
    async def remove_suppression(
        request: ApiRequest,
        address: FromPath[str],
        force: FromQuery[bool] = False,
        reason: FromQuery[str] = "",
    ) -> Removed:
        key = await deps.keys.authenticate(request, KeyScope.MANAGE)
        normalised = normalise(address.removeprefix("/"))
        why = why_of(reason)
        if force and not why:
            raise InvalidInput("Removing a complaint needs a reason: add reason=... to force=true.")
        removed = await suppressions.remove(
            deps.database, normalised, Remover(key.api_key_id, why), deps.now(), with_complaints=force
        )
        log.info("suppression_removed", address=normalised, key_id=str(key.api_key_id), reason=why)
        return Removed([view(entry) for entry in removed])

    return [list_suppressions, get_suppressions, add_suppression, remove_suppression]


def why_of(reason: str) -> str:
    """Why an entry is taken away, as it is recorded. Raises InvalidInput."""
    why = reason.strip()
    if len(why) > _MAX_REASON:
        raise InvalidInput(f"A reason has at most {_MAX_REASON} characters.", pointer="/reason")
    check_text(why, "/reason")
    return why


def place_at(cursor: str) -> Place:
    """Raises InvalidInput."""
    place = from_cursor(cursor, Place)
    for text in (place.address, place.scope, place.reason):
        check_text(text, "")
    if place.added_at.tzinfo is None:
        raise InvalidInput("This is no cursor of this list.", code="invalid_cursor")
    return place


def page_view(entries: list[Suppression], size: int) -> SuppressionPage:
    shown, has_more = entries[:size], len(entries) > size
    return SuppressionPage(
        [view(entry) for entry in shown],
        has_more,
        to_cursor(suppressions.place_of(shown[-1])) if has_more else None,
    )


def view(entry: Suppression) -> SuppressionView:
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


def removal_view(removal: Removal) -> RemovalView:
    return RemovalView(
        removal.reason,
        removal.scope,
        removal.added_at,
        removal.removed_at,
        removal.removed_by,
        removal.why,
    )
