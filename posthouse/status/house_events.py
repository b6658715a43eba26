"""Events that the house itself causes: under an id that is the same whenever they are recorded again."""

from datetime import datetime

from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import JobId, own_event_id


def house_event(job_id: JobId, attempt: int, kind: EventType, now: datetime, reason: str) -> Event:
    name = kind.value if kind is not EventType.DEFERRED else "settled"
    return Event(
        job_id=job_id,
        event_id=own_event_id(job_id, attempt, name),
        attempt=attempt,
        type=kind,
        origin=Origin.HOUSE,
        occurred_at=now,
        reason=reason,
        due_at=now,
    )
