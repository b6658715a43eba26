"""Identifiers. Jobs, messages and contents are UUIDv7 whose millisecond names their day partition."""

from datetime import UTC, date, datetime, timedelta
from hashlib import sha1
from typing import NewType
from uuid import UUID

JobId = NewType("JobId", UUID)
MessageId = NewType("MessageId", UUID)  # the first recipient's job id; joins To, Cc and Bcc of one post
ContentId = NewType("ContentId", UUID)
AttachmentId = NewType("AttachmentId", UUID)
EventId = NewType("EventId", UUID)
CampaignId = NewType("CampaignId", UUID)
InstanceId = NewType("InstanceId", UUID)  # one running process; new at each start
DispatchId = NewType("DispatchId", UUID)  # jobs that were queued together for a topic
ApiKeyId = NewType("ApiKeyId", UUID)
EndpointId = NewType("EndpointId", UUID)  # an application's webhook
NoticeId = NewType("NoticeId", UUID)  # one message to endpoints; UUIDv7, so ids are in the order of time
TemplateId = NewType("TemplateId", int)
TemplateKey = NewType("TemplateKey", str)
AddressKey = NewType("AddressKey", str)  # normalised address: what suppressions compare by
RelayAccount = NewType("RelayAccount", str)  # name of a [relays.*] table in the configuration
LinkHash = NewType("LinkHash", bytes)

_EVENT_NAMESPACE = UUID("6f0b1f3e-53a1-5d5c-9c0a-3d1f6f6b7a11").bytes
_VERSION_5 = 0x5 << 76 | 0x2 << 62
_UNNAMED_BITS = (1 << 128) - 1 ^ (0xF << 76 | 0x3 << 62)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RANDOM_BITS = 74  # what a UUIDv7 leaves beside time, version and variant (RFC 9562 section 5.7)


def uuid7(unix_ms: int, random: int) -> UUID:
    """The UUIDv7 of a millisecond and `RANDOM_BITS` bits of randomness (RFC 9562 section 5.7)."""
    high = (unix_ms & 0xFFFF_FFFF_FFFF) << 80
    rand_a = ((random >> 62) & 0xFFF) << 64
    rand_b = random & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=high | 0x7 << 76 | rand_a | 0x2 << 62 | rand_b)


def unix_ms_of(value: UUID) -> int:
    """Milliseconds since 1970 UTC that a UUIDv7 carries."""
    return value.int >> 80


def day_of(value: UUID) -> date:
    """The UTC day a UUIDv7 belongs to, so the partition its row lives in."""
    return (_EPOCH + timedelta(milliseconds=unix_ms_of(value))).date()


def first_of_day(day: date) -> UUID:
    """The smallest value of a day: the lower bound of its partition. Not a valid UUIDv7, only a bound."""
    return UUID(int=_day_ms(day) << 80)


def first_of_moment(moment: datetime) -> UUID:
    """The smallest value of the first whole millisecond at or after a moment. Only a bound, as above."""
    return UUID(int=max(0, -((_EPOCH - moment) // timedelta(milliseconds=1))) << 80)


def content_id(day: date, digest: int) -> ContentId:
    """A content's id is its keyed digest within its day, so equal bodies meet in one row."""
    return ContentId(uuid7(_day_ms(day), digest & ((1 << RANDOM_BITS) - 1)))


def attachment_id(day: date, digest: int) -> AttachmentId:
    """As a content's: equal files of a day meet in one row."""
    return AttachmentId(uuid7(_day_ms(day), digest & ((1 << RANDOM_BITS) - 1)))


def own_event_id(job_id: JobId, attempt: int, name: str) -> EventId:
    """Our own events have the same id whenever they are recorded again, so recording can be replayed."""
    return _event_id(f"{job_id.int:x}:{attempt}:{name}")


def foreign_event_id(relay: str, provider_event_id: str) -> EventId:
    """A relay's event keeps one id however often the relay repeats it."""
    return _event_id(f"{relay}:{provider_event_id}")


def _event_id(name: str) -> EventId:
    """The UUIDv5 of a name (RFC 9562 section 5.5): uuid.uuid5 takes twice as long, once for each event."""
    digest = sha1(_EVENT_NAMESPACE + name.encode(), usedforsecurity=False).digest()
    return EventId(UUID(int=int.from_bytes(digest[:16]) & _UNNAMED_BITS | _VERSION_5))


def _day_ms(day: date) -> int:
    return int((datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH).total_seconds()) * 1000
