"""Jobs as a queue: claim, give back, and what compose needs of them. SQL in queries/jobs.sql."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from posthouse.domain.ids import (
    AddressKey,
    CampaignId,
    ContentId,
    InstanceId,
    JobId,
    MessageId,
    TemplateId,
    TemplateKey,
)
from posthouse.domain.job import ClaimedJob, Held, JsonObject, Status
from posthouse.domain.message import Addressing, Mailbox, StoredFile
from posthouse.domain.stream import Stream
from posthouse.domain.template import TemplateVersion, Variable, VersionState
from posthouse.storage.db import Database, Session
from posthouse.storage.spans import EVERYTHING, Look, spans_of

#: The literal LIMITs there is a claim query for, largest first.
CLAIM_SIZES: Final = (500, 100, 32, 10, 1)


class _Addressing(msgspec.Struct):
    """The jsonb form: pairs of address and display name."""

    to: list[tuple[str, str]] = []
    cc: list[tuple[str, str]] = []
    reply_to: list[tuple[str, str]] = []


_read_addressing = msgspec.json.Decoder(_Addressing).decode
_read_headers = msgspec.json.Decoder(list[tuple[str, str]]).decode
_read_files = msgspec.json.Decoder(tuple[StoredFile, ...]).decode
_read_variables = msgspec.json.Decoder(list[Variable]).decode


def addressing_to_json(addressing: Addressing) -> bytes:
    """The jsonb form of what To, Cc and Reply-To show."""
    return msgspec.json.encode(
        _Addressing(
            *(
                [(box.address, box.name) for box in boxes]
                for boxes in (addressing.to, addressing.cc, addressing.reply_to)
            )
        )
    )


def addressing_from_json(raw: bytes | None, to_address: str) -> Addressing:
    """None stands for the common case: To shows the recipient and nothing else."""
    if raw is None:
        return Addressing(to=(Mailbox(to_address),))
    stored = _read_addressing(raw)
    return Addressing(_boxes(stored.to), _boxes(stored.cc), _boxes(stored.reply_to))


def _boxes(pairs: list[tuple[str, str]]) -> tuple[Mailbox, ...]:
    return tuple(Mailbox(address, name) for address, name in pairs)


def claim_size(free: int) -> int:
    """The largest claim that never takes more than `free` jobs; 0 if even one is too many."""
    return next((size for size in CLAIM_SIZES if size <= free), 0)


class _Picked(msgspec.Struct, frozen=True, gc=False):
    """A row of a claim: when the job was due, and the job unless it ended in the claim."""

    job_id: JobId
    due_at: datetime
    job: ClaimedJob | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim did. Jobs that were suppressed or expired ended in it and are not in `jobs`."""

    jobs: list[ClaimedJob]
    looked_at: list[JobId]
    reached: datetime | None  # the latest due_at that was looked at; None: nothing was due


async def claim(db: Database, stream: Stream, worker: InstanceId, limit: int, look: Look) -> Claim:
    """Up to `limit` (one of CLAIM_SIZES) due jobs, committed as SENDING."""
    return _claim(
        await db.fetch_into(_picked, f"claim_{limit}", stream.value, worker, *look.spans, look.floor)
    )


async def claim_quarantined(db: Database, stream: Stream, worker: InstanceId) -> Claim:
    """One job that two workers died of."""
    return _claim(await db.fetch_into(_picked, "claim_quarantined", stream.value, worker, *EVERYTHING))


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stands that a record named and that could not be claimed."""

    stream: Stream
    status: Status
    attempt: int


async def claim_queued(
    db: Database, stream: Stream, worker: InstanceId, records: Sequence[Held]
) -> tuple[list[ClaimedJob], set[JobId]]:
    """Claim the jobs that a topic's records name, each id once. Returns those that are SENDING now, and the
    ids of all that were decided: also of the suppressed and the expired."""
    ids = [record.job_id for record in records]
    rows = await db.fetch_into(
        _picked,
        "claim_queued",
        stream.value,
        worker,
        *spans_of(ids),
        Status.QUEUED.value,
        ids,
        [record.attempt for record in records],
    )
    return [row.job for row in rows if row.job is not None], {row.job_id for row in rows}


async def standing_of(db: Database, ids: Collection[JobId]) -> dict[JobId, Standing]:
    """Where these jobs stand; what nobody knows is missing."""
    if not ids:
        return {}
    return dict(await db.fetch_into(_standing, "standing_of", sorted(ids), min(ids), max(ids)))


def _claim(picked: Sequence[_Picked]) -> Claim:
    jobs = [row.job for row in picked if row.job is not None]
    return Claim(jobs, [row.job_id for row in picked], picked[-1].due_at if picked else None)


async def as_claimed(db: Database, job_id: JobId) -> ClaimedJob | None:
    """A job as a worker would hold it, though nobody claims it; None when there is none."""
    found = await db.fetch_one(_picked, "as_claimed", job_id)
    return None if found is None else found.job


async def quarantine_waiting(db: Database, stream: Stream) -> bool:
    return await db.value(bool, "quarantine_waiting", stream.value)


async def release(db: Database, worker: InstanceId, held: Sequence[Held], due_at: datetime | None) -> int:
    """Give back what was not begun; how many were still ours to give back."""
    if not held:
        return 0
    return await db.value(
        int,
        "release_jobs",
        [h.job_id for h in held],
        [h.attempt for h in held],
        worker,
        due_at,
        Status.SENDING.value,
    )


async def disown(db: Database, worker: InstanceId, in_hand: Collection[Held]) -> int:
    """Give back what is claimed for this worker beside what it knows to hold."""
    claimed = await db.fetch_into(Held, "claimed_by", worker)
    return await release(db, worker, [held for held in claimed if held not in in_hand], None)


@dataclass(frozen=True, slots=True)
class StoredContent:
    """What a mail brought: bodies, unless a template has them, and the names of its files."""

    html: str | None
    text: str | None
    files: tuple[StoredFile, ...]


async def contents(session: Session, ids: Iterable[ContentId]) -> dict[ContentId, StoredContent]:
    """What mails brought of their own, by content id; of their files all but the bytes."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    rows = await session.fetch_into(_content, "contents", wanted, wanted[0], wanted[-1])
    return dict(rows)


async def template_versions(
    session: Session, wanted: Iterable[tuple[TemplateId, int]]
) -> list[TemplateVersion]:
    """Versions by template and number; what is not there is missing."""
    pairs = sorted(set(wanted))
    return await session.fetch_into(
        _version, "template_versions", [t for t, _ in pairs], [v for _, v in pairs]
    )


def _content(
    content_id: ContentId, html: str | None, text: str | None, attachments: bytes | None
) -> tuple[ContentId, StoredContent]:
    files = () if attachments is None else _read_files(attachments)
    return content_id, StoredContent(html, text, files)


def _version(
    template_id: TemplateId,
    key: TemplateKey,
    version: int,
    subject: str,
    html: str | None,
    text: str | None,
    variables: bytes,
    tracked: bool,
) -> TemplateVersion:
    declared = tuple(_read_variables(variables))
    return TemplateVersion(
        template_id, key, version, subject, html, text, declared, tracked, VersionState.PUBLISHED
    )


def _picked(
    job_id: UUID,
    message_id: UUID,
    stream: str,
    attempt: int,
    status: str,
    to_address: str,
    address_key: str,
    from_address: str,
    subject: str | None,
    template_id: int | None,
    template_version: int | None,
    template_vars: bytes | None,
    content_id: UUID | None,
    addressing: bytes | None,
    headers: bytes | None,
    campaign_id: UUID | None,
    tracked: bool,
    due_at: datetime,
    expires_at: datetime,
    deaths: int,
    sandbox: bool,
) -> _Picked:
    """A row of a claim, columns in the query's order."""
    if status != _SENDING:
        return _Picked(JobId(job_id), due_at, None)
    job = ClaimedJob(
        JobId(job_id),
        MessageId(message_id),
        _STREAMS[stream],
        attempt,
        to_address,
        AddressKey(address_key),
        from_address,
        subject,
        None if template_id is None else TemplateId(template_id),
        template_version,
        None if template_vars is None else JsonObject(template_vars),
        None if content_id is None else ContentId(content_id),
        addressing_from_json(addressing, to_address),
        None if campaign_id is None else CampaignId(campaign_id),
        tracked,
        due_at,
        expires_at,
        deaths,
        () if headers is None else tuple(_read_headers(headers)),
        sandbox,
    )
    return _Picked(job.job_id, due_at, job)


def _standing(job_id: UUID, stream: str, status: str, attempt: int) -> tuple[JobId, Standing]:
    return JobId(job_id), Standing(_STREAMS[stream], Status(status), attempt)


_STREAMS = {stream.value: stream for stream in Stream}
_SENDING: Final = Status.SENDING.value
