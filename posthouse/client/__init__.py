"""A small client of the HTTP API, for applications. Needs httpx and nothing of the house.

    from posthouse.client import Client

    with Client("http://127.0.0.1:8025", key="ph_live_...") as mail:
        mail.send({"from": "hi@shop.example", "to": "jane@inbox.example", "subject": "Hi", "text": "Hello"})

Every call may be repeated, and is when it fails in passing: one that accepts mail carries an idempotency key.
"""

from posthouse.client.answers import Accepted, BatchAccepted, BatchProblem, Page, Recipient
from posthouse.client.asynchronous import AsyncClient
from posthouse.client.calls import Validation
from posthouse.client.errors import (
    ApiError,
    Conflict,
    FieldProblem,
    InvalidRequest,
    NotAllowed,
    NotFound,
    TooManyRequests,
    Unavailable,
)
from posthouse.client.retries import Retries
from posthouse.client.synchronous import Client

__all__ = [
    "Accepted",
    "ApiError",
    "AsyncClient",
    "BatchAccepted",
    "BatchProblem",
    "Client",
    "Conflict",
    "FieldProblem",
    "InvalidRequest",
    "NotAllowed",
    "NotFound",
    "Page",
    "Recipient",
    "Retries",
    "TooManyRequests",
    "Unavailable",
    "Validation",
]
