"""The message of a test: like a true one, about a mail that never was."""

from datetime import datetime
from typing import Final
from uuid import UUID

from posthouse.domain.event import BounceClass
from posthouse.domain.stream import Stream
from posthouse.domain.webhook import NAMES, EventName, Interest
from posthouse.outhooks.payload import body_of
from posthouse.storage.webhook_outbox import WaitingEvent

_NOBODY: Final = UUID(int=0)


def sample_body(name: EventName, interest: Interest, now: datetime) -> str:
    """Ids are all zeros, so that no application takes it for one of its mails."""
    (kind,) = {kind for kind, names in NAMES.items() if name in names and kind.value != "rejected"}
    domain = min(interest.from_domains, default="shop.example")
    return body_of(
        name,
        WaitingEvent(
            job_id=_NOBODY,
            event_id=_NOBODY,
            message_id=_NOBODY,
            stream=interest.stream or Stream.TRANSACTIONAL,
            from_address=f"Posthouse test <test@{domain}>",
            to_address="test@recipient.example",
            subject="A test of this webhook",
            tags=b'[{"name":"test","value":"true"}]',
            metadata=None,
            created_at=now,
            scheduled_at=now if name is EventName.SCHEDULED else None,
            sandbox=interest.sandbox,
            type=kind,
            occurred_at=now,
            attempt=1,
            bounce_class=BounceClass.HARD if name is EventName.BOUNCED else None,
            reason="a test",
            relay=None,
            provider_message_id=None,
            smtp_code=550 if name is EventName.BOUNCED else None,
            enhanced_code="5.1.1" if name is EventName.BOUNCED else None,
            diagnostic=None,
            url="https://shop.example/a-link" if name is EventName.CLICKED else None,
            user_agent="Mozilla/5.0" if name in (EventName.OPENED, EventName.CLICKED) else None,
            machine=False,
        ),
    )
