"""Group commit of callbacks: together under load, alone without it, nobody answered before it is stored."""

import asyncio
from collections.abc import Sequence

import pytest

from posthouse.domain.errors import NotNow
from posthouse.domain.ids import RelayAccount
from posthouse.ingest.grouped import GROUPS_UNDER_WAY, MOST_CALLBACKS, GroupedSink
from posthouse.relays.base import RawCallback


class SlowLog:
    """Stores when it is let."""

    def __init__(self) -> None:
        self.groups: list[Sequence[RawCallback]] = []
        self.open = asyncio.Event()
        self.error: Exception | None = None

    async def append(self, callbacks: Sequence[RawCallback]) -> None:
        self.groups.append(callbacks)
        await self.open.wait()
        if self.error is not None:
            raise self.error


def callback(n: int, size: int = 1) -> RawCallback:
    return RawCallback("ses", RelayAccount("a"), {"n": str(n)}, bytes(size))


async def begun(sink: GroupedSink, count: int, size: int = 1) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(sink.append([callback(n, size)])) for n in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_one_alone_is_a_group_and_waits_until_it_is_stored() -> None:
    log = SlowLog()
    [task] = await begun(GroupedSink(log), 1)
    assert [len(group) for group in log.groups] == [1]
    assert not task.done()
    log.open.set()
    await task


async def test_who_comes_meanwhile_is_stored_together_and_each_once() -> None:
    log = SlowLog()
    sink = GroupedSink(log)
    first = await begun(sink, 1)
    rest = await begun(sink, 1200)
    log.open.set()
    await asyncio.gather(*first, *rest)
    sizes = [len(group) for group in log.groups]
    assert sum(sizes) == 1201
    assert max(sizes) == MOST_CALLBACKS
    assert len(sizes) <= GROUPS_UNDER_WAY + 3


async def test_large_ones_make_small_groups() -> None:
    log = SlowLog()
    sink = GroupedSink(log)
    first = await begun(sink, GROUPS_UNDER_WAY)
    rest = await begun(sink, 10, size=2_000_000)
    log.open.set()
    await asyncio.gather(*first, *rest)
    assert max(len(group) for group in log.groups) <= 10
    assert all(sum(len(one.body) for one in group) <= 8_000_000 for group in log.groups)


@pytest.mark.parametrize("error", [NotNow("the database is away"), RuntimeError("a defect")])
async def test_a_group_that_failed_is_stored_for_nobody_and_the_next_goes_on(error: Exception) -> None:
    log = SlowLog()
    log.error, caught = error, []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: caught.append(context))
    sink = GroupedSink(log)
    tasks = await begun(sink, 3)
    log.open.set()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, NotNow) for end in ended)
    log.error = None
    await sink.append([callback(9)])


async def test_a_relay_that_hangs_up_takes_nobody_along() -> None:
    log = SlowLog()
    gone, stays = await begun(sink := GroupedSink(log), 2)
    gone.cancel()
    log.open.set()
    await stays
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert sum(len(group) for group in log.groups) == 2
    assert sink is not None
