"""Which bus a house is on: Kafka where it is configured, else the tables of its PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from posthouse.app.house import House
from posthouse.bus.kafka.callbacks import KafkaCallbacks, KafkaSink
from posthouse.bus.kafka.events import KafkaEvents
from posthouse.bus.kafka.jobs import KafkaJobs
from posthouse.bus.kafka.poison import SetAside
from posthouse.bus.kafka.producer import Producer
from posthouse.bus.kafka.standing import behind
from posthouse.bus.kafka.topics import PROCESSOR, RELAY_EVENTS, jobs_of
from posthouse.bus.port import CallbackSink, EventLog, JobSource
from posthouse.bus.postgres import PostgresCallbacks, PostgresJobs
from posthouse.domain.ids import InstanceId
from posthouse.domain.stream import Stream
from posthouse.storage import outbox
from posthouse.telemetry import log
from posthouse.worker.chores import Chore
from posthouse.worker.outgoing import publish_events

#: Between two looks into the outbox. Seconds.
_PUBLISH_EVERY = 0.25
_MEASURE_EVERY = 15.0  # seconds


@dataclass(frozen=True, slots=True)
class ProcessorBus:
    """What a processor reads, and what it does beside for the bus."""

    log: EventLog
    chores: Sequence[Chore]


@asynccontextmanager
async def job_source(house: House, stream: Stream, worker: InstanceId) -> AsyncIterator[JobSource]:
    """Where a worker takes its jobs from."""
    kafka = house.settings.kafka
    if not kafka.bootstrap_servers:
        yield PostgresJobs(house.queue, house.listener, house.clock, stream, worker)
        return
    async with Producer(kafka).running() as producer:
        limit = house.settings.house.poison_limit
        set_aside = SetAside(kafka, jobs_of(stream), limit, producer, house.metrics)
        async with KafkaJobs(house.queue, kafka, set_aside, house.clock, stream, worker).running() as jobs:
            yield jobs


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
async def processor_bus(house: House, inbox: PostgresCallbacks) -> AsyncIterator[ProcessorBus]:
    """For one processor, as one of its group."""
    kafka = house.settings.kafka
    if not kafka.bootstrap_servers:
        await _warn_of_an_outbox(house)
        yield ProcessorBus(inbox, [])
        return
    async with Producer(kafka).running() as producer:
        stream = KafkaEvents(kafka, producer)

        async def publish() -> None:
            await publish_events(house.queue, stream)

        async def measure() -> None:
            waiting = await asyncio.to_thread(behind, kafka, RELAY_EVENTS, PROCESSOR)
            house.metrics.callbacks_behind.set(waiting)

        chores = [
            Chore("publish events", _PUBLISH_EVERY, publish),
            Chore("measure the bus", _MEASURE_EVERY, measure),
        ]
        callbacks = KafkaCallbacks(kafka, producer, KafkaSink(kafka, producer, inbox), inbox)
        async with callbacks.reading(kafka, PROCESSOR) as callback_log:
            yield ProcessorBus(callback_log, chores)


async def _warn_of_an_outbox(house: House) -> None:
    if await outbox.are_put_by(house.general):
        log.warning(
            "events are put by for Kafka, which is not configured: set [kafka], or end it with "
            "`posthouse topics leave`"
        )
