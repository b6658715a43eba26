"""POST /v1/emails/{id}/cancel and PATCH /v1/emails/{id}: a message, or one of its recipients."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from posthouse.domain.errors import Conflict, InvalidInput
from posthouse.domain.ids import JobId
from posthouse.domain.job import OPEN_STATES, Status
from posthouse.domain.stream import Stream
from posthouse.intake.validate import MAX_AHEAD
from posthouse.status.changes import Changed, Changes
from posthouse.storage.keys import KeyScope
from posthouse.storage.timeline import JobRecord
from posthouse.web.api.body import decode, refuse_other_than_json
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest
from posthouse.web.api.visible import visible_jobs


class PostedChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`id` may repeat the one in the path, as Resend's client for Python does."""

    scheduled_at: Annotated[datetime, msgspec.Meta(tz=True)]
    id: str | None = None


class ChangedRecipient(msgspec.Struct, frozen=True):
    id: UUID
    email: str
    status: str


class ChangedEmail(msgspec.Struct, frozen=True):
    """`status` is that of all recipients, null when they differ."""

    object: Literal["email"]
    id: UUID
    status: str | None
    recipients: list[ChangedRecipient]


_decoder = msgspec.json.Decoder(PostedChange)


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @post("/emails/{email_id:str}/cancel", status_code=HTTPStatus.OK)
    async def cancel_email(request: ApiRequest, email_id: FromPath[str]) -> ChangedEmail:
        """Good when any recipient's copy is cancelled, now or before, so that asking again is safe."""
        key = await deps.keys.authenticate(request, KeyScope.SEND)
        jobs = await visible_jobs(deps.database, key, email_id)
        reason = f"cancelled over the API with the key {key.name}"
        return await cancel(deps.changes, jobs, reason, deps.now())

    @patch("/emails/{email_id:str}", status_code=HTTPStatus.OK)
    async def reschedule_email(request: ApiRequest, email_id: FromPath[str]) -> ChangedEmail:
        """Good when any recipient's copy could be moved."""
        key = await deps.keys.authenticate(request, KeyScope.SEND)
        refuse_other_than_json(request)
        async with deps.bodies.read(request) as body:
            posted = decode(body, _decoder)
        wanted = posted.scheduled_at
        if posted.id not in (None, email_id):
            raise InvalidInput("This is not the id in the path. Leave it out, or repeat it.", pointer="/id")
        jobs = await visible_jobs(deps.database, key, email_id)
        now = deps.now()
        changed = await reschedule(deps.changes, jobs, wanted, now)
        if wanted <= now:
            deps.jobs_due(Stream(jobs[0].stream))
        return changed

    return [cancel_email, reschedule_email]


async def cancel(changes: Changes, jobs: Sequence[JobRecord], reason: str, now: datetime) -> ChangedEmail:
    """Raises Conflict when nothing of it could be cancelled, NotNow."""
    changed = await changes.cancel(_ids(jobs), reason, now)
    _refuse_unless_done(changed)
    return _view(jobs, changed)


async def reschedule(
    changes: Changes, jobs: Sequence[JobRecord], wanted: datetime, now: datetime
) -> ChangedEmail:
    """To `wanted`, or now if that has passed. Raises InvalidInput, NotNow, Conflict when nothing is moved."""
    _refuse_unless_within_its_life(jobs[0], max(wanted, now))
    scheduled_at = wanted.astimezone(UTC) if wanted > now else None
    changed = await changes.reschedule(_ids(jobs), scheduled_at or now, scheduled_at)
    _refuse_unless_done(changed)
    return _view(jobs, changed)


def _ids(jobs: Sequence[JobRecord]) -> list[JobId]:
    return [JobId(job.job_id) for job in jobs]


def _refuse_unless_within_its_life(job: JobRecord, due_at: datetime) -> None:
    """A mail's life is counted from when it was accepted, however often it is moved: no row pins its day."""
    if due_at > job.created_at + MAX_AHEAD:
        raise InvalidInput(
            f"A mail can wait for at most {MAX_AHEAD.days} days after it was accepted, until "
            f"{job.created_at + MAX_AHEAD:%Y-%m-%dT%H:%M:%SZ}. Cancel it and post a new one instead.",
            pointer="/scheduled_at",
        )
    if job.expiry_given and job.expires_at <= due_at:
        raise InvalidInput(
            f"The mail would expire before it is due: it was posted with expires_at "
            f"{job.expires_at:%Y-%m-%dT%H:%M:%SZ}. Name an earlier time, or cancel it and post a new one.",
            pointer="/scheduled_at",
        )


def _refuse_unless_done(changed: Mapping[JobId, Changed]) -> None:
    if any(one.done for one in changed.values()):
        return
    states = sorted({one.status.value.lower() for one in changed.values()})
    where = f"it is {states[0]}" if len(states) == 1 else f"its recipients' copies are {', '.join(states)}"
    if OPEN_STATES.isdisjoint(one.status for one in changed.values()):
        raise Conflict(f"This mail has ended and cannot be changed: {where}.", code="already_ended")
    raise Conflict(
        f"This mail cannot be changed any more: {where}, and has been taken up for sending. Look at its "
        "events to see how that ends.",
        code="already_sending",
    )


def _view(jobs: Sequence[JobRecord], changed: Mapping[JobId, Changed]) -> ChangedEmail:
    """A job that went with its day meanwhile stands as it was seen."""
    recipients = [ChangedRecipient(job.job_id, job.to_address, _status(job, changed).lower()) for job in jobs]
    states = {recipient.status for recipient in recipients}
    return ChangedEmail(
        "email", jobs[0].message_id, recipients[0].status if len(states) == 1 else None, recipients
    )


def _status(job: JobRecord, changed: Mapping[JobId, Changed]) -> Status:
    now = changed.get(JobId(job.job_id))
    return Status(job.status) if now is None else now.status
