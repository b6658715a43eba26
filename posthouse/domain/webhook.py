"""Webhooks to applications: what they are told of, and the standing of an endpoint and of a delivery."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

from posthouse.domain.event import EventType
from posthouse.domain.ids import EndpointId, NoticeId
from posthouse.domain.stream import Stream

_NOTICE_PREFIX: Final = "msg_"


class EventName(StrEnum):
    """What is told, by the names that Resend uses where it has one (resend.com/docs/webhooks/event-types)."""

    QUEUED = "email.queued"
    SCHEDULED = "email.scheduled"
    SENT = "email.sent"
    DELIVERED = "email.delivered"
    DELIVERY_DELAYED = "email.delivery_delayed"
    BOUNCED = "email.bounced"
    COMPLAINED = "email.complained"
    OPENED = "email.opened"
    CLICKED = "email.clicked"
    UNSUBSCRIBED = "email.unsubscribed"
    SUPPRESSED = "email.suppressed"
    FAILED = "email.failed"
    CANCELLED = "email.cancelled"
    EXPIRED = "email.expired"
    OUTCOME_UNKNOWN = "email.outcome_unknown"


#: What each type of event is told as. A relay's word that we do not know is told to nobody.
NAMES: Final = MappingProxyType(
    {
        EventType.ACCEPTED: (EventName.QUEUED, EventName.SCHEDULED),
        EventType.SENT: (EventName.SENT,),
        EventType.DELIVERED: (EventName.DELIVERED,),
        EventType.DEFERRED: (EventName.DELIVERY_DELAYED,),
        EventType.BOUNCED: (EventName.BOUNCED,),
        EventType.COMPLAINED: (EventName.COMPLAINED,),
        EventType.OPENED: (EventName.OPENED,),
        EventType.CLICKED: (EventName.CLICKED,),
        EventType.UNSUBSCRIBED: (EventName.UNSUBSCRIBED,),
        EventType.REJECTED: (EventName.FAILED,),
        EventType.SUPPRESSED: (EventName.SUPPRESSED,),
        EventType.CANCELLED: (EventName.CANCELLED,),
        EventType.EXPIRED: (EventName.EXPIRED,),
        EventType.OUTCOME_UNKNOWN: (EventName.OUTCOME_UNKNOWN,),
        EventType.FAILED: (EventName.FAILED,),
        EventType.UNKNOWN: (),
    }
)


def types_of(names: frozenset[EventName]) -> frozenset[EventType]:
    """The types of event that any of these names is told for."""
    return frozenset(kind for kind, told_as in NAMES.items() if not names.isdisjoint(told_as))


class EndpointStatus(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"


class DeliveryState(StrEnum):
    """A delivery that is being sent is somebody's until `due_at`; then it is lost, and sent again."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"  # the retry list is used up, or the endpoint is gone


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Interest:
    """Which events an endpoint is told. `stream` None: both; `from_domains` empty: all; a mail must have
    all the `tags`. `sandbox`: the mail of test keys, which live endpoints never hear of."""

    names: frozenset[EventName]
    stream: Stream | None = None
    from_domains: frozenset[str] = frozenset()
    tags: frozenset[Tag] = frozenset()
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An application's URL and how it stands. `failing_since` None: its last answer was a success."""

    endpoint_id: EndpointId
    url: str
    description: str
    interest: Interest
    created_at: datetime
    status: EndpointStatus = EndpointStatus.ENABLED
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    failing_since: datetime | None = None
    last_error: str | None = None
    previous_until: datetime | None = None  # the secret before the last rotation signs until then


def notice_name(notice: NoticeId) -> str:
    """The id of a message as receivers see it, the same in every attempt: they know repeats by it."""
    return f"{_NOTICE_PREFIX}{notice.hex}"


def parse_notice(text: str) -> NoticeId | None:
    """None for what is no such id."""
    if not text.startswith(_NOTICE_PREFIX):
        return None
    try:
        return NoticeId(UUID(text.removeprefix(_NOTICE_PREFIX)))
    except ValueError:
        return None
