"""A good mail as the rows it becomes, and the answer its client gets."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import assert_never

import msgspec

from posthouse.domain.event import EventType
from posthouse.domain.ids import (
    RANDOM_BITS,
    EventId,
    JobId,
    MessageId,
    content_id,
    own_event_id,
    uuid7,
)
from posthouse.domain.job import JsonObject
from posthouse.domain.message import StoredFile
from posthouse.intake.mail import NewMail, OwnContent, TemplateChoice
from posthouse.storage import terms
from posthouse.storage.acceptance import NewContent, NewJob
from posthouse.storage.jobs import addressing_to_json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Recipient(msgspec.Struct, frozen=True):
    id: JobId
    email: str


class _Tag(msgspec.Struct, frozen=True):
    name: str
    value: str


class Receipt(msgspec.Struct, frozen=True):
    id: MessageId
    status: str
    recipients: list[_Recipient]


@dataclass(frozen=True, slots=True)
class Moment:
    """One reading of the database's clock: when a group is accepted, and the day its rows belong to."""

    unix_ms: int

    @property
    def at(self) -> datetime:
        return _EPOCH + timedelta(milliseconds=self.unix_ms)

    @property
    def day(self) -> date:
        return self.at.date()


class Rows(msgspec.Struct, frozen=True):
    """What one mail becomes."""

    jobs: tuple[NewJob, ...]
    events: tuple[EventId, ...]  # that each job was accepted, in the same order
    terms: tuple[tuple[str, JobId], ...]  # what each is looked up by
    content: NewContent | None
    response: bytes  # the 202 body


@dataclass(frozen=True, slots=True)
class RowMaker:
    """`content_key` keys the digest by which equal bodies meet. `random_bits` must be cryptographic: job ids
    stand in tracking links."""

    content_key: bytes
    random_bits: Callable[[int], int]

    def make(self, mails: Sequence[NewMail], moment: Moment) -> list[Rows]:
        """Rows of each mail; ids rise from first to last, so that they go to one end of the indexes."""
        count = sum(len(mail.recipients) for mail in mails)
        ids = iter(sorted(JobId(uuid7(moment.unix_ms, self.random_bits(RANDOM_BITS))) for _ in range(count)))
        return [self._rows(mail, [next(ids) for _ in mail.recipients], moment) for mail in mails]

    def _rows(self, mail: NewMail, ids: list[JobId], moment: Moment) -> Rows:
        match mail.body:
            case OwnContent() as own:
                content: NewContent | None = self._content(own, mail.stored_files, moment)
                choice: TemplateChoice | None = None
            case TemplateChoice() as choice:
                content = (
                    self._content(OwnContent(None, None), mail.stored_files, moment)
                    if mail.stored_files
                    else None
                )
            case _:
                assert_never(mail.body)
        return Rows(
            jobs=_jobs(mail, ids, content, choice, moment),
            events=tuple(own_event_id(job_id, 0, EventType.ACCEPTED) for job_id in ids),
            terms=tuple(_terms(mail, ids, choice)),
            content=content,
            response=_response(mail, ids),
        )

    def _content(self, own: OwnContent, files: Sequence[StoredFile], moment: Moment) -> NewContent:
        """Bodies and the names of files; a file stands in the digest by its own."""
        words = (own.html, own.text, files) if files else (own.html, own.text)
        digest = keyed_digest(self.content_key, msgspec.json.encode(words))
        names = msgspec.json.encode(files) if files else None
        return NewContent(content_id(moment.day, digest), own.html, own.text, names)


def keyed_digest(key: bytes, data: bytes) -> int:
    """128 bits by which equal contents meet. Without the key nobody can make two meet that are not equal."""
    return int.from_bytes(hashlib.blake2b(data, key=key, digest_size=16).digest())


def _jobs(
    mail: NewMail,
    ids: list[JobId],
    content: NewContent | None,
    choice: TemplateChoice | None,
    moment: Moment,
) -> tuple[NewJob, ...]:
    addressing = None if mail.addressing is None else addressing_to_json(mail.addressing)
    headers = msgspec.json.encode(mail.headers) if mail.headers else None
    tags = _tags(mail)
    due_at = moment.at if mail.scheduled_at is None else mail.scheduled_at
    return tuple(
        NewJob(
            job_id=job_id,
            message_id=MessageId(ids[0]),
            stream=mail.stream,
            to_address=recipient.address,
            address_key=recipient.key,
            from_address=mail.sender,
            subject=mail.subject,
            template_id=None if choice is None else choice.template_id,
            template_version=None if choice is None else choice.version,
            template_vars=None if choice is None else choice.variables,
            content_id=None if content is None else content.content_id,
            addressing=addressing,
            headers=headers,
            tags=tags,
            metadata=mail.metadata,
            tracked=mail.tracked,
            due_at=due_at,
            scheduled_at=mail.scheduled_at,
            expires_at=mail.expires_at,
            expiry_given=mail.expiry_given,
            sandbox=mail.sandbox,
        )
        for job_id, recipient in zip(ids, mail.recipients, strict=True)
    )


def _tags(mail: NewMail) -> JsonObject | None:
    return JsonObject(msgspec.json.encode([_Tag(*tag) for tag in mail.tags])) if mail.tags else None


def _terms(mail: NewMail, ids: list[JobId], choice: TemplateChoice | None) -> Iterator[tuple[str, JobId]]:
    shared = {terms.of_tag(name, value) for name, value in mail.tags}
    if choice is not None:
        shared.add(terms.of_template(choice.template_id))
    if mail.sandbox:
        shared.add(terms.SANDBOX)
    for job_id, recipient in zip(ids, mail.recipients, strict=True):
        yield terms.of_recipient(recipient.key), job_id
        for term in shared:
            yield term, job_id


def _response(mail: NewMail, ids: list[JobId]) -> bytes:
    recipients = [_Recipient(job_id, r.address) for job_id, r in zip(ids, mail.recipients, strict=True)]
    return msgspec.json.encode(Receipt(MessageId(ids[0]), "pending", recipients))
