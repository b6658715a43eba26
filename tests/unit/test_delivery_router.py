"""Which relay takes the next mails: the first in the operator's order that is not paused."""

import random
from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.clock import ManualClock
from posthouse.delivery.router import CIRCUIT_OPEN, LOOK_AGAIN, PAUSE_BASE, PAUSE_CAP, SILENCE, Router
from posthouse.domain.event import BounceClass
from posthouse.domain.ids import RelayAccount
from posthouse.domain.message import RawMail, Rendered
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    Capabilities,
    Gate,
    NotBegun,
    NotTried,
    Outcome,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    Tell,
    TryLater,
    tell_nobody,
)


class NamedRelay:
    capabilities = Capabilities(
        takes_raw=True,
        max_message_bytes=1,
        batch=1,
        shows_other_recipients=True,
        keeps_message_id=True,
        reports_acceptance=True,
        can_be_asked=False,
        own_return_path=True,
    )

    def __init__(self, name: str) -> None:
        self.account = RelayAccount(name)

    async def send_many(
        self, mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell = tell_nobody
    ) -> list[Outcome]:
        raise AssertionError("a router hands nothing over")

    async def close(self) -> None: ...


FIRST, SECOND = NamedRelay("first"), NamedRelay("second")
TOO_FAST = TryLater("421 too fast", retry_after=7.0, slow_relay=True)
HARMLESS: Sequence[Outcome] = (
    Accepted("id", "250 ok"),
    RejectedRecipient(BounceClass.HARD, "550 5.1.1"),
    NotTried("422 inactive"),
    RejectedMessage("554"),
    TryLater("450 greylisted", retry_after=600.0),
    OutcomeUnknown("cut"),
    NotBegun("gate"),
)


def router(*relays: NamedRelay) -> tuple[Router, ManualClock]:
    clock = ManualClock()
    return Router(relays or (FIRST, SECOND), clock, random.Random(3)), clock


def test_the_first_takes_everything_while_it_is_well() -> None:
    chosen, _ = router()
    for outcome in HARMLESS:
        chosen.learn(FIRST, [outcome])
        assert chosen.choose() is FIRST
        assert chosen.resumes_in() == 0.0
    assert {type(outcome) for outcome in HARMLESS} == set(get_args(Outcome)) - {AccountTrouble}


def test_a_relay_that_asks_for_time_gets_it_and_the_next_one_takes_over() -> None:
    chosen, clock = router()
    chosen.learn(FIRST, [TOO_FAST, NotBegun("paused")])
    assert chosen.choose() is SECOND
    assert chosen.resumes_in() == 0.0
    clock.advance(6.9)
    assert chosen.choose() is SECOND
    clock.advance(0.1)
    assert chosen.choose() is FIRST


@pytest.mark.parametrize(
    "at_work", [Accepted("id", "250"), RejectedRecipient(BounceClass.HARD, "550"), NotTried("422")]
)
def test_a_relay_that_took_or_judged_a_mail_of_the_set_is_at_work(at_work: Outcome) -> None:
    chosen, _ = router()
    chosen.learn(FIRST, [TOO_FAST, at_work, TOO_FAST])
    assert chosen.choose() is FIRST
    chosen.learn(FIRST, [at_work, AccountTrouble("535")])
    assert chosen.choose() is SECOND


def test_while_all_are_paused_none_is_chosen_and_the_first_to_come_back_is_known() -> None:
    chosen, clock = router()
    chosen.learn(FIRST, [AccountTrouble("401")])
    chosen.learn(SECOND, [TOO_FAST])
    assert chosen.choose() is None
    assert chosen.resumes_in() == 7.0
    clock.advance(7.0)
    assert chosen.choose() is SECOND
    clock.advance(CIRCUIT_OPEN - 7.0)
    assert chosen.choose() is FIRST


def test_trouble_without_a_hint_pauses_longer_each_time_until_a_mail_is_taken() -> None:
    chosen, clock = router(FIRST)
    trouble = TryLater("503", slow_relay=True)

    def longest_of(strikes: int) -> float:
        pauses = []
        for _ in range(strikes):
            chosen.learn(FIRST, [trouble])
            pauses.append(chosen.resumes_in())
            clock.advance(chosen.resumes_in())
        assert all(PAUSE_BASE <= pause <= PAUSE_CAP for pause in pauses)
        return max(pauses)

    assert longest_of(1) == PAUSE_BASE
    assert longest_of(20) > 10 * PAUSE_BASE
    chosen.learn(FIRST, [Accepted("id", "250")])
    assert longest_of(1) == PAUSE_BASE


def test_no_hint_is_too_long_or_too_strange() -> None:
    for hint in (1e18, float("inf")):
        chosen, _ = router(FIRST)
        chosen.learn(FIRST, [TryLater("429", retry_after=hint, slow_relay=True)])
        assert chosen.resumes_in() == PAUSE_CAP
    for hint in (0.0, -5.0, float("nan")):
        chosen, _ = router(FIRST)
        chosen.learn(FIRST, [TryLater("429", retry_after=hint, slow_relay=True)])
        assert 0.0 <= chosen.resumes_in() <= PAUSE_CAP


def test_a_stream_has_a_relay() -> None:
    with pytest.raises(ValueError, match="at least one relay"):
        Router([], ManualClock(), random.Random(1))


@given(st.lists(st.sampled_from([*HARMLESS, TOO_FAST, AccountTrouble("401")]), max_size=30))
def test_every_pause_ends(outcomes: list[Outcome]) -> None:
    chosen, clock = router()
    for n, outcome in enumerate(outcomes):
        chosen.learn((FIRST, SECOND)[n % 2], [outcome])
        assert (chosen.choose() is None) == (chosen.resumes_in() > 0.0)
    clock.advance(max(CIRCUIT_OPEN, PAUSE_CAP))
    assert chosen.choose() is FIRST


def test_a_used_up_rate_pauses_for_as_long_as_it_says() -> None:
    clock = ManualClock()
    router = Router([FIRST], clock, random.Random(1))
    router.learn(FIRST, [Accepted("id", "250 ok"), NotBegun("rate", resumes_in=1.5), NotBegun("gate")])
    assert router.choose() is None
    assert router.resumes_in() == pytest.approx(1.5)
    clock.advance(1.5)
    assert router.choose() is FIRST


# ---- relays that say nothing -------------------------------------------------------------------------------

TAKEN = Accepted("id", "250 ok")
NO_CONNECTION = NotBegun("no connection became free in time", slow_relay=True)


def test_a_silent_relay_gets_no_more_until_it_speaks() -> None:
    chosen, clock = router()
    chosen.given(FIRST, 16)
    clock.advance(SILENCE / 2)
    assert chosen.choose() is FIRST
    chosen.given(FIRST, 16)
    clock.advance(SILENCE / 2)
    assert chosen.choose() is SECOND
    assert chosen.resumes_in() == 0.0
    chosen.learn(FIRST, [TAKEN])
    assert chosen.choose() is FIRST
    clock.advance(SILENCE)
    assert chosen.choose() is SECOND, "31 are still owed an answer"


def test_a_relay_that_answered_everything_is_not_silent() -> None:
    chosen, clock = router()
    chosen.given(FIRST, 2)
    chosen.learn(FIRST, [TAKEN, OutcomeUnknown("cut")])
    clock.advance(100 * SILENCE)
    assert chosen.choose() is FIRST


def test_a_silent_relay_is_tried_with_a_set_now_and_then() -> None:
    chosen, clock = router(FIRST)
    chosen.given(FIRST, 16)
    clock.advance(SILENCE)
    assert chosen.choose() is None
    assert chosen.resumes_in() == LOOK_AGAIN, "it may speak at any moment"
    clock.advance(PAUSE_CAP - SILENCE)
    assert chosen.choose() is FIRST
    chosen.given(FIRST, 1)
    assert chosen.choose() is None


def test_what_is_not_of_a_mail_breaks_no_silence() -> None:
    chosen, clock = router()
    chosen.given(FIRST, 16)
    clock.advance(SILENCE)
    chosen.learn(FIRST, [NotBegun("gate"), OutcomeUnknown("no answer")])
    assert chosen.choose() is SECOND


def test_without_a_connection_a_relay_is_left_longer_each_time() -> None:
    chosen, clock = router(FIRST)
    pauses = []
    for _ in range(12):
        chosen.given(FIRST, 1)
        clock.advance(1.0)
        chosen.learn(FIRST, [NO_CONNECTION])
        pauses.append(chosen.resumes_in())
        clock.advance(chosen.resumes_in())
    assert 0.0 < max(pauses[:2]) <= 2 * PAUSE_BASE
    assert 2 * PAUSE_BASE < max(pauses) <= PAUSE_CAP


def test_a_relay_that_answers_is_only_busy() -> None:
    chosen, clock = router()
    chosen.learn(FIRST, [TAKEN])
    clock.advance(SILENCE / 2)
    chosen.learn(FIRST, [NO_CONNECTION])
    assert chosen.choose() is FIRST
