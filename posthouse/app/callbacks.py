"""How relays' callbacks come in: at the door, with what protocols ask for around it, and from queues."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from posthouse.app.adapters import build_readers, build_sources
from posthouse.bus.port import CallbackSink
from posthouse.clock import Clock
from posthouse.config import Settings
from posthouse.ingest.grouped import GroupedSink
from posthouse.ingest.receive import Receiver
from posthouse.relays.base import Handshaker
from posthouse.telemetry import Metrics
from posthouse.worker.puller import pull


@asynccontextmanager
async def open_door(settings: Settings, clock: Clock, sink: CallbackSink) -> AsyncIterator[Receiver]:
    """The receiver of every account's callbacks. Raises Misconfigured."""
    async with AsyncExitStack() as stack:
        readers = build_readers(settings, clock)
        for reader in readers.values():
            if isinstance(reader, Handshaker):
                stack.push_async_callback(reader.close)
        yield Receiver(readers, GroupedSink(sink))


async def pull_all(settings: Settings, clock: Clock, sink: CallbackSink, metrics: Metrics) -> None:
    """From every queue that the configuration names, until cancelled. Raises Misconfigured."""
    async with AsyncExitStack() as stack:
        sources = build_sources(settings, clock)
        for source in sources:
            stack.push_async_callback(source.close)
        async with asyncio.TaskGroup() as group:
            for source in sources:
                group.create_task(pull(source, sink, metrics))
