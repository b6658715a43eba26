"""Endpoints of applications, their secrets, and redeliveries. SQL in queries/webhooks.sql."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NewType
from uuid import UUID

import msgspec

from posthouse.domain.ids import EndpointId, NoticeId
from posthouse.domain.stream import Stream
from posthouse.domain.webhook import Endpoint, EndpointStatus, EventName, Interest, Tag, types_of
from posthouse.storage.db import Database

SealedSecret = NewType("SealedSecret", bytes)  # as it stands in the table; outhooks/signing.py opens it

#: Each process reads all that listen, again and again: there are few, of live and of test keys each.
MAX_ENDPOINTS = 100


@dataclass(frozen=True, slots=True)
class Visible:
    """Whose endpoints: of a stream (None: both), of domains (empty: all), live or test (None: both)."""

    stream: Stream | None = None
    from_domains: frozenset[str] = frozenset()
    sandbox: bool | None = None


EVERYTHING = Visible()


@dataclass(frozen=True, slots=True)
class Secrets:
    """`previous` None: there is none, or its time is over."""

    current: SealedSecret
    previous: SealedSecret | None


@dataclass(frozen=True, slots=True)
class OnlyStream:
    """What an endpoint's stream becomes. `stream` None: both."""

    stream: Stream | None


@dataclass(frozen=True, slots=True)
class Changes:
    """None leaves a thing as it is."""

    url: str | None = None
    description: str | None = None
    status: EndpointStatus | None = None
    names: frozenset[EventName] | None = None
    stream: OnlyStream | None = None
    from_domains: frozenset[str] | None = None
    tags: frozenset[Tag] | None = None


_read_tags = msgspec.json.Decoder(list[Tag]).decode


async def insert(db: Database, endpoint: Endpoint, secret: SealedSecret) -> bool:
    """Whether there was room for it."""
    inserted = await db.execute(
        "insert_endpoint",
        MAX_ENDPOINTS,
        endpoint.endpoint_id,
        endpoint.url,
        endpoint.description,
        *_interest_columns(endpoint.interest),
        endpoint.interest.sandbox,
        secret,
        endpoint.created_at,
    )
    return inserted == 1


async def page(db: Database, visible: Visible, after: EndpointId | None, limit: int) -> list[Endpoint]:
    """Newest first, older than `after`."""
    return await db.fetch_into(_endpoint, "endpoints_within", *_bounds(visible), after, limit)


async def find(db: Database, visible: Visible, endpoint: EndpointId) -> Endpoint | None:
    return await db.fetch_one(_endpoint, "endpoint_within", *_bounds(visible), endpoint)


async def listening(db: Database) -> list[Endpoint]:
    """All that hear of events."""
    return await db.fetch_into(_endpoint, "listening_endpoints")


async def change(db: Database, endpoint: EndpointId, changes: Changes, now: datetime, why: str) -> bool:
    """Whether it was still there. `why` is kept when this disables it."""
    changed = await db.execute(
        "change_endpoint",
        endpoint,
        changes.url,
        changes.description,
        None if changes.names is None else sorted(changes.names),
        None if changes.names is None else sorted(types_of(changes.names)),
        None if changes.stream is None else changes.stream.stream,
        None if changes.from_domains is None else sorted(changes.from_domains),
        None if changes.tags is None else msgspec.json.encode(sorted(changes.tags)),
        changes.status,
        now,
        why,
        changes.stream is not None,
    )
    return changed == 1


async def delete(db: Database, endpoint: EndpointId) -> bool:
    return await db.execute("delete_endpoint", endpoint) == 1


async def secrets_of(db: Database, endpoint: EndpointId, now: datetime) -> Secrets | None:
    return await db.fetch_one(_secrets, "endpoint_secrets", endpoint, now)


async def rotate(db: Database, endpoint: EndpointId, secret: SealedSecret, previous_until: datetime) -> bool:
    """The one before stays valid until then; the one before that ends now. False: no such endpoint."""
    return await db.execute("rotate_secret", endpoint, secret, previous_until) == 1


async def begin_redelivery(
    db: Database, endpoint: EndpointId, after: UUID, until: NoticeId, *, only_failed: bool
) -> bool:
    """Of messages after one id, up to and with another. False: one is under way, or no such endpoint."""
    return await db.execute("begin_redelivery", endpoint, after, until, only_failed) == 1


async def redeliver_some(db: Database, limit: int, now: datetime) -> EndpointId | None:
    """The next part of a redelivery made due; None when none is under way."""
    return await db.fetch_one(EndpointId, "redeliver_some", limit, now)


async def longest_due(db: Database, now: datetime) -> float:
    """Seconds that the delivery has been due which waits longest."""
    return await db.value(float, "webhook_health", now)


async def failing(db: Database, limit: int = 2 * MAX_ENDPOINTS) -> list[Endpoint]:
    """Endpoints that fail, and those that were disabled for it; worst first."""
    return await db.fetch_into(_endpoint, "failing_endpoints", limit)


def _bounds(visible: Visible) -> tuple[str | None, list[str], bool | None]:
    return visible.stream, sorted(visible.from_domains), visible.sandbox


def _interest_columns(interest: Interest) -> tuple[object, ...]:
    """Names, types, stream, domains, tags."""
    return (
        sorted(interest.names),
        sorted(types_of(interest.names)),
        interest.stream,
        sorted(interest.from_domains),
        msgspec.json.encode(sorted(interest.tags)),
    )


def _secrets(current: bytes, previous: bytes | None) -> Secrets:
    return Secrets(SealedSecret(current), None if previous is None else SealedSecret(previous))


def _endpoint(
    endpoint_id: UUID,
    url: str,
    description: str,
    event_names: Sequence[str],
    stream: str | None,
    from_domains: Sequence[str],
    tags: bytes,
    sandbox: bool,
    created_at: datetime,
    status: str,
    disabled_at: datetime | None,
    disabled_reason: str | None,
    failing_since: datetime | None,
    last_error: str | None,
    previous_until: datetime | None,
) -> Endpoint:
    return Endpoint(
        EndpointId(endpoint_id),
        url,
        description,
        Interest(
            frozenset(map(EventName, event_names)),
            None if stream is None else Stream(stream),
            frozenset(from_domains),
            frozenset(_read_tags(tags)),
            sandbox,
        ),
        created_at,
        EndpointStatus(status),
        disabled_at,
        disabled_reason,
        failing_since,
        last_error,
        previous_until,
    )
