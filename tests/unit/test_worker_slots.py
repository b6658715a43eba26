"""When a worker claims, and how much: never more than is free, never dear claims without need."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.clock import ManualClock
from posthouse.worker.slots import CLAIM_DELAY, Slots

PATIENCE = 10.0


def full(total: int) -> tuple[Slots, ManualClock]:
    clock = ManualClock()
    slots = Slots(total, clock)
    slots.take(total)
    return slots, clock


async def claimable(slots: Slots) -> int:
    async with asyncio.timeout(PATIENCE):
        return await slots.claimable()


async def still_waits(slots: Slots) -> bool:
    """Whether it is not worth a claim now, however often the loop turns."""
    asking = asyncio.create_task(slots.claimable())
    done, _ = await asyncio.wait({asking}, timeout=2 * CLAIM_DELAY)
    asking.cancel()
    return not done


@pytest.mark.parametrize(
    ("total", "threshold"), [(1, 1), (2, 1), (4, 1), (8, 2), (128, 32), (400, 100), (1000, 100)]
)
async def test_a_quarter_of_the_slots_or_a_hundred_are_worth_a_claim_at_once(
    total: int, threshold: int
) -> None:
    slots, _ = full(total)
    if threshold > 1:
        slots.give_back(threshold - 1)
        assert await still_waits(slots)
        slots.give_back(1)
    else:
        slots.give_back(1)
    assert await claimable(slots) == threshold


async def test_all_slots_are_free_at_the_start() -> None:
    assert await claimable(Slots(128, ManualClock())) == 128


async def test_few_slots_are_claimed_five_milliseconds_after_the_first_became_free() -> None:
    slots, clock = full(128)
    slots.give_back(1)
    clock.advance(0.004)
    slots.give_back(2)
    assert await still_waits(slots)
    clock.advance(0.001)
    assert await claimable(slots) == 3


async def test_the_wait_begins_when_the_last_claim_left_some_free() -> None:
    clock = ManualClock()
    slots = Slots(128, clock)
    clock.advance(60.0)
    slots.take(120)
    assert await still_waits(slots)
    clock.advance(CLAIM_DELAY)
    assert await claimable(slots) == 8


async def test_a_full_worker_waits_however_long_until_a_slot_is_free() -> None:
    slots, clock = full(128)
    asking = asyncio.create_task(claimable(slots))
    clock.advance(3600.0)
    done, _ = await asyncio.wait({asking}, timeout=2 * CLAIM_DELAY)
    assert not done
    slots.give_back(40)
    assert await asking == 40


def test_a_slot_is_taken_once_and_given_back_once() -> None:
    slots, _ = full(4)
    with pytest.raises(ValueError, match="more than there are free"):
        slots.take(1)
    slots.give_back(4)
    with pytest.raises(ValueError, match="more slots than were taken"):
        slots.give_back(1)
    assert slots.used == 0


def test_a_worker_has_slots() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        Slots(0, ManualClock())


@given(total=st.integers(1, 300), turns=st.lists(st.floats(0.0, 1.0), max_size=40))
@settings(max_examples=50, deadline=None)
async def test_what_may_be_claimed_is_never_more_than_is_free(total: int, turns: list[float]) -> None:
    clock = ManualClock()
    slots = Slots(total, clock)
    for turn in turns:
        slots.give_back(int(turn * slots.used))
        clock.advance(CLAIM_DELAY)
        if slots.used == total:
            slots.give_back(1)
            clock.advance(CLAIM_DELAY)
        may = await claimable(slots)
        assert 0 < may <= total - slots.used
        slots.take(max(1, int(turn * may)))
