"""Sending mail, and following it."""

from http import HTTPStatus
from typing import Final

from posthouse.intake.posted import PostedEmail
from posthouse.intake.rows import Receipt
from posthouse.storage.keys import KeyScope
from posthouse.web.api.batch import BatchReceipt, PostedBatch, Validation
from posthouse.web.api.changes import ChangedEmail, PostedChange
from posthouse.web.api.email_view import EmailView
from posthouse.web.api.emails import EventPage, Include
from posthouse.web.reference.endpoint import (
    CURSOR,
    LIMIT,
    Body,
    Endpoint,
    Json,
    Method,
    Parameter,
    Place,
    path,
    query,
)

GROUP: Final = "Emails"

MAIL_ID: Final = "019ab3f0-5d7e-7c41-9f0a-4a6c1f0e2b11"
ID = path("email_id", str, "A message's id, for all its recipients; or one recipient's.", MAIL_ID)
INCLUDE = query("include", Include, "`content`: subject, bodies, headers and attachments too.", "content")
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    Place.HEADER,
    str,
    "1 to 256 visible ASCII characters, yours to choose. The same key with the same body gets the stored "
    "answer for 24 hours (`Idempotent-Replayed: true`): a retry never mails twice.",
    "order-1042-receipt",
)

MAIL: Final[Json] = {
    "from": "Shop <orders@shop.example>",
    "to": "jane@inbox.example",
    "template": {"key": "receipt", "variables": {"name": "Jane", "total": "49.00"}},
    "tags": [{"name": "kind", "value": "receipt"}],
}
ACCEPTED: Final[Json] = {
    "id": MAIL_ID,
    "status": "pending",
    "recipients": [{"id": MAIL_ID, "email": "jane@inbox.example"}],
}
SHOWN: Final[Json] = {
    "object": "email",
    "id": MAIL_ID,
    "status": "delivered",
    "last_event": "delivered",
    "stream": "transactional",
    "from": "Shop <orders@shop.example>",
    "to": ["jane@inbox.example"],
    "cc": [],
    "reply_to": [],
    "subject": None,
    "template": {"key": "receipt", "version": None},
    "tags": [{"name": "kind", "value": "receipt"}],
    "metadata": {},
    "created_at": "2026-11-24T10:00:00Z",
    "due_at": "2026-11-24T10:00:00Z",
    "scheduled_at": None,
    "expires_at": "2026-11-25T10:00:00Z",
    "recipients": [
        {
            "id": MAIL_ID,
            "email": "jane@inbox.example",
            "status": "delivered",
            "sent_at": "2026-11-24T10:00:00.412Z",
            "opened_at": None,
            "clicked_at": None,
            "complained_at": None,
            "unsubscribed_at": None,
            "relay": "ses-eu",
            "provider_message_id": "0107019ab3f05f2a",
        }
    ],
    "timeline": [
        {
            "id": "019ab3f0-5d7e-5c41-8f0a-4a6c1f0e2b12",
            "recipient_id": MAIL_ID,
            "type": "delivered",
            "origin": "relay",
            "occurred_at": "2026-11-24T10:00:01Z",
            "received_at": "2026-11-24T10:00:02Z",
            "attempt": 1,
            "smtp_code": 250,
        }
    ],
}
EVENT_PAGE: Final[Json] = {
    "object": "list",
    "data": [
        {
            "id": "019ab3f0-5d7e-5c41-8f0a-4a6c1f0e2b13",
            "recipient_id": MAIL_ID,
            "type": "accepted",
            "origin": "house",
            "occurred_at": "2026-11-24T10:00:00Z",
            "received_at": "2026-11-24T10:00:00Z",
            "attempt": 0,
        }
    ],
    "has_more": False,
    "next_cursor": None,
}
CHANGED: Final[Json] = {
    "object": "email",
    "id": MAIL_ID,
    "status": "cancelled",
    "recipients": [{"id": MAIL_ID, "email": "jane@inbox.example", "status": "cancelled"}],
}
MOVED: Final[Json] = {
    "object": "email",
    "id": MAIL_ID,
    "status": "pending",
    "recipients": [{"id": MAIL_ID, "email": "jane@inbox.example", "status": "pending"}],
}

ENDPOINTS: Final = (
    Endpoint(
        Method.POST,
        "/v1/emails",
        "send_email",
        GROUP,
        "Send a mail",
        Body(Receipt, ACCEPTED),
        KeyScope.SEND,
        "Accepted means stored: 202 is answered after the commit. Each recipient in to, cc and bcc is a mail "
        "of its own with its own id, status and timeline; `id` is the first recipient's, and names the whole "
        "message.",
        status=HTTPStatus.ACCEPTED,
        parameters=(IDEMPOTENCY_KEY,),
        posts=(Body(PostedEmail, MAIL),),
        refusals=(HTTPStatus.CONFLICT,),
    ),
    Endpoint(
        Method.POST,
        "/v1/emails/batch",
        "send_batch",
        GROUP,
        "Send up to 500 mails",
        Body(BatchReceipt, {"data": [{"id": MAIL_ID}], "errors": []}),
        KeyScope.SEND,
        "Stored whole or not at all. Each mail may have an `idempotency_key` of its own. Strict: one bad "
        "mail refuses the batch. Permissive: the good ones are accepted, `errors` has the others by their "
        "place.",
        status=HTTPStatus.ACCEPTED,
        parameters=(
            IDEMPOTENCY_KEY,
            Parameter(
                "x-batch-validation",
                Place.HEADER,
                Validation,
                "What one bad mail does to the others.",
                "strict",
            ),
        ),
        posts=(Body(list[PostedEmail] | PostedBatch, [MAIL]),),
        refusals=(HTTPStatus.CONFLICT,),
    ),
    Endpoint(
        Method.GET,
        "/v1/emails/{email_id}",
        "get_email",
        GROUP,
        "Where a mail stands, and everything that happened to it",
        Body(EmailView, SHOWN),
        KeyScope.READ,
        "With `include=content` also what the first recipient was sent, composed again from the version of "
        "the template that it was made from; or what would be sent now, when it was not sent yet. Only the "
        "date and the token in the way out of the list are new each time.",
        parameters=(ID, INCLUDE),
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    Endpoint(
        Method.GET,
        "/v1/emails/{email_id}/events",
        "list_email_events",
        GROUP,
        "What happened to a mail, oldest first",
        Body(EventPage, EVENT_PAGE),
        KeyScope.READ,
        "An event that is reported late stands where it happened: pages read before do not have it.",
        parameters=(ID, LIMIT, CURSOR),
        refusals=(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
    ),
    Endpoint(
        Method.POST,
        "/v1/emails/{email_id}/cancel",
        "cancel_email",
        GROUP,
        "Cancel a mail that waits",
        Body(ChangedEmail, CHANGED),
        KeyScope.SEND,
        "Whether it waits for its time or for another try. Of several recipients those that wait are "
        "cancelled; 200 when any is cancelled, now or before. 409 `already_sending`: it is in a worker's or "
        "a relay's hands; should its outcome stay unknown, it is not sent again. 409 `already_ended`: it was "
        "sent, or has ended otherwise.",
        parameters=(ID,),
        refusals=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
    Endpoint(
        Method.PATCH,
        "/v1/emails/{email_id}",
        "reschedule_email",
        GROUP,
        "Move a mail to another time",
        Body(ChangedEmail, MOVED),
        KeyScope.SEND,
        "A time that is past means now; the latest is 30 days after the mail was accepted. An expiry that "
        "was not given moves along, one that was given holds. 409 `already_sending`: it is being handed "
        "over just now. One that waits for another try can be moved as well.",
        parameters=(ID,),
        posts=(Body(PostedChange, {"scheduled_at": "2026-11-27T09:00:00+01:00"}),),
        refusals=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
)
