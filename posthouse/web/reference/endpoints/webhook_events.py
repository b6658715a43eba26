"""The deliveries of a webhook as Resend's clients ask for them."""

from http import HTTPStatus
from typing import Final

from posthouse.storage.keys import KeyScope
from posthouse.web.api.webhook_events import (
    ReplayedEvent,
    WebhookEventAttempts,
    WebhookEventDetails,
    WebhookEventList,
)
from posthouse.web.reference.endpoint import LIMIT, Body, Endpoint, Json, Method, path, query

GROUP: Final = "Webhooks"

_MESSAGE: Final = "msg_019ab3f17c217d049e1f2b6c00d4e8a1"
_PLACES: Final = (
    path("webhook_id", str, "The webhook's id.", "019ab3f0-6a10-7b52-8c3d-5e9f00aa1c42"),
    path("event_id", str, "The webhook-id that its receiver got.", _MESSAGE),
)
_SUMMARY: Final[dict[str, Json]] = {
    "id": _MESSAGE,
    "type": "email.delivered",
    "created_at": "2026-11-24T10:00:00Z",
    "status": "success",
}

ENDPOINTS: Final = (
    Endpoint(
        Method.GET,
        "/v1/webhooks/{webhook_id}/events",
        "list_webhook_events",
        GROUP,
        "What a webhook was told, for Resend's clients",
        Body(WebhookEventList, {"object": "list", "has_more": False, "data": [_SUMMARY]}),
        KeyScope.READ,
        "The same deliveries in Resend's words.",
        parameters=(_PLACES[0], LIMIT, query("after", str, "The last id of the page before.", _MESSAGE)),
        refusals=(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    ),
    Endpoint(
        Method.GET,
        "/v1/webhooks/{webhook_id}/events/{event_id}",
        "get_webhook_event",
        GROUP,
        "One message with its payload",
        Body(
            WebhookEventDetails,
            {
                "object": "webhook_event",
                **_SUMMARY,
                "next_attempt_at": None,
                "payload": {"type": "email.delivered", "created_at": "2026-11-24T10:00:00Z", "data": {}},
            },
        ),
        KeyScope.READ,
        "The body is the same, byte for byte, in every attempt.",
        parameters=_PLACES,
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    Endpoint(
        Method.GET,
        "/v1/webhooks/{webhook_id}/events/{event_id}/attempts",
        "list_webhook_event_attempts",
        GROUP,
        "The attempts of one message",
        Body(
            WebhookEventAttempts,
            {
                "object": "list",
                "has_more": False,
                "data": [
                    {
                        "id": f"{_MESSAGE}.1",
                        "http_status_code": 200,
                        "response": "thanks",
                        "sent_at": "2026-11-24T10:00:00Z",
                    }
                ],
            },
        ),
        KeyScope.READ,
        "Newest first, the last ten.",
        parameters=_PLACES,
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    Endpoint(
        Method.POST,
        "/v1/webhooks/{webhook_id}/events/{event_id}/replay",
        "replay_webhook_event",
        GROUP,
        "Tell one message again, for Resend's clients",
        Body(ReplayedEvent, {"object": "webhook_event", "id": _MESSAGE}),
        KeyScope.MANAGE,
        "Under its old id, whatever became of it.",
        status=HTTPStatus.ACCEPTED,
        parameters=_PLACES,
        refusals=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
)
