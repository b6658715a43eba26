"""A mail as the API shows it: where each recipient's copy stands, and everything that happened."""

from datetime import datetime
from typing import Literal, assert_never
from uuid import UUID

import msgspec

from posthouse.domain.address import format_mailbox
from posthouse.domain.job import Status
from posthouse.storage.jobs import addressing_from_json
from posthouse.storage.timeline import EventRecord, JobRecord, MailRecord


class TagView(msgspec.Struct, frozen=True):
    name: str
    value: str


class TemplateChoiceView(msgspec.Struct, frozen=True):
    """`version` null: the newest published one when the mail is sent."""

    key: str
    version: int | None


class RecipientView(msgspec.Struct, frozen=True):
    id: UUID
    email: str
    status: str
    sent_at: datetime | None
    opened_at: datetime | None
    clicked_at: datetime | None
    complained_at: datetime | None
    unsubscribed_at: datetime | None
    relay: str | None
    provider_message_id: str | None


class EventView(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an event of its kind does not have is left out."""

    id: UUID
    recipient_id: UUID
    type: str
    origin: str
    occurred_at: datetime
    received_at: datetime
    attempt: int
    reason: str = ""
    bounce_class: str | None = None
    relay: str | None = None
    provider_message_id: str | None = None
    smtp_code: int | None = None
    enhanced_code: str | None = None
    diagnostic: str = ""
    url: str | None = None
    user_agent: str | None = None
    machine: bool = False
    template_version: int | None = None


class HeaderView(msgspec.Struct, frozen=True):
    name: str
    value: str


class AttachmentView(msgspec.Struct, frozen=True):
    """`size` in bytes, before it is encoded for its way."""

    filename: str
    content_type: str
    size: int
    content_id: str | None
    disposition: str


class ContentView(msgspec.Struct, frozen=True):
    """`sent`: this is what was sent; else it is what would be sent now. `headers` are those beside the usual
    ones. `reason` says why there is no content, when there is none."""

    sent: bool
    template_version: int | None
    subject: str | None
    html: str | None
    text: str | None
    headers: list[HeaderView]
    attachments: list[AttachmentView]
    reason: str | None


class EmailView(msgspec.Struct, frozen=True):
    """`status` is that of all recipients, null when they differ. Recipients of a bcc are among the
    recipients, not in to and cc. `object` and `last_event` are for clients written for Resend: its words for
    where the first recipient's copy stands. `content` is there when it is asked for."""

    object: Literal["email"]
    id: UUID
    status: str | None
    last_event: str
    stream: str
    sender: str = msgspec.field(name="from")
    to: list[str]
    cc: list[str]
    reply_to: list[str]
    subject: str | None
    template: TemplateChoiceView | None
    tags: list[TagView]
    metadata: dict[str, str]
    created_at: datetime
    due_at: datetime
    scheduled_at: datetime | None
    expires_at: datetime
    recipients: list[RecipientView]
    timeline: list[EventView]
    content: ContentView | msgspec.UnsetType = msgspec.UNSET


class EmailEntry(msgspec.Struct, frozen=True):
    """One recipient's copy as lists show it; `message_id` joins the recipients of one post."""

    id: UUID
    message_id: UUID
    object: Literal["email"]
    to: list[str]
    sender: str = msgspec.field(name="from")
    subject: str | None
    status: str
    last_event: str
    stream: str
    template: TemplateChoiceView | None
    tags: list[TagView]
    created_at: datetime
    due_at: datetime
    scheduled_at: datetime | None
    sent_at: datetime | None
    opened_at: datetime | None
    clicked_at: datetime | None
    complained_at: datetime | None
    unsubscribed_at: datetime | None


_read_tags = msgspec.json.Decoder(list[TagView]).decode
_read_metadata = msgspec.json.Decoder(dict[str, str]).decode


def email_view(mail: MailRecord, content: ContentView | msgspec.UnsetType = msgspec.UNSET) -> EmailView:
    first = mail.jobs[0]
    shown = addressing_from_json(first.addressing, first.to_address)
    statuses = {job.status for job in mail.jobs}
    return EmailView(
        object="email",
        id=first.message_id,
        status=first.status.lower() if len(statuses) == 1 else None,
        last_event=_last_event(first),
        stream=first.stream,
        sender=first.from_address,
        to=[format_mailbox(box) for box in shown.to],
        cc=[format_mailbox(box) for box in shown.cc],
        reply_to=[format_mailbox(box) for box in shown.reply_to],
        subject=first.subject,
        template=_template(first),
        tags=_tags(first),
        metadata={} if first.metadata is None else _read_metadata(first.metadata),
        created_at=first.created_at,
        due_at=first.due_at,
        scheduled_at=first.scheduled_at,
        expires_at=first.expires_at,
        recipients=[_recipient(job) for job in mail.jobs],
        timeline=[event_view(event) for event in mail.events],
        content=content,
    )


def email_entry(job: JobRecord) -> EmailEntry:
    status = job.status.lower()
    return EmailEntry(
        id=job.job_id,
        message_id=job.message_id,
        object="email",
        to=[job.to_address],
        sender=job.from_address,
        subject=job.subject,
        status=status,
        last_event=_last_event(job),
        stream=job.stream,
        template=_template(job),
        tags=_tags(job),
        created_at=job.created_at,
        due_at=job.due_at,
        scheduled_at=job.scheduled_at,
        sent_at=job.sent_at,
        opened_at=job.opened_at,
        clicked_at=job.clicked_at,
        complained_at=job.complained_at,
        unsubscribed_at=job.unsubscribed_at,
    )


def _template(job: JobRecord) -> TemplateChoiceView | None:
    return None if job.template_key is None else TemplateChoiceView(job.template_key, job.template_version)


def _tags(job: JobRecord) -> list[TagView]:
    return [] if job.tags is None else _read_tags(job.tags)


def _last_event(job: JobRecord) -> str:
    """Resend's word for the most telling thing that happened: a click says more than the delivery."""
    status = Status(job.status)
    if job.complained_at is not None:
        return "complained"
    if status is not Status.BOUNCED and job.clicked_at is not None:
        return "clicked"
    if status is not Status.BOUNCED and job.opened_at is not None:
        return "opened"
    return _word(status, job)


def _word(status: Status, job: JobRecord) -> str:
    match status:
        case Status.PENDING | Status.QUEUED:
            if job.attempt:
                return "delivery_delayed"
            return "queued" if job.scheduled_at is None else "scheduled"
        case Status.SENDING:
            return "queued"
        case Status.UNKNOWN:
            return "delivery_delayed"
        case Status.SENT:
            return "sent"
        case Status.DELIVERED:
            return "delivered"
        case Status.BOUNCED:
            return "bounced"
        case Status.FAILED | Status.EXPIRED:
            return "failed"
        case Status.SUPPRESSED:
            return "suppressed"
        case Status.CANCELLED:
            return "canceled"
        case _:
            assert_never(status)


def _recipient(job: JobRecord) -> RecipientView:
    return RecipientView(
        id=job.job_id,
        email=job.to_address,
        status=job.status.lower(),
        sent_at=job.sent_at,
        opened_at=job.opened_at,
        clicked_at=job.clicked_at,
        complained_at=job.complained_at,
        unsubscribed_at=job.unsubscribed_at,
        relay=job.relay,
        provider_message_id=job.provider_message_id,
    )


def event_view(event: EventRecord) -> EventView:
    return EventView(
        id=event.event_id,
        recipient_id=event.job_id,
        type=event.type,
        origin=event.origin,
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        attempt=event.attempt,
        reason=event.reason or "",
        bounce_class=event.bounce_class,
        relay=event.relay,
        provider_message_id=event.provider_message_id,
        smtp_code=event.smtp_code,
        enhanced_code=event.enhanced_code,
        diagnostic=event.diagnostic or "",
        url=event.url,
        user_agent=event.user_agent,
        machine=event.machine,
        template_version=event.template_version,
    )
