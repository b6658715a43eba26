"""The records of the job topics: which job, and the attempt it waits for. The row says everything else."""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from posthouse.bus.kafka.member import KafkaMessage
from posthouse.bus.kafka.producer import Record
from posthouse.domain.ids import JobId
from posthouse.domain.job import Held

#: PostgreSQL's integer.
_LARGEST: Final = 2**31 - 1


class _Wire(msgspec.Struct, frozen=True, gc=False):
    job_id: JobId
    attempt: Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Wire).decode


@dataclass(frozen=True, slots=True)
class JobRecord:
    """As it was read. `names` None: it cannot be read as a record of ours."""

    partition: int
    offset: int
    names: Held | None
    message: KafkaMessage


def record_of(topic: str, job: Held, traceparent: bytes) -> Record:
    """Keyed by the job, so that its records keep their order."""
    return Record(topic, _encode(job), key=job.job_id.bytes, headers=(("traceparent", traceparent),))


def read(message: KafkaMessage) -> JobRecord:
    """Total: foreign bytes are a record that names nothing."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    try:
        wire = _decode(message.value() or b"")
    except (msgspec.DecodeError, msgspec.ValidationError):
        return JobRecord(partition, offset, None, message)
    return JobRecord(partition, offset, Held(wire.job_id, wire.attempt), message)
