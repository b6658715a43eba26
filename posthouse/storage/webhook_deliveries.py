"""Deliveries: what is due, what was answered, and the log of both. SQL in queries/webhook_deliveries.sql."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never
from uuid import UUID

from posthouse.domain.ids import EndpointId, JobId, NoticeId
from posthouse.domain.webhook import DeliveryState
from posthouse.storage.db import Database, Transaction
from posthouse.storage.text import storable
from posthouse.storage.webhooks import SealedSecret

SHOWN_ATTEMPTS = 10  # of one delivery: those of one walk through the retry list


@dataclass(frozen=True, slots=True)
class DueEndpoint:
    """An endpoint that something is due for; fields in the order of the query's columns."""

    endpoint_id: EndpointId
    url: str
    secret: SealedSecret
    previous_secret: SealedSecret | None
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in hand; fields in the order of the query's columns. `tries` counts this one."""

    endpoint_id: EndpointId
    notice_id: NoticeId
    attempt: int
    tries: int
    body: str


@dataclass(frozen=True, slots=True)
class Answered:
    """One attempt and what follows from it. `http_status` None: no answer; `error` "": it was a success.
    `due_at` says nothing of one that has ended."""

    endpoint_id: EndpointId
    notice_id: NoticeId
    attempt: int
    state: DeliveryState
    due_at: datetime
    at: datetime
    ms: int
    http_status: int | None
    error: str
    response: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What a set of answers says of their endpoint. `gone`: why it is disabled at once; `not_before`: it
    asked for a pause."""

    endpoint_id: EndpointId
    succeeded: bool
    error: str
    not_before: datetime | None = None
    gone: str | None = None


@dataclass(frozen=True, slots=True)
class Disabled:
    endpoint_id: EndpointId
    reason: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """An entry of the delivery log."""

    attempt: int
    at: datetime
    ms: int
    http_status: int | None
    error: str
    response: str


@dataclass(frozen=True, slots=True)
class Delivery:
    notice_id: NoticeId
    name: str
    job_id: JobId | None
    state: DeliveryState
    due_at: datetime
    attempt: int
    attempts: tuple[Attempt, ...]  # the last ones, oldest first


@dataclass(frozen=True, slots=True)
class Range:
    """Messages older than `before`, not older than `since`; `state` None: whatever became of them."""

    before: UUID
    since: UUID
    state: DeliveryState | None = None


async def due_endpoints(db: Database, now: datetime) -> list[DueEndpoint]:
    return await db.fetch_into(DueEndpoint, "due_endpoints", now)


async def claim(
    db: Database, endpoint: EndpointId, limit: int, now: datetime, until: datetime
) -> list[Claimed]:
    """Up to `limit` due deliveries of one endpoint, in hand until then. Raises NotNow."""
    return await db.fetch_into(Claimed, "claim_deliveries", endpoint, limit, now, until)


async def record(
    tx: Transaction,
    answers: Sequence[Answered],
    standings: Sequence[Standing],
    now: datetime,
    failing_before: datetime,
) -> list[Disabled]:
    """Write a set of answers; the endpoints that they disable. Endpoints are locked before deliveries."""
    told = sorted(standings, key=lambda one: one.endpoint_id)
    disabled = await tx.fetch_into(
        Disabled,
        "record_standing",
        [one.endpoint_id for one in told],
        [one.succeeded for one in told],
        [storable(one.error) for one in told],
        [one.not_before for one in told],
        [one.gone for one in told],
        now,
        failing_before,
    )
    ordered = sorted(answers, key=lambda one: (one.endpoint_id, one.notice_id))
    await tx.execute(
        "record_attempts",
        [one.endpoint_id for one in ordered],
        [one.notice_id for one in ordered],
        [one.attempt for one in ordered],
        [one.state for one in ordered],
        [one.due_at for one in ordered],
        [one.at for one in ordered],
        [one.ms for one in ordered],
        [one.http_status for one in ordered],
        [storable(one.error) for one in ordered],
        [storable(one.response) for one in ordered],
    )
    return disabled


async def redeliver_one(db: Database, endpoint: EndpointId, notice: NoticeId, now: datetime) -> bool:
    """False: it is being sent right now, or there is no such delivery."""
    return await db.execute("redeliver_one", endpoint, notice, now) == 1


async def page(db: Database, endpoint: EndpointId, wanted: Range, limit: int) -> list[Delivery]:
    """Newest message first, each with its last attempts."""
    rows = await _rows(db, endpoint, wanted, limit)
    return await _with_attempts(db, endpoint, rows)


async def find(db: Database, endpoint: EndpointId, notice: NoticeId) -> Delivery | None:
    found = await db.fetch_one(_row, "delivery", endpoint, notice)
    return None if found is None else (await _with_attempts(db, endpoint, [found]))[0]


async def body(db: Database, notice: NoticeId) -> str | None:
    """What is posted; None when it is kept no longer."""
    return await db.fetch_one(str, "message_body", notice)


_Row = tuple[NoticeId, str, JobId | None, DeliveryState, datetime, int]


async def _rows(db: Database, endpoint: EndpointId, wanted: Range, limit: int) -> list[_Row]:
    bounds = (endpoint, wanted.before, wanted.since)
    match wanted.state:
        case None:
            return await db.fetch_into(_row, "deliveries", *bounds, limit)
        case DeliveryState.DELIVERED:
            return await db.fetch_into(_row, "delivered_deliveries", *bounds, limit)
        case DeliveryState.PENDING | DeliveryState.SENDING | DeliveryState.FAILED as state:
            return await db.fetch_into(_row, "open_deliveries", *bounds, [state], limit)
        case _:
            assert_never(wanted.state)


async def _with_attempts(db: Database, endpoint: EndpointId, rows: Sequence[_Row]) -> list[Delivery]:
    attempts = await _attempts(db, endpoint, [row[0] for row in rows])
    return [Delivery(*row, attempts=tuple(attempts[row[0]])) for row in rows]


async def _attempts(
    db: Database, endpoint: EndpointId, notices: Sequence[NoticeId]
) -> Mapping[NoticeId, list[Attempt]]:
    found: dict[NoticeId, list[Attempt]] = defaultdict(list)
    if notices:
        rows = await db.fetch_into(_attempt, "delivery_attempts", endpoint, notices, SHOWN_ATTEMPTS)
        for notice, attempt in rows:
            found[notice].append(attempt)
    return found


def _row(
    message_id: UUID, name: str, job_id: UUID | None, state: str, due_at: datetime, attempt: int
) -> _Row:
    job = None if job_id is None else JobId(job_id)
    return NoticeId(message_id), name, job, DeliveryState(state), due_at, attempt


def _attempt(
    message_id: UUID, attempt: int, at: datetime, ms: int, http_status: int | None, error: str, response: str
) -> tuple[NoticeId, Attempt]:
    return NoticeId(message_id), Attempt(attempt, at, ms, http_status, error, response)
