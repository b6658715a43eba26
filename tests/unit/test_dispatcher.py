"""When a dispatch is over, and how much may be queued."""

import pytest

from posthouse.bus.budget import LEAST, Budget
from posthouse.bus.dispatcher import Span, TopicState, is_over
from posthouse.clock import ManualClock
from posthouse.storage.dispatch import Flow, Place

PLACE = Place("topic", {0: 9, 1: 4})


@pytest.mark.parametrize(
    ("state", "over"),
    [
        (TopicState("topic", {0: Span(0, 20, None), 1: Span(0, 20, None)}), False),
        (TopicState("topic", {0: Span(0, 20, 9), 1: Span(0, 20, 20)}), False),
        (TopicState("topic", {0: Span(0, 20, 10), 1: Span(0, 20, 4)}), False),
        (TopicState("topic", {0: Span(0, 20, 10), 1: Span(0, 20, 5)}), True),
        (TopicState("other", {0: Span(0, 20, 0), 1: Span(0, 20, 0)}), True),
        # Retention took the records before anybody read them, or a broker came back without them.
        (TopicState("topic", {0: Span(10, 20, 3), 1: Span(5, 20, 3)}), True),
        (TopicState("topic", {0: Span(0, 9, 3), 1: Span(0, 4, 3)}), True),
        (TopicState("topic", {0: Span(0, 20, 10)}), True),
        # What the group remembers is of another life of the topic: this record is still to be read.
        (TopicState("topic", {0: Span(0, 10, 500), 1: Span(0, 20, 5)}), False),
    ],
)
def test_a_dispatch_is_over_when_no_record_of_it_waits(state: TopicState, over: bool) -> None:
    assert is_over(PLACE, state) is over


def test_workers_that_show_no_pace_are_given_the_least() -> None:
    budget = Budget(ManualClock())
    assert budget.room == 0
    budget.learn(Flow(queued=0, taken=0))
    assert budget.room == LEAST
    budget.spend(LEAST - 1)
    assert budget.room == 1
    budget.learn(Flow(queued=LEAST, taken=0))
    assert budget.room == 0


def test_thirty_seconds_of_the_measured_pace_may_be_queued() -> None:
    clock = ManualClock()
    budget = Budget(clock)
    for second in range(100):
        budget.learn(Flow(queued=500, taken=second * 200))
        clock.advance(1.0)
    assert budget.room == pytest.approx(30 * 200 - 500, abs=200)


def test_workers_that_stand_still_lose_their_budget_in_half_a_minute() -> None:
    clock = ManualClock()
    budget = Budget(clock)
    budget.learn(Flow(queued=0, taken=0))
    clock.advance(1.0)
    budget.learn(Flow(queued=20_000, taken=50_000))
    assert budget.room == 30_000
    for _ in range(31):
        clock.advance(1.0)
        budget.learn(Flow(queued=20_000, taken=50_000))
    assert budget.room == 0


def test_books_that_dropped_a_day_are_no_pace() -> None:
    clock = ManualClock()
    budget = Budget(clock)
    budget.learn(Flow(queued=0, taken=90_000))
    clock.advance(1.0)
    budget.learn(Flow(queued=0, taken=10_000))
    assert budget.room == LEAST
    clock.advance(1.0)
    budget.learn(Flow(queued=0, taken=14_000))
    clock.advance(1.0)
    budget.learn(Flow(queued=0, taken=16_000))
    assert budget.room == 2_000
