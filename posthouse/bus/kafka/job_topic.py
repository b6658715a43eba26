"""bus.dispatcher.JobTopic on a Kafka cluster."""

import asyncio
from collections.abc import Sequence

from posthouse.bus.dispatcher import TopicState
from posthouse.bus.kafka.job_records import record_of
from posthouse.bus.kafka.producer import Producer
from posthouse.bus.kafka.standing import GroupInTopic
from posthouse.bus.kafka.topics import full_name, jobs_of, workers_of
from posthouse.config import KafkaSettings
from posthouse.domain.job import Held
from posthouse.domain.stream import Stream
from posthouse.storage.dispatch import Place
from posthouse.trace import new_trace, traceparent_of


class KafkaJobTopic:
    """One stream's topic, and where the stream's workers stand in it."""

    def __init__(self, settings: KafkaSettings, producer: Producer, stream: Stream) -> None:
        """Raises Misconfigured."""
        self._topic = full_name(settings, jobs_of(stream))
        self._producer = producer
        self._workers = GroupInTopic(settings, jobs_of(stream), workers_of(stream))
        self._looking = asyncio.Lock()
        self._topic_id: str | None = None

    async def produce(self, jobs: Sequence[Held]) -> Place:
        # Read before: records that a topic takes with it when it goes must not be noted under its successor.
        topic_id = self._topic_id or (await self.look()).topic_id
        traceparent = traceparent_of(new_trace()).encode("ascii")
        last = await self._producer.send([record_of(self._topic, job, traceparent) for job in jobs])
        return Place(topic_id, {partition: offset for (_, partition), offset in last.items()})

    async def look(self) -> TopicState:
        async with self._looking:  # the sweep looks, and whoever is not sure that the topic takes records
            state = await asyncio.to_thread(self._workers.look)
        self._topic_id = state.topic_id
        return state
