"""Who is not mailed, and why."""

from http import HTTPStatus
from typing import Final

from posthouse.domain.stream import Stream
from posthouse.domain.suppression import SuppressionReason, SuppressionScope
from posthouse.intake.suppressing import PostedSuppression
from posthouse.storage.keys import KeyScope
from posthouse.web.api.suppression_bulk import BulkReceipt
from posthouse.web.api.suppression_why import WhyView
from posthouse.web.api.suppressions import AddressView, Removed, SuppressionPage, SuppressionView
from posthouse.web.reference.endpoint import CURSOR, LIMIT, Body, Endpoint, Json, Method, path, query

GROUP: Final = "Suppressions"

_ADDRESS = path("address", str, "An e-mail address.", "jane@inbox.example")
_ENTRY: Final[dict[str, Json]] = {
    "address": "jane@inbox.example",
    "reason": "BOUNCE",
    "scope": "all",
    "source": "event",
    "added_at": "2026-11-24T10:00:02Z",
    "expires_at": None,
    "recipient_id": "019ab3f0-5d7e-7c41-9f0a-4a6c1f0e2b11",
    "note": "550 5.1.1 user unknown",
}

_BECAUSE: Final[Json] = {
    "reason": "BOUNCE",
    "scope": "all",
    "source": "event",
    "since": "2026-11-24T10:00:02Z",
    "until": None,
    "note": "550 5.1.1 user unknown",
    "cause": {
        "email_id": "019ab3f0-5d7e-7c41-9f0a-4a6c1f0e2b10",
        "recipient_id": "019ab3f0-5d7e-7c41-9f0a-4a6c1f0e2b11",
        "event": "bounced",
        "occurred_at": "2026-11-24T10:00:02Z",
        "bounce": "hard",
        "reason": None,
        "smtp_code": 550,
        "enhanced_code": "5.1.1",
        "diagnostic": "550 5.1.1 user unknown",
    },
    "lift": "Find out that the mailbox exists now: DELETE /v1/suppressions/jane@inbox.example.",
}

ENDPOINTS: Final = (
    Endpoint(
        Method.GET,
        "/v1/suppressions",
        "list_suppressions",
        GROUP,
        "List suppressions, newest first",
        Body(SuppressionPage, {"data": [_ENTRY], "has_more": False, "next_cursor": None}),
        KeyScope.READ,
        parameters=(
            LIMIT,
            CURSOR,
            query("address", str, "Only entries of this address.", "jane@inbox.example"),
            query("reason", SuppressionReason, "Only entries with this reason.", "BOUNCE"),
            query("scope", SuppressionScope, "Only entries with this scope.", "all"),
        ),
        refusals=(HTTPStatus.UNPROCESSABLE_ENTITY,),
    ),
    Endpoint(
        Method.POST,
        "/v1/suppressions",
        "add_suppression",
        GROUP,
        "Suppress an address",
        Body(SuppressionView, {**_ENTRY, "reason": "MANUAL", "source": "api", "note": "asked by phone"}),
        KeyScope.MANAGE,
        "Mail that is waiting is checked again before it is sent. An unsubscription stops marketing only.",
        status=HTTPStatus.CREATED,
        posts=(Body(PostedSuppression, {"address": "jane@inbox.example", "note": "asked by phone"}),),
    ),
    Endpoint(
        Method.POST,
        "/v1/suppressions/bulk",
        "add_suppressions",
        GROUP,
        "Suppress a list of addresses",
        Body(
            BulkReceipt,
            {
                "added": 2,
                "already": 0,
                "invalid": 1,
                "errors": [{"line": 3, "message": "Write one address like jane@example.org."}],
            },
        ),
        KeyScope.MANAGE,
        "One entry a line, of at most 4 KB: addresses; CSV whose first line names the columns (address, "
        "reason, scope, expires_at, note); or JSON objects. The list is stored while it arrives, 1,000 lines "
        "at a time: when it breaks off, what was stored stays, and the whole list may be sent again. At most "
        "50 MB.",
        posts=(
            Body(None, "jane@inbox.example\njoe@inbox.example\n", "text/plain"),
            Body(None, "address,reason\njane@inbox.example,BOUNCE\n", "text/csv"),
            Body(None, '{"address": "jane@inbox.example"}\n', "application/x-ndjson"),
        ),
        refusals=(HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY),
    ),
    Endpoint(
        Method.GET,
        "/v1/suppressions/why",
        "why_suppressed",
        GROUP,
        "Would a mail to an address be sent, and why not",
        Body(
            WhyView,
            {
                "address": "jane@inbox.example",
                "streams": [{"stream": "transactional", "would_be_sent": False, "because": [_BECAUSE]}],
            },
        ),
        KeyScope.READ,
        parameters=(
            query("address", str, "An e-mail address.", "jane@inbox.example", required=True),
            query("stream", Stream, "Only this stream; without it, both.", "transactional"),
        ),
        refusals=(HTTPStatus.UNPROCESSABLE_ENTITY,),
    ),
    Endpoint(
        Method.GET,
        "/v1/suppressions/{address}",
        "get_suppressions",
        GROUP,
        "All that is known of an address",
        Body(AddressView, {"address": "jane@inbox.example", "suppressions": [_ENTRY], "removals": []}),
        KeyScope.READ,
        parameters=(_ADDRESS,),
        refusals=(HTTPStatus.UNPROCESSABLE_ENTITY,),
    ),
    Endpoint(
        Method.DELETE,
        "/v1/suppressions/{address}",
        "remove_suppression",
        GROUP,
        "Mail an address again",
        Body(Removed, {"removed": [_ENTRY]}),
        KeyScope.MANAGE,
        "A complaint is removed only with `force` and a reason, which is kept.",
        parameters=(
            _ADDRESS,
            query("force", bool, "Remove complaints too.", False),
            query("reason", str, "Why the address may be mailed again.", "confirmed by phone"),
        ),
        refusals=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY),
    ),
)
