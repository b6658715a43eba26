"""What /v1/webhooks takes and answers. Names and shapes are Resend's where it has them."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec

from posthouse.domain.ids import NoticeId, unix_ms_of
from posthouse.domain.stream import Stream
from posthouse.domain.webhook import (
    DeliveryState,
    Endpoint,
    EndpointStatus,
    EventName,
    notice_name,
)
from posthouse.outhooks.signing import SigningSecret
from posthouse.storage.webhook_deliveries import Attempt, Delivery
from posthouse.web.api.keys import KeyEnvironment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
_Events: TypeAlias = Annotated[list[EventName], msgspec.Meta(min_length=1, max_length=50)]
_Description = Annotated[str, msgspec.Meta(max_length=500)]
_Domains: TypeAlias = Annotated[list[str], msgspec.Meta(max_length=100)]
_TagText = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class TagFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: _TagText
    value: _TagText


_Tags: TypeAlias = Annotated[list[TagFilter], msgspec.Meta(max_length=10)]


class PostedWebhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is left out is as it is for the key that asks; a mail must have all the `tags`."""

    endpoint: _Url
    events: _Events
    description: _Description = ""
    stream: Stream | None = None
    from_domains: _Domains = []
    tags: _Tags = []


class PostedWebhookChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is left out stays as it is. `webhook_id` may repeat the id in the path, as Resend's client for
    Python does."""

    webhook_id: str | None = None
    endpoint: _Url | None = None
    events: _Events | None = None
    status: EndpointStatus | None = None
    description: _Description | None = None
    stream: Stream | msgspec.UnsetType | None = msgspec.UNSET
    from_domains: _Domains | msgspec.UnsetType = msgspec.UNSET
    tags: _Tags | msgspec.UnsetType = msgspec.UNSET


class RedeliveryScope(StrEnum):
    ALL = "all"
    FAILED = "failed"


class PostedRedelivery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `delivery`, or what was made `since` a time: all of it, or only what has failed."""

    delivery: str | None = None
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    only: RedeliveryScope = RedeliveryScope.ALL


class PostedTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    type: EventName = EventName.DELIVERED


class WebhookView(msgspec.Struct, frozen=True, kw_only=True):
    """`stream` null: both; `from_domains` empty: all; `failing_since` null: its last answer was a success."""

    object: Literal["webhook"] = "webhook"
    id: UUID
    created_at: datetime
    status: EndpointStatus
    endpoint: str
    events: list[EventName]
    description: str
    environment: KeyEnvironment
    stream: Stream | None
    from_domains: list[str]
    tags: list[TagFilter]
    failing_since: datetime | None
    last_error: str | None
    disabled_at: datetime | None
    disabled_reason: str | None


class WebhookDetails(WebhookView, frozen=True, kw_only=True):
    """`signing_secret` is shown to keys with the scope manage. `previous_secret_expires_at`: until then the
    secret before the last rotation signs too."""

    signing_secret: SigningSecret | None
    previous_secret_expires_at: datetime | None


class WebhookPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[WebhookView]
    has_more: bool
    next_cursor: str | None


class MadeWebhook(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["webhook"] = "webhook"
    id: UUID
    signing_secret: SigningSecret


class ChangedWebhook(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["webhook"] = "webhook"
    id: UUID


class DeletedWebhook(msgspec.Struct, frozen=True, kw_only=True):
    object: Literal["webhook"] = "webhook"
    id: UUID
    deleted: bool


class RotatedSecret(msgspec.Struct, frozen=True, kw_only=True):
    """Until `previous_secret_expires_at` each message has a signature by the old secret too."""

    object: Literal["webhook"] = "webhook"
    id: UUID
    signing_secret: SigningSecret
    previous_secret_expires_at: datetime


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """`http_status` null: there was no answer. `response_body`: its first 1,000 bytes, as text."""

    attempt: int
    at: datetime
    duration_ms: int
    http_status: int | None
    error: str
    response_body: str


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is what the receiver got as webhook-id. `recipient_id` null: a test. `attempts`: the last ten."""

    object: Literal["webhook_delivery"] = "webhook_delivery"
    id: str
    type: EventName
    recipient_id: UUID | None
    status: DeliveryState
    created_at: datetime
    next_attempt_at: datetime | None
    attempt_count: int
    attempts: list[AttemptView]


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[DeliveryView]
    has_more: bool
    next_cursor: str | None


class Redelivery(msgspec.Struct, frozen=True, kw_only=True):
    """Accepted: the processor makes these deliveries due again."""

    object: Literal["webhook_redelivery"] = "webhook_redelivery"
    id: UUID
    delivery: str | None
    since: datetime | None
    only: RedeliveryScope


class TestDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """Accepted: the deliveries of the webhook say how it went. `id` is the webhook-id of the message."""

    object: Literal["webhook_delivery"] = "webhook_delivery"
    id: str
    type: EventName


def view(endpoint: Endpoint) -> WebhookView:
    interest = endpoint.interest
    return WebhookView(
        id=endpoint.endpoint_id,
        created_at=endpoint.created_at,
        status=endpoint.status,
        endpoint=endpoint.url,
        events=sorted(interest.names),
        description=endpoint.description,
        environment=KeyEnvironment.TEST if interest.sandbox else KeyEnvironment.LIVE,
        stream=interest.stream,
        from_domains=sorted(interest.from_domains),
        tags=[TagFilter(tag.name, tag.value) for tag in sorted(interest.tags)],
        failing_since=endpoint.failing_since,
        last_error=endpoint.last_error,
        disabled_at=endpoint.disabled_at,
        disabled_reason=endpoint.disabled_reason,
    )


def details(endpoint: Endpoint, secret: SigningSecret | None) -> WebhookDetails:
    return WebhookDetails(
        **msgspec.structs.asdict(view(endpoint)),
        signing_secret=secret,
        previous_secret_expires_at=endpoint.previous_until,
    )


def delivery_view(delivery: Delivery) -> DeliveryView:
    waits = delivery.state is DeliveryState.PENDING
    return DeliveryView(
        id=notice_name(delivery.notice_id),
        type=EventName(delivery.name),
        recipient_id=delivery.job_id,
        status=delivery.state,
        created_at=made_at(delivery.notice_id),
        next_attempt_at=delivery.due_at if waits else None,
        attempt_count=delivery.attempt,
        attempts=[attempt_view(attempt) for attempt in delivery.attempts],
    )


def attempt_view(attempt: Attempt) -> AttemptView:
    return AttemptView(
        attempt=attempt.attempt,
        at=attempt.at,
        duration_ms=attempt.ms,
        http_status=attempt.http_status,
        error=attempt.error,
        response_body=attempt.response,
    )


def made_at(notice: NoticeId) -> datetime:
    return _EPOCH + timedelta(milliseconds=unix_ms_of(notice))
