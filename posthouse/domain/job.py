"""A job is one recipient of one message: what is stored of it and what a worker holds of it."""

from datetime import datetime
from enum import StrEnum
from typing import NewType

import msgspec

from posthouse.domain.ids import AddressKey, CampaignId, ContentId, JobId, MessageId, TemplateId
from posthouse.domain.message import Addressing
from posthouse.domain.stream import Stream

JsonObject = NewType("JsonObject", bytes)  # a JSON object as UTF-8 text, not parsed until it is needed


class Status(StrEnum):
    """Where a job stands. Opened, clicked, complained and unsubscribed are marks, not states."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    SENDING = "SENDING"
    UNKNOWN = "UNKNOWN"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    BOUNCED = "BOUNCED"
    FAILED = "FAILED"
    SUPPRESSED = "SUPPRESSED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


#: States in which Posthouse still owes the mail something; all others are ends.
OPEN_STATES = frozenset({Status.PENDING, Status.QUEUED, Status.SENDING, Status.UNKNOWN})


class Held(msgspec.Struct, frozen=True, gc=False):
    """What a worker must show to record a result: the fence (docs/adr/0005)."""

    job_id: JobId
    attempt: int


class ClaimedJob(msgspec.Struct, frozen=True):
    """A job in SENDING, held by the worker that claimed it under this attempt."""

    job_id: JobId
    message_id: MessageId
    stream: Stream
    attempt: int
    to_address: str
    address_key: AddressKey
    from_address: str
    subject: str | None
    template_id: TemplateId | None
    template_version: (
        int | None
    )  # the one it names, or the newest published when it was claimed; None: no such
    template_vars: JsonObject | None
    content_id: ContentId | None
    addressing: Addressing
    campaign_id: CampaignId | None
    tracked: bool
    due_at: datetime
    expires_at: datetime
    deaths: int  # workers that died holding it; 2 send it to quarantine
    extra_headers: tuple[tuple[str, str], ...] = ()
    sandbox: bool = False  # it never reaches a relay

    @property
    def held(self) -> Held:
        return Held(self.job_id, self.attempt)
