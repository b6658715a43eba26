"""Looking through the mails."""

from datetime import datetime
from http import HTTPStatus
from typing import Final
from uuid import UUID

from posthouse.domain.stream import Stream
from posthouse.storage.keys import KeyScope
from posthouse.web.api.email_list import EmailPage
from posthouse.web.reference.endpoint import CURSOR, LIMIT, Body, Endpoint, Json, Method, query
from posthouse.web.reference.endpoints.emails import GROUP, MAIL_ID

_ENTRY: Final[dict[str, Json]] = {
    "id": MAIL_ID,
    "message_id": MAIL_ID,
    "object": "email",
    "to": ["jane@inbox.example"],
    "from": "Shop <orders@shop.example>",
    "subject": None,
    "status": "delivered",
    "last_event": "opened",
    "stream": "transactional",
    "template": {"key": "receipt", "version": None},
    "tags": [{"name": "kind", "value": "receipt"}],
    "created_at": "2026-11-24T10:00:00Z",
    "due_at": "2026-11-24T10:00:00Z",
    "scheduled_at": None,
    "sent_at": "2026-11-24T10:00:00.412Z",
    "opened_at": "2026-11-24T10:04:31Z",
    "clicked_at": None,
    "complained_at": None,
    "unsubscribed_at": None,
}

ENDPOINTS: Final = (
    Endpoint(
        Method.GET,
        "/v1/emails",
        "list_emails",
        GROUP,
        "List mails, newest first",
        Body(EmailPage, {"object": "list", "data": [_ENTRY], "has_more": False, "next_cursor": None}),
        KeyScope.READ,
        "One entry for each recipient. A page may be shorter than `limit`, even empty, while `has_more` is "
        "true: one call looks at a bounded number of mails, so that no filter makes it slow. Go on with "
        "`next_cursor` until `has_more` is false. Test keys see sandboxed mails, live keys all others.",
        parameters=(
            LIMIT,
            CURSOR,
            query("after", UUID, "Instead of a cursor: mails older than this one.", MAIL_ID),
            query("before", UUID, "Instead of a cursor: the mails just newer than this one.", MAIL_ID),
            query("status", str, "One status, or several with commas between them.", "bounced,failed"),
            query("recipient", str, "Only mails to this address.", "jane@inbox.example"),
            query("tag", list[str], "name:value; given several times, a mail must have them all."),
            query("stream", Stream, "Only mails of this stream.", "transactional"),
            query("template", str, "Only mails made from the template with this key.", "receipt"),
            query("campaign_id", UUID, "Only mails of this campaign.", MAIL_ID),
            query("since", datetime, "Only mails accepted at or after this time.", "2026-11-24T00:00:00Z"),
            query("until", datetime, "Only mails accepted before this time.", "2026-11-25T00:00:00Z"),
        ),
        refusals=(HTTPStatus.UNPROCESSABLE_ENTITY,),
    ),
)
