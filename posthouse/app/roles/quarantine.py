"""Takes, one at a time, the mails that workers died of."""

import asyncio

from posthouse.app.house import open_house
from posthouse.app.probes import NO_PORT
from posthouse.app.role import Part, worker_stream
from posthouse.app.roles.worker import new_instance, work
from posthouse.bus.postgres import QuarantinedJobs
from posthouse.config import Settings
from posthouse.worker.slots import Slots


async def run(settings: Settings, part: Part, stop: asyncio.Event) -> None:
    """Work until told to stop, or until there are none of them."""
    stream = worker_stream(part.stream)
    async with open_house(settings) as house:
        instance = new_instance(house)
        emptied = asyncio.Event()
        source = QuarantinedJobs(house.queue, stream, instance, emptied.set)
        slots = Slots(1, house.clock)
        ended = asyncio.create_task(_first(stop, emptied))
        finished = asyncio.Event()
        ended.add_done_callback(lambda _: finished.set())
        await work(house, source, stream, "quarantine", slots, instance, NO_PORT, finished)


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
