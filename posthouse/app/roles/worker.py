"""Takes one stream's jobs and hands them over."""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack

from posthouse.app.adapters import build_relays
from posthouse.app.bus import job_source
from posthouse.app.composer import build_composer
from posthouse.app.house import House, open_house
from posthouse.app.probes import serve_ops
from posthouse.app.role import Part, worker_stream
from posthouse.bus.port import JobSource
from posthouse.bus.postgres import PostgresCallbacks, PostgresHints
from posthouse.compose.mime import to_raw
from posthouse.config import Settings
from posthouse.delivery.router import Router
from posthouse.delivery.verdict import Backoff
from posthouse.domain.event import Event
from posthouse.domain.ids import RANDOM_BITS, InstanceId, uuid7
from posthouse.domain.stream import Stream
from posthouse.relays.sandbox import SandboxRelay
from posthouse.storage.background import in_background
from posthouse.worker.composing import Composing
from posthouse.worker.files import FILES_BYTES, Files, load_files
from posthouse.worker.handlers import Tools, handle
from posthouse.worker.lease import Lease, LeaseTerms
from posthouse.worker.loop import Worker
from posthouse.worker.recorder import Recorder
from posthouse.worker.slots import Slots


async def run(settings: Settings, part: Part, stop: asyncio.Event) -> None:
    """Work until told to stop, then drain: what relays were given is recorded."""
    stream = worker_stream(part.stream)
    async with open_house(settings) as house:
        instance = new_instance(house)
        slots = Slots(settings.streams[stream].slots, house.clock)
        port = settings.house.worker_ports[stream]
        async with job_source(house, stream, instance) as source:
            await work(house, source, stream, f"worker.{stream}", slots, instance, port, stop)


async def work(
    house: House,
    source: JobSource,
    stream: Stream,
    role: str,
    slots: Slots,
    instance: InstanceId,
    port: int,
    stop: asyncio.Event,
) -> None:
    """A worker with its lease, its recorder and its probes around it."""
    settings = house.settings
    lease = Lease(
        house.general,
        instance,
        LeaseTerms(settings.lease.beat_every, settings.lease.begin_within),
        house.clock,
    )

    async def record(events: Sequence[Event]) -> None:
        await house.record(events)

    async with AsyncExitStack() as stack:
        relays = build_relays(stream, settings, house.clock, house.rng)
        for relay in relays:
            stack.push_async_callback(relay.close)
        composer = build_composer(settings, house.keyring, house.clock)
        stack.callback(composer.close)
        recorder = Recorder(record)
        hints = PostgresHints(house.hinter)
        callbacks = PostgresCallbacks(house.general, house.listener, hints.callbacks_waiting)
        tools = Tools(
            source=source,
            compose=Composing(house.queue, composer, house.clock),
            files=Files(lambda ids: load_files(house.queue, ids), FILES_BYTES),
            to_raw=to_raw,
            router=Router(relays, house.clock, house.rng),
            sandbox=SandboxRelay(callbacks.append, house.clock),
            recorder=recorder,
            gate=lease.may_begin,
            clock=house.clock,
            rng=house.rng,
            backoff=Backoff(settings.retry.base, settings.retry.cap, settings.retry.longest_hint),
            metrics=house.metrics,
        )
        worker = Worker(source, tools.router, slots, lambda jobs, finished: handle(tools, jobs, finished))
        house.metrics.slots_used.labels(stream.value).set_function(lambda: slots.used)
        await lease.enlist(role, stream)
        ending = asyncio.Event()
        async with in_background(_keep(lease, ending), "lease"):
            async with asyncio.TaskGroup() as group:
                around = [
                    group.create_task(_pass_on(stop, ending)),
                    group.create_task(recorder.run()),
                    group.create_task(serve_ops(house, port)),
                ]
                await worker.run(ending)
                for task in around:
                    task.cancel()
            if worker.idle:
                await lease.retire()


async def _keep(lease: Lease, ending: asyncio.Event) -> None:
    """A worker without its lease drains before it ends: what relays have told it is recorded, late or not."""
    try:
        await lease.keep()
    finally:
        ending.set()


async def _pass_on(told: asyncio.Event, ending: asyncio.Event) -> None:
    await told.wait()
    ending.set()


def new_instance(house: House) -> InstanceId:
    return InstanceId(uuid7(int(house.clock.now().timestamp() * 1000), secrets.randbits(RANDOM_BITS)))
