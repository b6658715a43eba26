"""The broker dies and comes back: what was promised is there, what was not was refused, everybody goes on."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from event_log_laws import callback, drained
from stored_jobs import PATIENCE

from posthouse.bus.dispatcher import TopicState
from posthouse.bus.kafka.callbacks import KafkaCallbacks, KafkaSink
from posthouse.bus.kafka.job_topic import KafkaJobTopic
from posthouse.bus.kafka.producer import Producer
from posthouse.bus.kafka.topics import PROCESSOR
from posthouse.bus.postgres import PostgresCallbacks
from posthouse.cli.broker.server import Broker
from posthouse.config import KafkaSettings
from posthouse.domain.errors import NotNow
from posthouse.domain.stream import Stream
from posthouse.storage.db import Database
from posthouse.storage.hints import Listener


@pytest.fixture
async def log(own_kafka: KafkaSettings, database: Database) -> AsyncIterator[KafkaCallbacks]:
    """One processor's log, which appends too."""
    async with (
        Listener(database.dsn, rng=random.Random(1)).running() as listener,
        Producer(own_kafka).running() as producer,
    ):
        inbox = PostgresCallbacks(database, listener, lambda _: None)
        callbacks = KafkaCallbacks(own_kafka, producer, KafkaSink(own_kafka, producer, inbox), inbox)
        async with callbacks.reading(own_kafka, PROCESSOR) as log:
            yield log


@pytest.fixture
async def topic(own_kafka: KafkaSettings) -> AsyncIterator[KafkaJobTopic]:
    """What the dispatcher sees."""
    async with Producer(own_kafka).running() as producer:
        yield KafkaJobTopic(own_kafka, producer, Stream.MARKETING)


async def test_a_broker_that_is_killed_loses_nothing_it_promised(
    log: KafkaCallbacks, topic: KafkaJobTopic, kafka_broker: Broker
) -> None:
    await log.append([callback(n) for n in range(10)])
    before = await topic.look()
    assert await drained(log, 3) == [0, 1, 2]
    kafka_broker.kill()

    # The receiver answers 503, the dispatcher waits; both go on asking all the while.
    refused = await asyncio.gather(log.append([callback(99)]), topic.look(), return_exceptions=True)
    assert [type(one) for one in refused] == [NotNow, NotNow]
    asking = asyncio.create_task(seen(topic))

    kafka_broker.launch()
    await asyncio.to_thread(kafka_broker.wait_until_ready)
    assert await asking == before
    await log.append([callback(10)])
    assert sorted(await drained(log, 8)) == list(range(3, 11))


async def seen(topic: KafkaJobTopic) -> TopicState:
    """Asks until there is an answer, as the dispatcher does."""
    async with asyncio.timeout(3 * PATIENCE):
        while True:
            with suppress(NotNow):
                return await topic.look()
            await asyncio.sleep(0.2)
