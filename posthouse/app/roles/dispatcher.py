"""The dispatcher: the role that only a house on Kafka has."""

import asyncio
import secrets

from posthouse.app.house import House, open_house
from posthouse.app.probes import serve_ops
from posthouse.app.role import Part
from posthouse.bus.dispatcher import Dispatcher
from posthouse.bus.kafka.job_topic import KafkaJobTopic
from posthouse.bus.kafka.producer import Producer
from posthouse.bus.postgres import jobs_channel
from posthouse.config import Settings
from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RANDOM_BITS, DispatchId, uuid7
from posthouse.domain.stream import Stream


async def run(settings: Settings, part: Part, stop: asyncio.Event) -> None:
    """Move due jobs of its stream, or of both, to their topics until told to stop. Raises Misconfigured."""
    if not settings.kafka.bootstrap_servers:
        raise Misconfigured(
            "A dispatcher is for a house on Kafka, and none is configured: set KAFKA_BOOTSTRAP_SERVERS, or "
            "bootstrap_servers in [kafka]. Without Kafka the workers take their jobs from the table.",
            pointer="/kafka/bootstrap_servers",
        )
    async with (
        open_house(settings) as house,
        Producer(settings.kafka).running() as producer,
        asyncio.TaskGroup() as group,
    ):
        streams = list(Stream) if part.stream is None else [part.stream]
        dispatchers = [_dispatcher(house, stream, producer) for stream in streams]

        def trouble() -> list[str]:
            return [one.trouble for one in dispatchers if one.trouble is not None]

        probes = group.create_task(serve_ops(house, settings.house.dispatcher_port, trouble))
        await asyncio.wait([group.create_task(one.run(stop)) for one in dispatchers])
        probes.cancel()


def _dispatcher(house: House, stream: Stream, producer: Producer) -> Dispatcher:
    def new_id() -> DispatchId:
        milliseconds = int(house.clock.now().timestamp() * 1000)
        return DispatchId(uuid7(milliseconds, secrets.randbits(RANDOM_BITS)))

    return Dispatcher(
        house.queue,
        stream,
        KafkaJobTopic(house.settings.kafka, producer, stream),
        house.listener.subscribe(jobs_channel(stream)),
        house.clock,
        house.rng,
        new_id,
        house.metrics,
    )
