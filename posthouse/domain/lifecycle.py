"""The life of a job as one total table: what each event does in each state.

Relays report late, twice and in any order, so the states form a ladder that the events of one attempt only
climb: SENT, waiting for another try, FAILED, DELIVERED, BOUNCED. Whatever the order, the highest rung that
was reported is the end (`tests/properties/test_lifecycle.py` walks every order). What the database orders
(accept, claim, cancel, expire) comes from locked rows, so order is no question there.
"""

from enum import Enum, StrEnum, auto
from typing import assert_never

import msgspec

from posthouse.domain.event import BounceClass, Event, EventType, Origin
from posthouse.domain.job import Status


class Signal(StrEnum):
    """An event as the lifecycle sees it: bounces by class, deferrals by who will try again."""

    ACCEPTED = "accepted"
    SENT = "sent"
    DELIVERED = "delivered"
    HANDOVER_DEFERRED = "handover_deferred"  # the relay took nothing: ours to retry
    RELAY_DEFERRED = "relay_deferred"  # the relay has it and tries on
    HARD_BOUNCED = "hard_bounced"
    SOFT_BOUNCED = "soft_bounced"  # soft, and retries are left
    SOFT_BOUNCED_OUT = "soft_bounced_out"  # soft, and the retries are used up
    BLOCKED = "blocked"
    COMPLAINED = "complained"
    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    REJECTED = "rejected"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    OUTCOME_UNKNOWN = "outcome_unknown"
    FAILED = "failed"
    UNKNOWN_WORD = "unknown"


class Move(Enum):
    """What a pair of state and signal does. Marks (opened, clicked, ...) are set whatever the move."""

    STAY = auto()
    SENT = auto()
    DELIVERED = auto()
    BOUNCED = auto()
    FAILED = auto()
    RETRY = auto()  # PENDING, with the event's later due_at
    RETRY_SOFT = auto()  # PENDING, by the soft-bounce schedule; only for the current attempt
    UNKNOWN = auto()
    SUPPRESSED = auto()
    CANCELLED = auto()
    EXPIRED = auto()
    SENT_IF_IN_DOUBT = auto()  # a waiting repeat that only our own doubt caused is called off


#: Evidence that the mail reached somebody: settles a doubt, changes nothing else.
_MARKS = (Signal.COMPLAINED, Signal.OPENED, Signal.CLICKED, Signal.UNSUBSCRIBED)

#: Signals that lift a job in any state that has not climbed higher.
_HANDED_OVER: dict[Signal, Move] = {
    Signal.DELIVERED: Move.DELIVERED,
    Signal.HARD_BOUNCED: Move.BOUNCED,
    Signal.BLOCKED: Move.BOUNCED,
    Signal.SOFT_BOUNCED_OUT: Move.BOUNCED,
}


def _row(moves: dict[Signal, Move]) -> dict[Signal, Move]:
    """A whole row: what is not named stays."""
    return {signal: moves.get(signal, Move.STAY) for signal in Signal}


_WAITING = {
    **_HANDED_OVER,
    Signal.SENT: Move.SENT_IF_IN_DOUBT,
    Signal.RELAY_DEFERRED: Move.SENT_IF_IN_DOUBT,
    Signal.REJECTED: Move.FAILED,
    Signal.FAILED: Move.FAILED,
    Signal.SUPPRESSED: Move.SUPPRESSED,
    Signal.CANCELLED: Move.CANCELLED,
    Signal.EXPIRED: Move.EXPIRED,
    **dict.fromkeys(_MARKS, Move.SENT_IF_IN_DOUBT),
}

TABLE: dict[Status, dict[Signal, Move]] = {
    Status.PENDING: _row(_WAITING),
    Status.QUEUED: _row(_WAITING),
    Status.SENDING: _row(
        {
            **_HANDED_OVER,
            Signal.SENT: Move.SENT,
            Signal.HANDOVER_DEFERRED: Move.RETRY,
            Signal.RELAY_DEFERRED: Move.SENT,
            Signal.SOFT_BOUNCED: Move.RETRY_SOFT,
            Signal.REJECTED: Move.FAILED,
            Signal.OUTCOME_UNKNOWN: Move.UNKNOWN,
            Signal.EXPIRED: Move.EXPIRED,
            Signal.FAILED: Move.FAILED,
            **dict.fromkeys(_MARKS, Move.SENT),
        }
    ),
    Status.UNKNOWN: _row(
        {
            **_HANDED_OVER,
            Signal.SENT: Move.SENT,
            Signal.RELAY_DEFERRED: Move.SENT,
            Signal.SOFT_BOUNCED: Move.RETRY_SOFT,
            Signal.REJECTED: Move.FAILED,
            # Silence of a relay that reports each acceptance, or the operator: it was not taken.
            Signal.HANDOVER_DEFERRED: Move.RETRY,
            Signal.CANCELLED: Move.CANCELLED,
            Signal.EXPIRED: Move.EXPIRED,
            Signal.FAILED: Move.FAILED,
            **dict.fromkeys(_MARKS, Move.SENT),
        }
    ),
    Status.SENT: _row({**_HANDED_OVER, Signal.SOFT_BOUNCED: Move.RETRY_SOFT, Signal.REJECTED: Move.FAILED}),
    # A bounce after delivery happens (the server bounced what it had taken); the worse end is the true one.
    Status.DELIVERED: _row(
        {
            Signal.HARD_BOUNCED: Move.BOUNCED,
            Signal.BLOCKED: Move.BOUNCED,
            Signal.SOFT_BOUNCED_OUT: Move.BOUNCED,
        }
    ),
    Status.BOUNCED: _row({}),
    # Ends of ours; a relay's late word about an earlier attempt is still the truth about the mail.
    Status.FAILED: _row(_HANDED_OVER),
    Status.SUPPRESSED: _row(_HANDED_OVER),
    Status.CANCELLED: _row(_HANDED_OVER),
    Status.EXPIRED: _row(_HANDED_OVER),
}


class Standing(msgspec.Struct, frozen=True, gc=False):
    """What a decision needs to know of a job: its locked row."""

    status: Status
    attempt: int
    soft_bounces: int  # earlier attempts that ended in a soft bounce
    in_doubt: bool  # it goes again only because an outcome was unknown


class Decision(msgspec.Struct, frozen=True, gc=False):
    status: Status
    soft_retry: int | None = None  # which soft retry to schedule, 0 = the first
    in_doubt: bool = False


def signal_of(event: Event, *, soft_retries_left: bool) -> Signal:
    """The event as the table knows it."""
    match event.type:
        case EventType.BOUNCED:
            match event.bounce:
                case BounceClass.HARD:
                    return Signal.HARD_BOUNCED
                case BounceClass.BLOCK:
                    return Signal.BLOCKED
                case BounceClass.SOFT | None:
                    return Signal.SOFT_BOUNCED if soft_retries_left else Signal.SOFT_BOUNCED_OUT
                case _:
                    assert_never(event.bounce)
        case EventType.DEFERRED:
            # The house defers too: when silence has settled a doubt, the mail goes again.
            ours = event.origin in (Origin.HANDOVER, Origin.HOUSE)
            return Signal.HANDOVER_DEFERRED if ours else Signal.RELAY_DEFERRED
        case _:
            return Signal(event.type.value)


def decide(standing: Standing, event: Event, soft_retry_budget: int) -> Decision:
    """Where an event takes a job. Total: never raises, whatever the pair."""
    left = standing.soft_bounces < soft_retry_budget
    signal = signal_of(event, soft_retries_left=left)
    move = TABLE[standing.status][signal]
    stay = Decision(standing.status, in_doubt=standing.in_doubt)
    current = event.attempt == standing.attempt
    match move:
        case Move.STAY:
            return stay
        case Move.SENT:
            # An earlier attempt's acceptance says nothing about the one that is under way.
            return Decision(Status.SENT) if current or standing.status is Status.UNKNOWN else stay
        case Move.DELIVERED:
            return Decision(Status.DELIVERED)
        case Move.BOUNCED:
            return Decision(Status.BOUNCED)
        case Move.FAILED:
            return Decision(Status.FAILED) if current else stay
        case Move.RETRY:
            # A repeat that was not taken leaves the doubt that caused it where it was.
            doubt = standing.in_doubt or standing.status is Status.UNKNOWN
            return Decision(Status.PENDING, in_doubt=doubt) if current else stay
        case Move.RETRY_SOFT:
            return Decision(Status.PENDING, soft_retry=standing.soft_bounces) if current else stay
        case Move.UNKNOWN:
            return Decision(Status.UNKNOWN) if current else stay
        case Move.SUPPRESSED:
            return Decision(Status.SUPPRESSED)
        case Move.CANCELLED:
            return Decision(Status.CANCELLED)
        case Move.EXPIRED:
            return Decision(Status.EXPIRED)
        case Move.SENT_IF_IN_DOUBT:
            return Decision(Status.SENT) if standing.in_doubt else stay
        case _:
            assert_never(move)
