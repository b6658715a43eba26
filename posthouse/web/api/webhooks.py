"""/v1/webhooks: who is told what happens to mail. A key sees the endpoints that hear no more than it may."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from posthouse.domain.errors import InvalidInput
from posthouse.domain.ids import EndpointId, first_of_moment
from posthouse.domain.webhook import DeliveryState, Endpoint, Interest, Tag, notice_name, parse_notice
from posthouse.intake.plain_json import check_text
from posthouse.outhooks.desk import Since, Wanted, no_such_webhook
from posthouse.storage import webhook_deliveries, webhooks
from posthouse.storage.keys import ApiKey, KeyScope
from posthouse.storage.webhook_deliveries import Range
from posthouse.storage.webhooks import Changes, OnlyStream, Visible
from posthouse.telemetry import log
from posthouse.web.api import webhook_events
from posthouse.web.api.body import decode, refuse_other_than_json
from posthouse.web.api.bounds import domains_within, stream_within
from posthouse.web.api.cursor import from_cursor, to_cursor
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest
from posthouse.web.api.webhook_views import (
    ChangedWebhook,
    DeletedWebhook,
    DeliveryPage,
    MadeWebhook,
    PostedRedelivery,
    PostedTest,
    PostedWebhook,
    PostedWebhookChange,
    Redelivery,
    RedeliveryScope,
    RotatedSecret,
    TagFilter,
    TestDelivery,
    WebhookDetails,
    WebhookPage,
    delivery_view,
    details,
    view,
)

_PageSize = Annotated[int, QueryParameter(ge=1, le=100)]
_LAST = UUID(int=(1 << 128) - 1)

_read_webhook = msgspec.json.Decoder(PostedWebhook)
_read_change = msgspec.json.Decoder(PostedWebhookChange)
_read_redelivery = msgspec.json.Decoder(PostedRedelivery)
_read_test = msgspec.json.Decoder(PostedTest)


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    return [*_endpoint_routes(deps), *_delivery_routes(deps), *webhook_events.routes(deps, _seen)]


def _endpoint_routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @post("/webhooks", status_code=HTTPStatus.CREATED)
    async def create_webhook(request: ApiRequest) -> MadeWebhook:
        key = await deps.keys.authenticate(request, KeyScope.MANAGE)
        refuse_other_than_json(request)
        async with deps.bodies.read(request) as body:
            posted = decode(body, _read_webhook)
        endpoint, secret = await deps.webhooks.create(_wanted(posted, key), deps.now())
        log.info("webhook_created", webhook_id=str(endpoint.endpoint_id), by=str(key.api_key_id))
        return MadeWebhook(id=endpoint.endpoint_id, signing_secret=secret)

    @get("/webhooks")
    async def list_webhooks(
        request: ApiRequest,
        limit: _PageSize = 50,
        cursor: FromQuery[str | None] = None,
        after: FromQuery[UUID | None] = None,
    ) -> WebhookPage:
        key = await deps.keys.authenticate(request, KeyScope.READ)
        older = after if cursor is None else from_cursor(cursor, UUID)
        found = await webhooks.page(
            deps.database, _visible(key), None if older is None else EndpointId(older), limit + 1
        )
        shown, has_more = found[:limit], len(found) > limit
        return WebhookPage(
            data=[view(endpoint) for endpoint in shown],
            has_more=has_more,
            next_cursor=to_cursor(shown[-1].endpoint_id) if has_more else None,
        )

    @get("/webhooks/{webhook_id:str}")
    async def get_webhook(request: ApiRequest, webhook_id: FromPath[str]) -> WebhookDetails:
        key = await deps.keys.authenticate(request, KeyScope.READ)
        endpoint = await _seen(deps, key, webhook_id)
        if KeyScope.MANAGE not in key.scopes:
            return details(endpoint, None)
        return details(endpoint, await deps.webhooks.secret_of(endpoint.endpoint_id, deps.now()))

    @patch("/webhooks/{webhook_id:str}", status_code=HTTPStatus.OK)
    async def change_webhook(request: ApiRequest, webhook_id: FromPath[str]) -> ChangedWebhook:
        key = await deps.keys.authenticate(request, KeyScope.MANAGE)
        refuse_other_than_json(request)
        async with deps.bodies.read(request) as body:
            posted = decode(body, _read_change)
        if posted.webhook_id not in (None, webhook_id):
            raise InvalidInput(
                "This is not the id in the path. Leave it out, or repeat it.", pointer="/webhook_id"
            )
        endpoint = await _seen(deps, key, webhook_id)
        why = f"disabled over the API with the key {key.name}"
        await deps.webhooks.change(endpoint.endpoint_id, _changes(posted, key), deps.now(), why)
        log.info("webhook_changed", webhook_id=str(endpoint.endpoint_id), by=str(key.api_key_id))
        return ChangedWebhook(id=endpoint.endpoint_id)

    @delete("/webhooks/{webhook_id:str}", status_code=HTTPStatus.OK)
    async def delete_webhook(request: ApiRequest, webhook_id: FromPath[str]) -> DeletedWebhook:
        key = await deps.keys.authenticate(request, KeyScope.MANAGE)
        endpoint = await _seen(deps, key, webhook_id)
        await deps.webhooks.delete(endpoint.endpoint_id)
        log.info("webhook_deleted", webhook_id=str(endpoint.endpoint_id), by=str(key.api_key_id))
        return DeletedWebhook(id=endpoint.endpoint_id, deleted=True)

    # The second path is that of Resend's clients.
    @post(
        [
            "/webhooks/{webhook_id:str}/secret/rotate",
            "/webhooks/{webhook_id:str}/signing-secret/rotate",
        ],
        status_code=HTTPStatus.OK,
    )
    async def rotate_webhook_secret(request: ApiRequest, webhook_id: FromPath[str]) -> RotatedSecret:
        key = await deps.keys.authenticate(request, KeyScope.MANAGE)
        endpoint = await _seen(deps, key, webhook_id)
        secret, until = await deps.webhooks.rotate(endpoint.endpoint_id, deps.now())
        log.info("webhook_secret_rotated", webhook_id=str(endpoint.endpoint_id), by=str(key.api_key_id))
        return RotatedSecret(id=endpoint.endpoint_id, signing_secret=secret, previous_secret_expires_at=until)

    return [
        create_webhook,
        list_webhooks,
        get_webhook,
        change_webhook,
        delete_webhook,
        rotate_webhook_secret,
    ]


def _delivery_routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @get("/webhooks/{webhook_id:str}/deliveries")
    async def list_webhook_deliveries(
        request: ApiRequest,
        webhook_id: FromPath[str],
        limit: _PageSize = 50,
        cursor: FromQuery[str | None] = None,
        status: FromQuery[DeliveryState | None] = None,
        since: FromQuery[datetime | None] = None,
        until: FromQuery[datetime | None] = None,
    ) -> DeliveryPage:
        key = await deps.keys.authenticate(request, KeyScope.READ)
        endpoint = await _seen(deps, key, webhook_id)
        before = _LAST if until is None else first_of_moment(_in_utc(until))
        if cursor is not None:
            before = min(before, from_cursor(cursor, UUID))
        first = UUID(int=0) if since is None else first_of_moment(_in_utc(since))
        found = await webhook_deliveries.page(
            deps.database, endpoint.endpoint_id, Range(before, first, status), limit + 1
        )
        shown, has_more = found[:limit], len(found) > limit
        return DeliveryPage(
            data=[delivery_view(delivery) for delivery in shown],
            has_more=has_more,
            next_cursor=to_cursor(shown[-1].notice_id) if has_more else None,
        )

    @post("/webhooks/{webhook_id:str}/redeliver", status_code=HTTPStatus.ACCEPTED)
    async def redeliver_webhook(request: ApiRequest, webhook_id: FromPath[str]) -> Redelivery:
        key = await deps.keys.authenticate(request, KeyScope.MANAGE)
        refuse_other_than_json(request)
        async with deps.bodies.read(request) as body:
            posted = decode(body, _read_redelivery)
        endpoint = await _seen(deps, key, webhook_id)
        await _redeliver(deps, endpoint, posted)
        log.info("webhook_redelivered", webhook_id=str(endpoint.endpoint_id), by=str(key.api_key_id))
        return Redelivery(
            id=endpoint.endpoint_id, delivery=posted.delivery, since=posted.since, only=posted.only
        )

    @post("/webhooks/{webhook_id:str}/test", status_code=HTTPStatus.ACCEPTED)
    async def test_webhook(request: ApiRequest, webhook_id: FromPath[str]) -> TestDelivery:
        key = await deps.keys.authenticate(request, KeyScope.MANAGE)
        refuse_other_than_json(request)
        async with deps.bodies.read(request) as body:
            posted = decode(body, _read_test)
        endpoint = await _seen(deps, key, webhook_id)
        notice = await deps.webhooks.test(endpoint, posted.type, deps.now())
        return TestDelivery(id=notice_name(notice), type=posted.type)

    return [list_webhook_deliveries, redeliver_webhook, test_webhook]


async def _redeliver(deps: ApiDeps, endpoint: Endpoint, posted: PostedRedelivery) -> None:
    match posted.delivery, posted.since:
        case str() as name, None:
            notice = parse_notice(name)
            if notice is None:
                raise InvalidInput(
                    "A delivery's id is the webhook-id that its receiver got: msg_...", pointer="/delivery"
                )
            await deps.webhooks.redeliver_one(endpoint, notice, deps.now())
        case None, datetime() as since:
            only_failed = posted.only is RedeliveryScope.FAILED
            await deps.webhooks.redeliver(endpoint, Since(since, only_failed), deps.now())
        case _:
            raise InvalidInput("Say either which delivery, or since when: one of the two.")


async def _seen(deps: ApiDeps, key: ApiKey, webhook_id: str) -> Endpoint:
    """Raises NotFound for what is not there, and for what this key may not see."""
    try:
        endpoint = EndpointId(UUID(webhook_id))
    except ValueError:
        raise no_such_webhook() from None
    return await deps.webhooks.find(endpoint, _visible(key))


def _visible(key: ApiKey) -> Visible:
    return Visible(key.stream, key.from_domains, key.sandbox)


def _wanted(posted: PostedWebhook, key: ApiKey) -> Wanted:
    check_text(posted.description, "/description")
    interest = Interest(
        frozenset(posted.events),
        stream_within(posted.stream, key),
        domains_within(posted.from_domains, key),
        _tags(posted.tags),
        key.sandbox,
    )
    return Wanted(posted.endpoint, posted.description, interest)


def _changes(posted: PostedWebhookChange, key: ApiKey) -> Changes:
    if posted.description is not None:
        check_text(posted.description, "/description")
    unset = msgspec.UNSET
    return Changes(
        url=posted.endpoint,
        description=posted.description,
        status=posted.status,
        names=None if posted.events is None else frozenset(posted.events),
        stream=None if posted.stream is unset else OnlyStream(stream_within(posted.stream, key)),
        from_domains=None if posted.from_domains is unset else domains_within(posted.from_domains, key),
        tags=None if posted.tags is unset else _tags(posted.tags),
    )


def _tags(posted: list[TagFilter]) -> frozenset[Tag]:
    for i, tag in enumerate(posted):
        check_text(tag.name, f"/tags/{i}/name")
        check_text(tag.value, f"/tags/{i}/value")
    return frozenset(Tag(tag.name, tag.value) for tag in posted)


def _in_utc(given: datetime) -> datetime:
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given
