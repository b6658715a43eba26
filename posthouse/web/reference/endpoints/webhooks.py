"""Webhooks to applications: endpoints, their secrets, and the log of what they were told."""

from datetime import datetime
from http import HTTPStatus
from typing import Final
from uuid import UUID

from posthouse.domain.webhook import DeliveryState
from posthouse.storage.keys import KeyScope
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
    RotatedSecret,
    TestDelivery,
    WebhookDetails,
    WebhookPage,
)
from posthouse.web.reference.endpoint import CURSOR, LIMIT, Body, Endpoint, Json, Method, path, query
from posthouse.web.reference.endpoints import webhook_events

GROUP: Final = "Webhooks"

_ID: Final = "019ab3f0-6a10-7b52-8c3d-5e9f00aa1c42"
_MAIL: Final = "019ab3f0-7c21-7d04-9e1f-2b6c00d4e8a1"
_MESSAGE: Final = "msg_019ab3f17c217d049e1f2b6c00d4e8a1"
_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  # of the specification's own example
_ID_IN_PATH: Final = path("webhook_id", str, "The webhook's id.", _ID)
_WEBHOOK: Final[dict[str, Json]] = {
    "object": "webhook",
    "id": _ID,
    "created_at": "2026-11-24T10:00:00Z",
    "status": "enabled",
    "endpoint": "https://app.example/hooks",
    "events": ["email.bounced", "email.complained"],
    "description": "the shop's order service",
    "environment": "live",
    "stream": "transactional",
    "from_domains": [],
    "tags": [{"name": "kind", "value": "receipt"}],
    "failing_since": None,
    "last_error": None,
    "disabled_at": None,
    "disabled_reason": None,
}
_NOT_FOUND: Final = (HTTPStatus.NOT_FOUND,)
_NOT_FOUND_OR_STATE: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)

_ENDPOINTS: Final = (
    Endpoint(
        Method.POST,
        "/v1/webhooks",
        "create_webhook",
        GROUP,
        "Make a webhook",
        Body(MadeWebhook, {"object": "webhook", "id": _ID, "signing_secret": _SECRET}),
        KeyScope.MANAGE,
        "Events are told from now on, to an https URL at a public address. `stream`, `from_domains` and "
        "`tags` narrow down whose mail it hears of; it never hears of mail that the key could not have "
        "sent. A test key makes webhooks that hear of sandboxed mail, and of no other.",
        status=HTTPStatus.CREATED,
        posts=(
            Body(
                PostedWebhook,
                {
                    "endpoint": "https://app.example/hooks",
                    "events": ["email.bounced", "email.complained"],
                    "description": "the shop's order service",
                    "tags": [{"name": "kind", "value": "receipt"}],
                },
            ),
        ),
        refusals=(HTTPStatus.CONFLICT,),
    ),
    Endpoint(
        Method.GET,
        "/v1/webhooks",
        "list_webhooks",
        GROUP,
        "List webhooks, newest first",
        Body(WebhookPage, {"object": "list", "data": [_WEBHOOK], "has_more": False, "next_cursor": None}),
        KeyScope.READ,
        "Those that hear no more than the key that asks may see.",
        parameters=(LIMIT, CURSOR, query("after", UUID, "The last id of the page before, as Resend has it.")),
        refusals=(HTTPStatus.UNPROCESSABLE_ENTITY,),
    ),
    Endpoint(
        Method.GET,
        "/v1/webhooks/{webhook_id}",
        "get_webhook",
        GROUP,
        "One webhook",
        Body(WebhookDetails, {**_WEBHOOK, "signing_secret": _SECRET, "previous_secret_expires_at": None}),
        KeyScope.READ,
        "How it stands: since when it has failed, or why it is disabled. The secret is shown to keys with "
        "the scope `manage`.",
        parameters=(_ID_IN_PATH,),
        refusals=_NOT_FOUND,
    ),
    Endpoint(
        Method.PATCH,
        "/v1/webhooks/{webhook_id}",
        "change_webhook",
        GROUP,
        "Change, enable or disable a webhook",
        Body(ChangedWebhook, {"object": "webhook", "id": _ID}),
        KeyScope.MANAGE,
        "What is left out stays as it is. While it is disabled nothing is put by for it; what was waiting "
        "already goes out when it is enabled again.",
        parameters=(_ID_IN_PATH,),
        posts=(Body(PostedWebhookChange, {"status": "enabled", "events": ["email.bounced"]}),),
        refusals=_NOT_FOUND,
    ),
    Endpoint(
        Method.DELETE,
        "/v1/webhooks/{webhook_id}",
        "delete_webhook",
        GROUP,
        "Delete a webhook",
        Body(DeletedWebhook, {"object": "webhook", "id": _ID, "deleted": True}),
        KeyScope.MANAGE,
        "What was waiting for it is not sent any more.",
        parameters=(_ID_IN_PATH,),
        refusals=_NOT_FOUND,
    ),
    Endpoint(
        Method.POST,
        "/v1/webhooks/{webhook_id}/secret/rotate",
        "rotate_webhook_secret",
        GROUP,
        "Give a webhook a new secret",
        Body(
            RotatedSecret,
            {
                "object": "webhook",
                "id": _ID,
                "signing_secret": _SECRET,
                "previous_secret_expires_at": "2026-11-25T10:00:00Z",
            },
        ),
        KeyScope.MANAGE,
        "For 24 hours each message is signed by both, the old and the new one. One that was already on its "
        "way out ends at once.",
        parameters=(_ID_IN_PATH,),
        refusals=_NOT_FOUND,
    ),
    Endpoint(
        Method.POST,
        "/v1/webhooks/{webhook_id}/signing-secret/rotate",
        "rotate_webhook_signing_secret",
        GROUP,
        "Give a webhook a new secret, for Resend's clients",
        Body(
            RotatedSecret,
            {
                "object": "webhook",
                "id": _ID,
                "signing_secret": _SECRET,
                "previous_secret_expires_at": "2026-11-25T10:00:00Z",
            },
        ),
        KeyScope.MANAGE,
        "For 24 hours each message is signed by both, the old and the new one. One that was already on its "
        "way out ends at once.",
        parameters=(_ID_IN_PATH,),
        refusals=_NOT_FOUND,
    ),
)

_DELIVERIES: Final = (
    Endpoint(
        Method.GET,
        "/v1/webhooks/{webhook_id}/deliveries",
        "list_webhook_deliveries",
        GROUP,
        "What a webhook was told, newest first",
        Body(
            DeliveryPage,
            {
                "object": "list",
                "data": [
                    {
                        "object": "webhook_delivery",
                        "id": _MESSAGE,
                        "type": "email.bounced",
                        "recipient_id": _MAIL,
                        "status": "pending",
                        "created_at": "2026-11-24T10:00:00Z",
                        "next_attempt_at": "2026-11-24T10:05:06Z",
                        "attempt_count": 1,
                        "attempts": [
                            {
                                "attempt": 1,
                                "at": "2026-11-24T10:00:00Z",
                                "duration_ms": 42,
                                "http_status": 500,
                                "error": "answered 500 Internal Server Error",
                                "response_body": "out of order",
                            }
                        ],
                    }
                ],
                "has_more": False,
                "next_cursor": None,
            },
        ),
        KeyScope.READ,
        "With each attempt and the first bytes of its answer. Kept for `retention.webhooks`.",
        parameters=(
            _ID_IN_PATH,
            LIMIT,
            CURSOR,
            query("status", DeliveryState, "Only deliveries in this state.", "failed"),
            query("since", datetime, "Only messages made then or later.", "2026-11-24T00:00:00Z"),
            query("until", datetime, "Only messages made before then."),
        ),
        refusals=(*_NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    ),
    Endpoint(
        Method.POST,
        "/v1/webhooks/{webhook_id}/redeliver",
        "redeliver_webhook",
        GROUP,
        "Tell a webhook again",
        Body(
            Redelivery,
            {
                "object": "webhook_redelivery",
                "id": _ID,
                "delivery": None,
                "since": "2026-11-24T00:00:00Z",
                "only": "all",
            },
        ),
        KeyScope.MANAGE,
        "One `delivery`, or everything since a time, under the ids that it had: receivers that remember ids "
        'do nothing twice. `"only": "failed"` leaves out what was taken.',
        status=HTTPStatus.ACCEPTED,
        parameters=(_ID_IN_PATH,),
        posts=(Body(PostedRedelivery, {"since": "2026-11-24T00:00:00Z"}),),
        refusals=_NOT_FOUND_OR_STATE,
    ),
    Endpoint(
        Method.POST,
        "/v1/webhooks/{webhook_id}/test",
        "test_webhook",
        GROUP,
        "Send a webhook an example",
        Body(TestDelivery, {"object": "webhook_delivery", "id": _MESSAGE, "type": "email.delivered"}),
        KeyScope.MANAGE,
        "About a mail that never was: its ids are zeros. It is sent whatever the webhook listens to; its "
        "deliveries say how it went.",
        status=HTTPStatus.ACCEPTED,
        parameters=(_ID_IN_PATH,),
        posts=(Body(PostedTest, {"type": "email.delivered"}),),
        refusals=_NOT_FOUND_OR_STATE,
    ),
)

ENDPOINTS: Final = (*_ENDPOINTS, *_DELIVERIES, *webhook_events.ENDPOINTS)
