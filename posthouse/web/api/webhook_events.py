"""/v1/webhooks/{id}/events: the deliveries of a webhook in the words and shapes of Resend's clients."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Literal, assert_never
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from posthouse.domain.errors import InvalidInput
from posthouse.domain.ids import NoticeId
from posthouse.domain.webhook import DeliveryState, Endpoint, EventName, notice_name, parse_notice
from posthouse.outhooks.desk import no_such_delivery
from posthouse.storage import webhook_deliveries
from posthouse.storage.keys import ApiKey, KeyScope
from posthouse.storage.webhook_deliveries import Attempt, Delivery, Range
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest
from posthouse.web.api.webhook_views import made_at

_PageSize = Annotated[int, QueryParameter(ge=1, le=100)]
_LAST = UUID(int=(1 << 128) - 1)

#: The endpoint of a path, if this key may see it. Raises NotFound.
Seen = Callable[[ApiDeps, ApiKey, str], Awaitable[Endpoint]]


class EventStatus(StrEnum):
    PENDING = "pending"
    ATTEMPTING = "attempting"
    SUCCESS = "success"
    FAILED = "failed"


class WebhookEventSummary(msgspec.Struct, frozen=True):
    id: str
    type: EventName
    created_at: datetime
    status: EventStatus


class WebhookEventList(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first; the next page is that `after` the last id of this one."""

    object: Literal["list"] = "list"
    has_more: bool
    data: list[WebhookEventSummary]


class WebhookEventDetails(msgspec.Struct, frozen=True, kw_only=True):
    """`payload` is the body that was and will be posted."""

    object: Literal["webhook_event"] = "webhook_event"
    id: str
    type: EventName
    created_at: datetime
    status: EventStatus
    next_attempt_at: datetime | None
    payload: msgspec.Raw


class WebhookEventAttempt(msgspec.Struct, frozen=True):
    """`http_status_code` 0: there was no answer, and `response` says why."""

    id: str
    http_status_code: int
    response: str
    sent_at: datetime


class WebhookEventAttempts(msgspec.Struct, frozen=True, kw_only=True):
    """The last ten, newest first."""

    object: Literal["list"] = "list"
    has_more: bool
    data: list[WebhookEventAttempt]


class ReplayedEvent(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["webhook_event"] = "webhook_event"
    id: str


def routes(deps: ApiDeps, seen: Seen) -> list[HTTPRouteHandler]:
    @get("/webhooks/{webhook_id:str}/events")
    async def list_webhook_events(
        request: ApiRequest,
        webhook_id: FromPath[str],
        limit: _PageSize = 20,
        after: FromQuery[str | None] = None,
    ) -> WebhookEventList:
        key = await deps.keys.authenticate(request, KeyScope.READ)
        endpoint = await seen(deps, key, webhook_id)
        before = _LAST if after is None else _after(after)
        found = await webhook_deliveries.page(
            deps.database, endpoint.endpoint_id, Range(before, UUID(int=0)), limit + 1
        )
        return WebhookEventList(has_more=len(found) > limit, data=[_summary(one) for one in found[:limit]])

    @get("/webhooks/{webhook_id:str}/events/{event_id:str}")
    async def get_webhook_event(
        request: ApiRequest, webhook_id: FromPath[str], event_id: FromPath[str]
    ) -> WebhookEventDetails:
        key = await deps.keys.authenticate(request, KeyScope.READ)
        delivery = await _delivery(deps, await seen(deps, key, webhook_id), event_id)
        body = await webhook_deliveries.body(deps.database, delivery.notice_id)
        if body is None:
            raise no_such_delivery()
        waits = delivery.state is DeliveryState.PENDING
        return WebhookEventDetails(
            **msgspec.structs.asdict(_summary(delivery)),
            next_attempt_at=delivery.due_at if waits else None,
            payload=msgspec.Raw(body.encode()),
        )

    @get("/webhooks/{webhook_id:str}/events/{event_id:str}/attempts")
    async def list_webhook_event_attempts(
        request: ApiRequest, webhook_id: FromPath[str], event_id: FromPath[str]
    ) -> WebhookEventAttempts:
        key = await deps.keys.authenticate(request, KeyScope.READ)
        delivery = await _delivery(deps, await seen(deps, key, webhook_id), event_id)
        shown = [_attempt(event_id, attempt) for attempt in reversed(delivery.attempts)]
        return WebhookEventAttempts(has_more=False, data=shown)

    @post("/webhooks/{webhook_id:str}/events/{event_id:str}/replay", status_code=HTTPStatus.ACCEPTED)
    async def replay_webhook_event(
        request: ApiRequest, webhook_id: FromPath[str], event_id: FromPath[str]
    ) -> ReplayedEvent:
        key = await deps.keys.authenticate(request, KeyScope.MANAGE)
        endpoint = await seen(deps, key, webhook_id)
        await deps.webhooks.redeliver_one(endpoint, _notice(event_id), deps.now())
        return ReplayedEvent(id=event_id)

    return [list_webhook_events, get_webhook_event, list_webhook_event_attempts, replay_webhook_event]


async def _delivery(deps: ApiDeps, endpoint: Endpoint, event_id: str) -> Delivery:
    found = await webhook_deliveries.find(deps.database, endpoint.endpoint_id, _notice(event_id))
    if found is None:
        raise no_such_delivery()
    return found


def _notice(event_id: str) -> NoticeId:
    notice = parse_notice(event_id)
    if notice is None:
        raise no_such_delivery()
    return notice


def _after(text: str) -> NoticeId:
    notice = parse_notice(text)
    if notice is None:
        raise InvalidInput("`after` is the id of an event: msg_...", code="invalid_cursor")
    return notice


def _summary(delivery: Delivery) -> WebhookEventSummary:
    return WebhookEventSummary(
        notice_name(delivery.notice_id),
        EventName(delivery.name),
        made_at(delivery.notice_id),
        _status(delivery.state),
    )


def _attempt(event_id: str, attempt: Attempt) -> WebhookEventAttempt:
    return WebhookEventAttempt(
        f"{event_id}.{attempt.attempt}",
        attempt.http_status or 0,
        attempt.response or attempt.error,
        attempt.at,
    )


def _status(state: DeliveryState) -> EventStatus:
    match state:
        case DeliveryState.PENDING:
            return EventStatus.PENDING
        case DeliveryState.SENDING:
            return EventStatus.ATTEMPTING
        case DeliveryState.DELIVERED:
            return EventStatus.SUCCESS
        case DeliveryState.FAILED:
            return EventStatus.FAILED
        case _:
            assert_never(state)
