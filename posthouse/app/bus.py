"""Which bus a house is on: Kafka where it is configured, else the tables of its PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from posthouse.app.house import House
from posthouse.bus.kafka.callbacks import KafkaCallbacks, KafkaSink
from posthouse.bus.kafka.producer import Producer
from posthouse.bus.kafka.topics import PROCESSOR
from posthouse.bus.port import CallbackSink, EventLog
from posthouse.bus.postgres import PostgresCallbacks


@asynccontextmanager
async def callback_sink(house: House, inbox: PostgresCallbacks) -> AsyncIterator[CallbackSink]:
    """Where the receiver leaves relay callbacks."""
    kafka = house.settings.kafka
    if not kafka.bootstrap_servers:
        yield inbox
        return
    async with Producer(kafka).running() as producer:
        yield KafkaSink(kafka, producer, inbox)


@asynccontextmanager
async def callback_log(house: House, inbox: PostgresCallbacks) -> AsyncIterator[EventLog]:
    """Where a processor reads them, as one of its group."""
    kafka = house.settings.kafka
    if not kafka.bootstrap_servers:
        yield inbox
        return
    async with Producer(kafka).running() as producer:
        callbacks = KafkaCallbacks(kafka, producer, KafkaSink(kafka, producer, inbox), inbox)
        async with callbacks.reading(kafka, PROCESSOR) as log:
            yield log
