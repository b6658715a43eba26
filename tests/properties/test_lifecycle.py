"""The lifecycle table is total, and the order in which one attempt's relay events arrive does not matter."""

from datetime import UTC, datetime
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from posthouse.domain.event import BounceClass, Event, EventType, Origin
from posthouse.domain.ids import JobId, foreign_event_id, uuid7
from posthouse.domain.job import OPEN_STATES, Status
from posthouse.domain.lifecycle import TABLE, Move, Signal, Standing, decide, signal_of

JOB = JobId(uuid7(1, 1))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BUDGET = 3

RELAY_WORDS = [
    (EventType.SENT, None),
    (EventType.DELIVERED, None),
    (EventType.DEFERRED, None),
    (EventType.BOUNCED, BounceClass.HARD),
    (EventType.BOUNCED, BounceClass.SOFT),
    (EventType.BOUNCED, BounceClass.BLOCK),
    (EventType.COMPLAINED, None),
    (EventType.OPENED, None),
    (EventType.CLICKED, None),
    (EventType.UNSUBSCRIBED, None),
    (EventType.REJECTED, None),
    (EventType.UNKNOWN, None),
]


def event(
    kind: EventType, bounce: BounceClass | None = None, attempt: int = 1, origin: Origin = Origin.RELAY
) -> Event:
    return Event(
        job_id=JOB,
        event_id=foreign_event_id("test", f"{kind}{bounce}{attempt}"),
        attempt=attempt,
        type=kind,
        origin=origin,
        occurred_at=NOW,
        bounce=bounce,
    )


def test_every_pair_of_state_and_signal_is_decided() -> None:
    assert set(TABLE) == set(Status)
    for status in Status:
        assert set(TABLE[status]) == set(Signal), status


def test_every_pair_of_state_and_event_has_an_end_without_raising() -> None:
    kinds = [*RELAY_WORDS, *((kind, None) for kind in EventType)]
    for status, (kind, bounce), attempt, origin, softs, doubt in product(
        Status, kinds, (1, 2, 3), Origin, (0, BUDGET), (False, True)
    ):
        standing = Standing(status, 2, softs, doubt)
        decision = decide(standing, event(kind, bounce, attempt, origin), BUDGET)
        assert isinstance(decision.status, Status)
        if decision.soft_retry is not None:
            assert decision.status is Status.PENDING
            assert 0 <= decision.soft_retry < BUDGET


def test_every_event_type_has_a_signal() -> None:
    for kind in EventType:
        assert isinstance(signal_of(event(kind), soft_retries_left=True), Signal)


def test_bounced_is_the_top_of_the_ladder() -> None:
    assert set(TABLE[Status.BOUNCED].values()) == {Move.STAY}


def test_delivered_never_falls_back() -> None:
    assert set(TABLE[Status.DELIVERED].values()) == {Move.STAY, Move.BOUNCED}


def test_a_job_that_ended_is_never_opened_again() -> None:
    reopening = {Move.RETRY, Move.RETRY_SOFT, Move.UNKNOWN, Move.SENT_IF_IN_DOUBT}
    for status in set(Status) - OPEN_STATES - {Status.SENT}:
        assert not reopening & set(TABLE[status].values()), status


def _end(start: Status, words: list[tuple[EventType, BounceClass | None]], softs: int) -> Status:
    """Where one attempt ends after these events, each told once however often it comes."""
    standing = Standing(start, 1, softs, in_doubt=False)
    told = set()
    for word in words:
        if word in told:
            continue
        told.add(word)
        decision = decide(standing, event(*word), BUDGET)
        standing = Standing(decision.status, 1, softs, decision.in_doubt)
    return standing.status


@given(
    start=st.sampled_from([Status.SENDING, Status.SENT, Status.UNKNOWN]),
    words=st.lists(st.sampled_from(RELAY_WORDS), min_size=1, max_size=8),
    softs=st.sampled_from([0, 1, BUDGET]),
    data=st.data(),
)
def test_all_orders_of_arrival_have_one_end(
    start: Status, words: list[tuple[EventType, BounceClass | None]], softs: int, data: st.DataObject
) -> None:
    other = data.draw(st.permutations(words))
    if EventType.UNKNOWN in {kind for kind, _ in words} and len(set(words)) == 1:
        assert _end(start, words, softs) is start
    assert _end(start, words, softs) is _end(start, other, softs)


def test_a_relay_deferral_is_the_relays_to_retry_and_ours_is_ours() -> None:
    sent = Standing(Status.SENT, 1, 0, False)
    assert decide(sent, event(EventType.DEFERRED), BUDGET).status is Status.SENT
    sending = Standing(Status.SENDING, 1, 0, False)
    assert decide(sending, event(EventType.DEFERRED, origin=Origin.HANDOVER), BUDGET).status is Status.PENDING


def test_a_late_acceptance_calls_off_only_the_repeat_that_its_own_doubt_caused() -> None:
    accepted = event(EventType.SENT)
    assert decide(Standing(Status.UNKNOWN, 1, 0, False), accepted, BUDGET).status is Status.SENT
    assert decide(Standing(Status.PENDING, 1, 0, True), accepted, BUDGET).status is Status.SENT
    assert decide(Standing(Status.PENDING, 1, 1, False), accepted, BUDGET).status is Status.PENDING
    assert decide(Standing(Status.SENDING, 2, 0, False), accepted, BUDGET).status is Status.SENDING


def test_events_of_earlier_attempts_deliver_but_schedule_nothing() -> None:
    third = Standing(Status.PENDING, 3, 2, False)
    assert decide(third, event(EventType.DELIVERED, attempt=1), BUDGET).status is Status.DELIVERED
    sent = Standing(Status.SENT, 3, 1, False)
    assert decide(sent, event(EventType.BOUNCED, BounceClass.SOFT, attempt=1), BUDGET).status is Status.SENT


def test_soft_bounces_use_up_their_retries_then_bounce() -> None:
    soft = event(EventType.BOUNCED, BounceClass.SOFT)
    for used in range(BUDGET):
        decision = decide(Standing(Status.SENT, 1, used, False), soft, BUDGET)
        assert (decision.status, decision.soft_retry) == (Status.PENDING, used)
    assert decide(Standing(Status.SENT, 1, BUDGET, False), soft, BUDGET).status is Status.BOUNCED
