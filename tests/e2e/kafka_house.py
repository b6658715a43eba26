"""A house under test on Kafka: a broker of its own, which can be killed, and eyes for its topics."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient
from house_parts import until
from house_under_test import House, running_house_under_test

from posthouse.bus.kafka import topics
from posthouse.bus.kafka.standing import GroupInTopic
from posthouse.bus.kafka.topics import PROCESSOR, RELAY_EVENTS, jobs_of, workers_of
from posthouse.cli.broker.server import Broker
from posthouse.config import KafkaSettings
from posthouse.domain.errors import NotNow
from posthouse.domain.stream import Stream

_TABLE = """
[kafka]
bootstrap_servers = "{servers}"
partitions = 6
replication_factor = 1
min_insync_replicas = 1
session_timeout = "3s"
max_poll_interval = "6s"
"""


@dataclass(frozen=True, slots=True)
class KafkaHouse:
    house: House
    broker: Broker
    settings: KafkaSettings

    async def broker_back(self) -> None:
        await asyncio.to_thread(self.broker.start)

    async def delete_job_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap_servers, "log_level": 0})
        for deleted in admin.delete_topics([jobs_of(stream) for stream in Stream]).values():
            await asyncio.wrap_future(deleted)

    async def make_topics(self) -> None:
        """A topic that is being deleted keeps its name for a moment."""

        async def made() -> bool:
            await asyncio.to_thread(topics.create, self.settings)
            seen = await asyncio.to_thread(topics.look, self.settings)
            return all(one.found is not None for one in seen)

        await until("the topics are there", made)

    async def lag(self, topic: str, group: str) -> int:
        """Records of a topic that its group has not done with. Raises NotNow."""
        state = await asyncio.to_thread(GroupInTopic(self.settings, topic, group).look)
        return sum(s.high - max(s.low, s.committed or 0) for s in state.spans.values())

    async def unread_jobs(self, stream: Stream) -> int:
        return await self.lag(jobs_of(stream), workers_of(stream))


@asynccontextmanager
async def running_kafka_house() -> AsyncIterator[KafkaHouse]:
    """The broker is started, and its topics made, before the house."""
    with tempfile.TemporaryDirectory(prefix="posthouse-kafka-") as folder:
        broker = Broker(Path(folder) / "kafka", os.environ)
        broker.start()
        try:
            async with house_on(broker) as running:
                yield running
        finally:
            broker.stop()


@asynccontextmanager
async def house_on(broker: Broker) -> AsyncIterator[KafkaHouse]:
    settings = KafkaSettings(
        bootstrap_servers=broker.bootstrap_servers,
        partitions=6,
        replication_factor=1,
        min_insync_replicas=1,
    )
    topics.create(settings)
    callbacks = GroupInTopic(settings, RELAY_EVENTS, PROCESSOR)

    async def calm() -> bool:
        try:
            state = await asyncio.to_thread(callbacks.look)
        except NotNow:
            return False
        return all((span.committed or 0) >= span.high for span in state.spans.values())

    table = _TABLE.format(servers=broker.bootstrap_servers)
    async with running_house_under_test(table, calm) as house:
        yield KafkaHouse(house, broker, settings)
