"""An event as the event stream tells it. Its contract is docs/events/email_event.v1.json."""

from datetime import datetime
from typing import Literal

import msgspec

from posthouse.domain.event import BounceClass, EventType, Origin
from posthouse.domain.ids import CampaignId, EventId, JobId, MessageId, RelayAccount, TemplateKey
from posthouse.domain.stream import Stream


class EmailEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Every field stands in every event, null where it is unknown. Tags and metadata as they were given."""

    version: Literal[1] = 1
    event_id: EventId
    job_id: JobId
    message_id: MessageId
    type: EventType
    occurred_at: datetime
    received_at: datetime
    attempt: int
    origin: Origin
    stream: Stream
    recipient: str
    recipient_domain: str
    campaign_id: CampaignId | None
    template: TemplateKey | None
    template_version: int | None
    tags: msgspec.Raw
    metadata: msgspec.Raw
    sandbox: bool
    relay: RelayAccount | None
    provider_message_id: str | None
    bounce_class: BounceClass | None
    smtp_code: int | None
    enhanced_code: str | None
    diagnostic: str | None
    reason: str | None
    url: str | None
    user_agent: str | None
    machine: bool
