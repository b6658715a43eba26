"""What comes back from relays, dead workers, and the chores of the house."""

import asyncio
from contextlib import AsyncExitStack

from posthouse.app import maintenance
from posthouse.app.adapters import build_inquirers
from posthouse.app.bus import processor_bus
from posthouse.app.callbacks import pull_all
from posthouse.app.doubts import asking, doubt_rules
from posthouse.app.house import open_house
from posthouse.app.inbox import build_inbox_readers
from posthouse.app.outhooks import tell_endpoints
from posthouse.app.probes import serve_ops
from posthouse.app.role import Part
from posthouse.bus.postgres import PostgresCallbacks
from posthouse.config import Settings
from posthouse.ingest.normalize import Normalized, Refused, normalize
from posthouse.relays.base import RawCallback
from posthouse.worker import processor
from posthouse.worker.chores import do_chores
from posthouse.worker.poison import PoisonLimit
from posthouse.worker.sweeping import ask, sweep
from posthouse.worker.unplaced import suppress_unplaced


async def run(settings: Settings, _part: Part, stop: asyncio.Event) -> None:
    """Work until told to stop."""
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(settings))
        readers = build_inbox_readers(settings, house.keyring, house.clock)
        inquirers = build_inquirers(settings, house.clock)
        for inquirer in inquirers.values():
            stack.push_async_callback(inquirer.close)
        asks, rules = asking(settings, inquirers, house.metrics), doubt_rules(settings)

        def read(callback: RawCallback) -> Normalized | Refused:
            reader = readers.get((callback.relay, callback.account))
            return (
                Refused("its relay account is not configured")
                if reader is None
                else normalize(callback, reader)
            )

        inbox = PostgresCallbacks(house.general, house.listener, lambda _: None)
        bus = await stack.enter_async_context(processor_bus(house, inbox))
        tools = processor.ProcessorTools(
            log=bus.log,
            normalize=read,
            record=house.record,
            suppress=lambda unplaced: suppress_unplaced(house.general, unplaced, house.clock.now()),
            poison=PoisonLimit(settings.house.poison_limit),
            clock=house.clock,
            metrics=house.metrics,
        )
        sink = tools.log
        async with asyncio.TaskGroup() as group:
            ops = group.create_task(serve_ops(house, settings.house.processor_port))
            pulls = group.create_task(pull_all(settings, house.clock, sink, house.metrics))
            group.create_task(processor.run(tools, stop))
            group.create_task(tell_endpoints(house, stop))
            group.create_task(do_chores([*maintenance.chores(house), *bus.chores], stop))
            group.create_task(
                sweep(
                    house.queue,
                    settings.lease.dead_after,
                    rules,
                    asks.streams,
                    house.policy,
                    house.clock,
                    stop,
                )
            )
            group.create_task(ask(house.queue, asks, rules, house.policy, house.clock, stop))
            await stop.wait()
            ops.cancel()
            pulls.cancel()
