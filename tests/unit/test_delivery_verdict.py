"""What a relay's answer means: every kind of answer has its event, and none waits past the job's expiry."""

import random
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_jobs import NOON, claimed_job

from posthouse.delivery.verdict import ACCOUNT_RETRY, Backoff, HandedOver, event_of, failed
from posthouse.domain.event import BounceClass, Event, EventType, Origin
from posthouse.domain.ids import RelayAccount, own_event_id
from posthouse.domain.suppression import SuppressionReason
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    NotBegun,
    NotTried,
    Outcome,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    TryLater,
)

BACKOFF = Backoff(base=timedelta(seconds=1), cap=timedelta(minutes=5))

MEANINGS: list[tuple[Outcome, EventType | None]] = [
    (Accepted("id-1", "250 2.0.0 ok"), EventType.SENT),
    (RejectedRecipient(BounceClass.HARD, "550 5.1.1 nobody", 550, "5.1.1"), EventType.BOUNCED),
    (RejectedRecipient(BounceClass.SOFT, "452 4.2.2 full", 452, "4.2.2"), EventType.BOUNCED),
    (RejectedRecipient(BounceClass.BLOCK, "550 5.7.1 no", 550, "5.7.1"), EventType.BOUNCED),
    (NotTried("422 inactive", SuppressionReason.SPAM), EventType.REJECTED),
    (RejectedMessage("552 5.3.4 too big", 552, "5.3.4"), EventType.REJECTED),
    (TryLater("451 4.3.0 later", smtp_code=451), EventType.DEFERRED),
    (AccountTrouble("535 5.7.8 who?", 535, "5.7.8"), EventType.DEFERRED),
    (OutcomeUnknown("the connection broke after the last byte"), EventType.OUTCOME_UNKNOWN),
    (NotBegun("no connection within a second"), None),
]


def verdict(
    outcome: Outcome, *, attempt: int = 2, expires_in: float = 86_400.0, seed: int = 1
) -> Event | None:
    job = claimed_job(1, attempt=attempt, expires_in=timedelta(seconds=expires_in))
    done = HandedOver(job, outcome, RelayAccount("mail"), NOON, template_version=4)
    return event_of(done, BACKOFF, random.Random(seed))


def waits(outcome: Outcome, *, attempt: int = 2, expires_in: float = 86_400.0, seed: int = 1) -> float:
    """Seconds until the job is due again."""
    event = verdict(outcome, attempt=attempt, expires_in=expires_in, seed=seed)
    assert event is not None
    assert event.due_at is not None
    return (event.due_at - NOON).total_seconds()


def test_every_kind_of_answer_is_here() -> None:
    assert {type(outcome) for outcome, _ in MEANINGS} == set(get_args(Outcome))


@pytest.mark.parametrize(("outcome", "kind"), MEANINGS)
def test_every_answer_has_its_event(outcome: Outcome, kind: EventType | None) -> None:
    event = verdict(outcome)
    if kind is None:
        assert event is None
        return
    job = claimed_job(1)
    assert event is not None
    assert (event.type, event.origin, event.attempt, event.occurred_at) == (kind, Origin.HANDOVER, 2, NOON)
    assert event.event_id == own_event_id(job.job_id, 2, kind)
    assert (event.relay, event.template_version) == ("mail", 4)


@pytest.mark.parametrize(("outcome", "kind"), [m for m in MEANINGS if m[1] not in (None, EventType.SENT)])
def test_every_end_says_why_in_words(outcome: Outcome, kind: EventType) -> None:
    event = verdict(outcome)
    assert event is not None
    assert event.reason
    if not isinstance(outcome, OutcomeUnknown | NotBegun):
        assert event.diagnostic == outcome.reply


def test_the_servers_words_and_codes_are_kept() -> None:
    event = verdict(RejectedRecipient(BounceClass.BLOCK, "550 5.7.1 no", 550, "5.7.1"))
    assert event is not None
    assert (event.bounce, event.smtp_code, event.enhanced_code) == (BounceClass.BLOCK, 550, "5.7.1")
    accepted = verdict(Accepted("id-1", "250 2.0.0 ok"))
    assert accepted is not None
    assert (accepted.provider_message_id, accepted.diagnostic) == ("id-1", "250 2.0.0 ok")


def test_an_address_on_the_relays_list_goes_on_ours_and_is_no_bounce() -> None:
    event = verdict(NotTried("422 inactive", SuppressionReason.BOUNCE))
    assert event is not None
    assert (event.type, event.bounce, event.mirrored) == (EventType.REJECTED, None, SuppressionReason.BOUNCE)
    assert event.diagnostic == "422 inactive"
    unknown = verdict(NotTried("422 inactive"))
    assert unknown is not None
    assert unknown.mirrored is None


def test_the_same_answer_recorded_again_is_the_same_event() -> None:
    for outcome, _ in MEANINGS:
        assert verdict(outcome) == verdict(outcome)


def test_a_relay_that_says_how_long_is_believed_within_reason() -> None:
    assert waits(TryLater("450", retry_after=300.0)) == 300.0
    assert waits(TryLater("450", retry_after=1e9)) == BACKOFF.longest_hint.total_seconds()
    for nonsense in (0.0, -1.0, float("nan")):
        assert waits(TryLater("450", retry_after=nonsense)) >= BACKOFF.base.total_seconds()


def test_without_a_hint_the_wait_grows_with_the_attempts_up_to_its_cap() -> None:
    later = TryLater("451")
    assert waits(later, attempt=1) == 1.0
    spread = [waits(later, attempt=50, seed=seed) for seed in range(200)]
    assert all(1.0 <= wait <= 300.0 for wait in spread)
    assert max(spread) > 250.0
    assert min(spread) < 50.0


def test_a_broken_account_is_looked_at_again_after_a_minute_or_two() -> None:
    assert ACCOUNT_RETRY <= waits(AccountTrouble("401")) <= 2 * ACCOUNT_RETRY


@given(
    outcome=st.one_of(
        st.builds(
            TryLater,
            reply=st.just("451"),
            retry_after=st.none() | st.floats(allow_nan=True, allow_infinity=True),
            slow_relay=st.booleans(),
        ),
        st.just(AccountTrouble("401")),
    ),
    attempt=st.integers(1, 1 << 31),
    expires_in=st.floats(-1e6, 1e6),
    seed=st.integers(0, 1000),
)
def test_nothing_waits_past_the_jobs_expiry(
    outcome: Outcome, attempt: int, expires_in: float, seed: int
) -> None:
    wait = waits(outcome, attempt=attempt, expires_in=expires_in, seed=seed)
    assert 0.0 <= wait <= max(0.0, expires_in) + 1e-6


def test_a_mail_that_cannot_be_composed_ends_with_its_reason() -> None:
    job = claimed_job(1, attempt=3)
    event = failed(job, "the template has no variable `name`", NOON)
    assert (event.type, event.origin, event.attempt) == (EventType.FAILED, Origin.HOUSE, 3)
    assert event.reason == "the template has no variable `name`"
    assert event.event_id == own_event_id(job.job_id, 3, "failed")
