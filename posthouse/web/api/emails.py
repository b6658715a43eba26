"""GET /v1/emails/{id} and GET /v1/emails/{id}/events."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal, assert_never

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from posthouse.domain.errors import InvalidInput
from posthouse.storage import timeline
from posthouse.storage.keys import KeyScope
from posthouse.storage.timeline import EventPlace, EventRecord, MailRecord
from posthouse.web.api.cursor import from_cursor, to_cursor
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.email_content import content_of
from posthouse.web.api.email_view import EmailView, EventView, email_view, event_view
from posthouse.web.api.problems import ApiRequest
from posthouse.web.api.visible import visible_jobs

_PageSize = Annotated[int, QueryParameter(ge=1, le=100)]


class Include(StrEnum):
    CONTENT = "content"


class EventPage(msgspec.Struct, frozen=True):
    """Oldest first."""

    object: Literal["list"]
    data: list[EventView]
    has_more: bool
    next_cursor: str | None


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @get("/emails/{email_id:str}")
    async def get_email(
        request: ApiRequest, email_id: FromPath[str], include: FromQuery[Include | None] = None
    ) -> EmailView:
        """`include=content`: with what it was sent as, or would be sent as now."""
        key = await deps.keys.authenticate(request, KeyScope.READ)
        jobs = await visible_jobs(deps.database, key, email_id)
        mail = MailRecord(jobs, await timeline.events_of(deps.database, jobs, timeline.MAX_EVENTS))
        match include:
            case None:
                return email_view(mail)
            case Include.CONTENT:
                return email_view(mail, await content_of(deps, mail, deps.now()))
            case _:
                assert_never(include)

    @get("/emails/{email_id:str}/events")
    async def list_events(
        request: ApiRequest,
        email_id: FromPath[str],
        limit: _PageSize = 50,
        cursor: FromQuery[str | None] = None,
    ) -> EventPage:
        key = await deps.keys.authenticate(request, KeyScope.READ)
        after = None if cursor is None else _place(cursor)
        jobs = await visible_jobs(deps.database, key, email_id)
        return _page(await timeline.events_of(deps.database, jobs, limit + 1, after), limit)

    return [get_email, list_events]


def _place(cursor: str) -> EventPlace:
    place = from_cursor(cursor, EventPlace)
    if place.occurred_at.tzinfo is None or place.received_at.tzinfo is None:
        raise InvalidInput("This is no cursor of this list.", code="invalid_cursor")
    return place


def _page(events: Sequence[EventRecord], size: int) -> EventPage:
    shown, has_more = events[:size], len(events) > size
    return EventPage(
        "list",
        [event_view(event) for event in shown],
        has_more,
        to_cursor(timeline.place_of(shown[-1])) if has_more else None,
    )
