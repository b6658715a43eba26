"""How an account's rate is kept: turns, bursts, and giving way to others that share it."""

import pytest

from posthouse.relays.ses.pace import MOST_WAIT, Pace


def taken(pace: Pace, now: float) -> int:
    """How many turns there are at one moment, also those that are waited for."""
    turns = 0
    while pace.turn(now) <= MOST_WAIT:
        turns += 1
        assert turns < 10_000
    return turns


def test_without_a_known_rate_nobody_waits() -> None:
    pace = Pace()
    assert [pace.turn(5.0) for _ in range(50)] == [0.0] * 50
    pace.allow(-1.0)  # what SES says of an account without limit
    assert pace.turn(5.0) == 0.0
    pace.refused(5.0)
    pace.took()
    assert pace.turn(5.0) == 0.0


@pytest.mark.parametrize("rate", [1.0, 14.0, 500.0])
def test_over_ten_seconds_the_rate_is_kept(rate: float) -> None:
    pace = Pace()
    pace.allow(rate)
    total = sum(taken(pace, 100.0 + tick / 10) for tick in range(100))
    assert rate * 9.9 <= total <= rate * 11 + 2


def test_a_turn_that_was_not_taken_leaves_the_next_where_it_was() -> None:
    pace = Pace()
    pace.allow(1.0)
    taken(pace, 10.0)
    first = pace.turn(10.0)
    assert first > MOST_WAIT
    assert pace.turn(10.0) == first
    assert pace.turn(10.0 + first) == 0.0


def test_refusals_halve_once_a_second_and_acceptances_win_it_back() -> None:
    pace = Pace()
    pace.allow(100.0)
    for _ in range(20):
        pace.refused(50.0)
    assert taken(pace, 60.0) == pytest.approx(50, abs=2)
    for _ in range(60):
        pace.took()
    assert taken(pace, 70.0) == pytest.approx(100, abs=2)
    pace.allow(100.0)  # asked for again: what was learned stays
    for second in range(80, 120):
        pace.refused(second)
    assert taken(pace, 130.0) >= 1, "a worker among many keeps trying"
