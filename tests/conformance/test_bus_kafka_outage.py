"""The broker dies and comes back: what was promised is there, what was not was refused, everybody goes on."""

import random
from collections.abc import AsyncIterator

import pytest
from event_log_laws import callback, drained

from posthouse.bus.kafka.callbacks import KafkaCallbacks, KafkaSink
from posthouse.bus.kafka.producer import Producer
from posthouse.bus.kafka.topics import PROCESSOR
from posthouse.bus.postgres import PostgresCallbacks
from posthouse.cli.broker.server import Broker
from posthouse.config import KafkaSettings
from posthouse.domain.errors import NotNow
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


async def test_a_broker_that_is_killed_loses_nothing_it_promised(
    log: KafkaCallbacks, kafka_broker: Broker
) -> None:
    await log.append([callback(n) for n in range(10)])
    assert await drained(log, 3) == [0, 1, 2]
    kafka_broker.kill()

    with pytest.raises(NotNow, match="Kafka"):  # which the receiver answers with 503
        await log.append([callback(99)])

    kafka_broker.start()
    await log.append([callback(10)])
    assert sorted(await drained(log, 8)) == list(range(3, 11))
