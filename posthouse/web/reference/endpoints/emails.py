"""Sending mail, and following it."""

from http import HTTPStatus
from typing import Final

from posthouse.intake.posted import PostedEmail
from posthouse.intake.rows import Receipt
from posthouse.storage.keys import KeyScope
from posthouse.web.api.email_view import EmailView
from posthouse.web.reference.endpoint import Body, Endpoint, Json, Method, Parameter, Place, path

GROUP: Final = "Emails"

MAIL_ID: Final = "019ab3f0-5d7e-7c41-9f0a-4a6c1f0e2b11"
ID = path("email_id", str, "A message's id, for all its recipients; or one recipient's.", MAIL_ID)
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
    "id": MAIL_ID,
    "status": "delivered",
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
        Method.GET,
        "/v1/emails/{email_id}",
        "get_email",
        GROUP,
        "Where a mail stands, and everything that happened to it",
        Body(EmailView, SHOWN),
        KeyScope.READ,
        parameters=(ID,),
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
)
