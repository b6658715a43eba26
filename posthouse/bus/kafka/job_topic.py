"""bus.dispatcher.JobTopic on a Kafka cluster."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Final, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from posthouse.bus.dispatcher import Span, TopicState
from posthouse.bus.kafka.connection import connection, not_now
from posthouse.bus.kafka.job_records import record_of
from posthouse.bus.kafka.producer import Producer
from posthouse.bus.kafka.topics import full_name, jobs_of, workers_of
from posthouse.config import KafkaSettings
from posthouse.domain.job import Held
from posthouse.domain.stream import Stream
from posthouse.storage.dispatch import Place
from posthouse.trace import new_trace, traceparent_of

#: Seconds for one question: the sweep asks every second, and a dispatcher that is told to end waits for it.
_ANSWER_WITHIN: Final = 5.0

EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # not annotated there
LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]

T = TypeVar("T")


class KafkaJobTopic:
    """One stream's topic, and where the stream's workers stand in it."""

    def __init__(self, settings: KafkaSettings, producer: Producer, stream: Stream) -> None:
        """Raises Misconfigured."""
        self._topic = full_name(settings, jobs_of(stream))
        self._group = full_name(settings, workers_of(stream))
        self._producer = producer
        self._admin = AdminClient(connection(settings))
        self._topic_id: str | None = None

    async def produce(self, jobs: Sequence[Held]) -> Place:
        # Read before: records that a topic takes with it when it goes must not be noted under its successor.
        topic_id = self._topic_id or (await self.look()).topic_id
        traceparent = traceparent_of(new_trace()).encode("ascii")
        last = await self._producer.send([record_of(self._topic, job, traceparent) for job in jobs])
        return Place(topic_id, {partition: offset for (_, partition), offset in last.items()})

    async def look(self) -> TopicState:
        state = await asyncio.to_thread(self._look)
        self._topic_id = state.topic_id
        return state

    def _look(self) -> TopicState:
        try:
            description = _only(self._admin.describe_topics(TopicCollection([self._topic]), **_IN_TIME))
            partitions = [p.id for p in description.partitions]
            low = self._offsets(partitions, EARLIEST)
            high = self._offsets(partitions, LATEST)
            committed = self._committed()
        except KafkaException as error:
            raise not_now(error) from error
        return TopicState(
            str(description.topic_id), {p: Span(low[p], high[p], committed.get(p)) for p in partitions}
        )

    def _offsets(self, partitions: Sequence[int], spec: OffsetSpec) -> dict[int, int]:
        asked = {TopicPartition(self._topic, p): spec for p in partitions}
        answers = self._admin.list_offsets(asked, **_IN_TIME)
        return {one.partition: answer.result().offset for one, answer in answers.items()}

    def _committed(self) -> dict[int, int]:
        """By partition; those of which the group has never said anything are missing."""
        asked = [ConsumerGroupTopicPartitions(self._group)]
        found = _only(self._admin.list_consumer_group_offsets(asked, **_IN_TIME)).topic_partitions or []
        return {one.partition: one.offset for one in found if one.topic == self._topic and one.offset >= 0}


_IN_TIME: Final = {"request_timeout": _ANSWER_WITHIN}


def _only(answers: "Mapping[str, Future[T]]") -> T:
    (answer,) = answers.values()
    return answer.result()
