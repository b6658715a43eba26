"""Chores: what is done again and again beside the mail, each in its own time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from posthouse.clock import stopped_within
from posthouse.domain.errors import NotNow
from posthouse.telemetry import log


@dataclass(frozen=True, slots=True)
class Chore:
    """`work` is done after `first_after` seconds and then every `every` seconds. It may be done by any number
    of processes."""

    name: str
    every: float
    work: Callable[[], Awaitable[object]]
    first_after: float = 0.0


async def do_chores(chores: Sequence[Chore], stop: asyncio.Event) -> None:
    """Until `stop`. A database that is away puts a chore off; a bug in one ends them all, aloud."""
    async with asyncio.TaskGroup() as group:
        for chore in chores:
            group.create_task(_repeat(chore, stop))


async def _repeat(chore: Chore, stop: asyncio.Event) -> None:
    if chore.first_after:
        await stopped_within(stop, chore.first_after)
    while not stop.is_set():
        try:
            await chore.work()
        except NotNow as error:
            log.warning("chore put off", chore=chore.name, reason=error.message)
        await stopped_within(stop, chore.every)
