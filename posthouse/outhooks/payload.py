"""An event as applications are told of it: Resend's names and shape, our own fields beside them.

https://resend.com/docs/webhooks/event-types. One event is about one recipient, which theirs does not say.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from posthouse.domain.address import domain_of, parse_mailbox
from posthouse.domain.errors import InvalidAddress
from posthouse.domain.event import BounceClass
from posthouse.domain.webhook import NAMES, EventName, Tag
from posthouse.storage.webhook_outbox import WaitingEvent

#: Receivers are promised small messages (the specification says 20 KB); a server's reply may be a page.
_MAX_WORDS: Final = 1000

_NAMES_OF: Final[Mapping[str, Sequence[EventName]]] = {kind.value: names for kind, names in NAMES.items()}

_read_tags = msgspec.json.Decoder(list[Tag]).decode
_read_metadata = msgspec.json.Decoder(dict[str, str]).decode

#: SES's words for what a bounce is, which are Resend's too. A block is no fault of the address, but this mail
#: will not arrive.
_BOUNCE_TYPES: Final[Mapping[str, tuple[str, str]]] = {
    BounceClass.HARD: ("Permanent", "General"),
    BounceClass.SOFT: ("Transient", "General"),
    BounceClass.BLOCK: ("Permanent", "ContentRejected"),
}
_UNDETERMINED: Final = ("Undetermined", "Undetermined")


class Bounce(msgspec.Struct, frozen=True, rename="camel"):
    """`class` is ours: hard, soft or block; null where nobody knows."""

    type: str
    sub_type: str
    message: str
    bounce_class: str | None = msgspec.field(name="class")
    smtp_code: int | None = msgspec.field(name="smtp_code")
    enhanced_code: str | None = msgspec.field(name="enhanced_code")


class Opened(msgspec.Struct, frozen=True, rename="camel"):
    """`machine`: a proxy or scanner fetched the pixel, nobody need have read the mail."""

    timestamp: datetime
    user_agent: str | None
    machine: bool


class Clicked(msgspec.Struct, frozen=True, rename="camel"):
    """`machine`: a scanner followed the link."""

    link: str | None
    timestamp: datetime
    user_agent: str | None
    machine: bool


class Why(msgspec.Struct, frozen=True):
    """`reason` and `message` are the same words: Resend has the one for some events, the other for others."""

    reason: str
    message: str


class Data(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is about the event's own type is there for that type only."""

    email_id: UUID  # what POST /v1/emails answered: joins the recipients of one post
    recipient_id: UUID
    recipient: str
    sender: str = msgspec.field(name="from")
    to: list[str]
    subject: str | None
    created_at: datetime
    stream: str
    event_id: UUID
    attempt: int
    relay: str | None
    message_id: str | None  # the relay's own id of the mail
    tags: dict[str, str]
    metadata: dict[str, str]
    sandbox: bool
    scheduled_at: datetime | None = None
    bounce: Bounce | None = None
    open: Opened | None = None
    click: Clicked | None = None
    failed: Why | None = None
    suppressed: Why | None = None
    delayed: Why | None = None
    cancelled: Why | None = None
    expired: Why | None = None


class Message(msgspec.Struct, frozen=True):
    """`created_at`: when it happened, which may be long before it is told."""

    type: EventName
    created_at: datetime
    data: Data


def name_of(event: WaitingEvent) -> EventName | None:
    """None for what is told to nobody, as for a type that a newer version has stored."""
    names = _NAMES_OF.get(event.type, ())
    if len(names) > 1:
        return EventName.QUEUED if event.scheduled_at is None else EventName.SCHEDULED
    return names[0] if names else None


def tags_of(event: WaitingEvent) -> Sequence[Tag]:
    return [] if event.tags is None else _read_tags(event.tags)


def from_domain_of(event: WaitingEvent) -> str | None:
    """None where none can be read: one such mail must not hold up all that is told."""
    try:
        return domain_of(parse_mailbox(event.from_address))
    except InvalidAddress:
        return None


def body_of(name: EventName, event: WaitingEvent) -> str:
    """JSON, made once: each attempt signs the same bytes."""
    return msgspec.json.encode(Message(name, event.occurred_at, _data(name, event))).decode()


def _data(name: EventName, event: WaitingEvent) -> Data:
    why = _why(event)
    return Data(
        email_id=event.message_id,
        recipient_id=event.job_id,
        recipient=event.to_address,
        sender=event.from_address,
        to=[event.to_address],
        subject=event.subject,
        created_at=event.created_at,
        stream=event.stream,
        event_id=event.event_id,
        attempt=event.attempt,
        relay=event.relay,
        message_id=event.provider_message_id,
        tags={tag.name: tag.value for tag in tags_of(event)},
        metadata={} if event.metadata is None else _read_metadata(event.metadata),
        sandbox=event.sandbox,
        scheduled_at=event.scheduled_at,
        bounce=_bounce(event) if name is EventName.BOUNCED else None,
        open=Opened(event.occurred_at, event.user_agent, event.machine) if name is EventName.OPENED else None,
        click=_click(event) if name is EventName.CLICKED else None,
        failed=why if name is EventName.FAILED else None,
        suppressed=why if name is EventName.SUPPRESSED else None,
        delayed=why if name is EventName.DELIVERY_DELAYED else None,
        cancelled=why if name is EventName.CANCELLED else None,
        expired=why if name is EventName.EXPIRED else None,
    )


def _bounce(event: WaitingEvent) -> Bounce:
    kind, sub_type = _BOUNCE_TYPES.get(event.bounce_class or "", _UNDETERMINED)
    return Bounce(kind, sub_type, _words(event), event.bounce_class, event.smtp_code, event.enhanced_code)


def _click(event: WaitingEvent) -> Clicked:
    return Clicked(event.url, event.occurred_at, event.user_agent, event.machine)


def _why(event: WaitingEvent) -> Why:
    words = _words(event)
    return Why(words, words)


def _words(event: WaitingEvent) -> str:
    return (event.diagnostic or event.reason or "")[:_MAX_WORDS]
