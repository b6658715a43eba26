"""The statements that accept mail, for the one transaction that does. SQL in queries/acceptance.sql.

Called in the order in which they stand here: that is also the order in which tables are locked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from posthouse.domain.errors import NotNow
from posthouse.domain.ids import (
    AddressKey,
    ApiKeyId,
    ContentId,
    EventId,
    JobId,
    MessageId,
    TemplateId,
)
from posthouse.domain.job import JsonObject
from posthouse.domain.stream import Stream
from posthouse.storage.db import Session, Transaction
from posthouse.storage.session import LockTimeout

#: How long a group waits for another process that is writing one of its idempotency keys.
KEY_WAIT = timedelta(seconds=1)


class KeyInUse(NotNow):
    """Another process holds one of the idempotency keys, and did not finish within `KEY_WAIT`."""

    code = "idempotency_in_progress"


@dataclass(frozen=True, slots=True, order=True)
class IdempotencyName:
    """An idempotency key belongs to the API key that sent it: another's equal key is another key."""

    api_key_id: ApiKeyId
    key: str


@dataclass(frozen=True, slots=True)
class Promise:
    """What a request asked for, by its digest, and the answer it was given."""

    body_hash: bytes
    response: bytes


@dataclass(frozen=True, slots=True)
class NewContent:
    content_id: ContentId
    html: str | None
    text: str | None
    attachments: bytes | None = None  # what the files are called, as JSON


class NewJob(NamedTuple):
    """A row of email_job, beside what all jobs of one transaction share; fields in accept_jobs' order.

    A tuple, since rows become columns on their way into the database.
    """

    job_id: JobId
    message_id: MessageId
    stream: Stream
    to_address: str
    address_key: AddressKey
    from_address: str
    subject: str | None
    template_id: TemplateId | None
    template_version: int | None
    template_vars: JsonObject | None
    content_id: ContentId | None
    addressing: bytes | None
    headers: bytes | None
    tags: JsonObject | None
    metadata: JsonObject | None
    tracked: bool
    due_at: datetime
    scheduled_at: datetime | None
    expires_at: datetime
    expiry_given: bool
    sandbox: bool


@dataclass(frozen=True, slots=True)
class Books:
    """How many jobs of each stream the transaction accepts."""

    by_stream: Mapping[Stream, int]

    @property
    def total(self) -> int:
        return sum(self.by_stream.values())


async def claim_keys(tx: Transaction, promises: Mapping[IdempotencyName, Promise]) -> set[IdempotencyName]:
    """The keys that were free and are now this transaction's. Raises KeyInUse, NotNow."""
    names = sorted(promises)
    await tx.fetchval("limit_lock_wait", f"{KEY_WAIT.total_seconds():g}s")
    try:
        won = await tx.fetch_into(
            _name,
            "claim_idempotency_keys",
            [name.api_key_id for name in names],
            [name.key for name in names],
            [promises[name].body_hash for name in names],
            [promises[name].response for name in names],
        )
    except LockTimeout as error:
        raise KeyInUse(
            "A request with this Idempotency-Key is still under way; ask again for its answer.",
            retry_after=KEY_WAIT.total_seconds(),
        ) from error
    return set(won)


async def stored_answers(
    session: Session, names: Sequence[IdempotencyName]
) -> dict[IdempotencyName, Promise]:
    """What was promised under each of these keys."""
    rows = await session.fetch_into(
        _answer, "stored_answers", [name.api_key_id for name in names], [name.key for name in names]
    )
    return dict(rows)


async def give_back_keys(tx: Transaction, names: Sequence[IdempotencyName]) -> None:
    """Free keys again that this transaction has claimed."""
    if names:
        await tx.execute("give_back_keys", [n.api_key_id for n in names], [n.key for n in names])


async def correct_answer(tx: Transaction, name: IdempotencyName, response: bytes) -> None:
    """Put another answer under a key that this transaction has claimed."""
    await tx.execute("correct_answer", name.api_key_id, name.key, response)


async def insert_contents(tx: Transaction, contents: Mapping[ContentId, NewContent]) -> None:
    rows = [contents[content_id] for content_id in sorted(contents)]
    await tx.execute(
        "insert_contents",
        [row.content_id for row in rows],
        [row.html for row in rows],
        [row.text for row in rows],
        [row.attachments for row in rows],
    )


async def accept_jobs(
    tx: Transaction,
    *,
    at: datetime,
    day: date,
    jobs: Sequence[NewJob],
    events: Sequence[EventId],
    books: Books,
    terms: Sequence[tuple[str, JobId]],
) -> None:
    """Jobs in PENDING, in the order of their ids; their `accepted` events, in the same order; the books; and
    what each is looked up by (storage/terms.py)."""
    columns: list[Sequence[object]] = list(zip(*jobs, strict=True))
    streams, counts = list(books.by_stream.keys()), list(books.by_stream.values())
    await tx.execute(
        "accept_jobs",
        at,
        day,
        *columns,
        events,
        streams,
        counts,
        books.total,
        [term for term, _ in terms],
        [job_id for _, job_id in terms],
    )


def _name(api_key_id: UUID, key: str) -> IdempotencyName:
    return IdempotencyName(ApiKeyId(api_key_id), key)


def _answer(api_key_id: UUID, key: str, body_hash: bytes, response: bytes) -> tuple[IdempotencyName, Promise]:
    return _name(api_key_id, key), Promise(body_hash, response)
