"""bus.port.EventStream: the topic `email_events`, versioned JSON keyed by job id (docs/events/)."""

from collections.abc import Sequence
from typing import Final

import msgspec

from posthouse.bus.kafka.producer import Producer, Record
from posthouse.bus.kafka.topics import EMAIL_EVENTS, full_name
from posthouse.config import KafkaSettings
from posthouse.domain.outgoing import EmailEvent
from posthouse.trace import new_trace, traceparent_of

#: The contract that a record keeps, in its header `schema`. A change that an old reader could not live with
#: becomes another.
SCHEMA: Final = "email_event.v1"

_encode = msgspec.json.Encoder().encode


class KafkaEvents:
    """Publishes for one process."""

    def __init__(self, settings: KafkaSettings, producer: Producer) -> None:
        self._topic = full_name(settings, EMAIL_EVENTS)
        self._producer = producer

    async def publish(self, events: Sequence[EmailEvent]) -> None:
        await self._producer.send([record_of(self._topic, event) for event in events])


def record_of(topic: str, event: EmailEvent) -> Record:
    """Its headers are for those who choose by them without reading the value."""
    headers = [
        ("schema", SCHEMA.encode("ascii")),
        ("type", event.type.encode("ascii")),
        ("event_id", str(event.event_id).encode("ascii")),
        ("traceparent", traceparent_of(new_trace()).encode("ascii")),
    ]
    return Record(topic, _encode(event), key=str(event.job_id).encode("ascii"), headers=headers)
