"""Each call as a value: what is asked, before anybody sends it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from urllib.parse import quote

from posthouse.client.answers import Json


class Validation(StrEnum):
    """What one bad mail of a batch does to the others: nothing is accepted, or they are."""

    STRICT = "strict"
    PERMISSIVE = "permissive"


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: str
    body: object = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def send(mail: Json, idempotency_key: str | None) -> Call:
    return Call("POST", "/v1/emails", mail, headers=_once(idempotency_key))


def send_batch(mails: Sequence[Json], validation: Validation, idempotency_key: str | None) -> Call:
    headers = {**_once(idempotency_key), "x-batch-validation": validation.value}
    return Call("POST", "/v1/emails/batch", list(mails), headers=headers)


def get(email_id: str) -> Call:
    return Call("GET", f"/v1/emails/{_part(email_id)}")


def events(email_id: str, cursor: str | None) -> Call:
    return Call("GET", f"/v1/emails/{_part(email_id)}/events", query=_paged({}, cursor))


def emails(filters: Mapping[str, str], cursor: str | None) -> Call:
    return Call("GET", "/v1/emails", query=_paged(filters, cursor))


def cancel(email_id: str) -> Call:
    return Call("POST", f"/v1/emails/{_part(email_id)}/cancel")


def reschedule(email_id: str, at: datetime) -> Call:
    """`at` needs its offset."""
    return Call("PATCH", f"/v1/emails/{_part(email_id)}", {"scheduled_at": at.isoformat()})


def _part(text: str) -> str:
    """An id as one part of a path: one that came from outside must not lead to another route."""
    return quote(text, safe="")


def _once(key: str | None) -> dict[str, str]:
    """Made once for a call, so that all its tries carry the same."""
    return {"idempotency-key": uuid.uuid4().hex if key is None else key}


def _paged(filters: Mapping[str, str], cursor: str | None) -> dict[str, str]:
    return {**filters, **({} if cursor is None else {"cursor": cursor})}
