"""The course of one mail that an HTTP relay took: what becomes of it, and when, whoever tells of it."""

from collections.abc import Callable
from dataclasses import dataclass

from posthouse.simulator.chance import between, draw
from posthouse.simulator.events import EventKind
from posthouse.simulator.ledger import Outcome
from posthouse.simulator.providers import Delays, Mailbox, Verdict

_DEFAULT_DEFERRALS = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One event. `after`: seconds of the simulated world since the mail was taken."""

    kind: EventKind
    after: float
    attempt: int = 0  # of a deferral
    anonymous: bool = False  # an asynchronous bounce: the relay has lost sight of its own ids
    url: str = ""  # of a click
    agent: str = ""  # of an open or a click


@dataclass(frozen=True, slots=True)
class Course:
    """`arrives` None: it never does; else seconds of the simulated world since the mail was taken."""

    outcome: Outcome
    steps: tuple[Step, ...]
    arrives: float | None


def course_of(
    mailbox: Mailbox, delays: Delays, seed: int, mail_key: str, fails: Callable[[int], bool]
) -> Course:
    """What becomes of a mail. `fails(tries)`: whether this try of a fate fails; asked at most once."""

    def lasts(step: str, bounds: tuple[float, float]) -> float:
        return between(bounds, draw(seed, step, mailbox.address.lower(), mail_key))

    processed = Step(EventKind.PROCESSED, lasts("processed", delays.processed))
    arrives = processed.after + lasts("delivered", delays.delivered)
    delivered = Step(EventKind.DELIVERED, arrives)
    fate = mailbox.fate
    if fate is None or not (fate.verdict is Verdict.LATER or fails(fate.tries)):
        return Course(Outcome.DELIVERED, (processed, delivered), arrives)
    match fate.verdict:
        case Verdict.DROP:
            return Course(Outcome.DROPPED, (Step(EventKind.DROPPED, processed.after),), None)
        case Verdict.HARD:
            return Course(Outcome.HARD, (processed, Step(EventKind.HARD, arrives)), None)
        case Verdict.SOFT:
            return Course(Outcome.SOFT, (processed, Step(EventKind.SOFT, arrives)), None)
        case Verdict.BLOCK:
            return Course(Outcome.BLOCK, (processed, Step(EventKind.BLOCK, arrives)), None)
        case Verdict.LATER:
            return _deferred(processed, fate.tries, arrives, lasts("deferred", delays.deferred))
        case Verdict.ASYNC:
            at = arrives + lasts("bounced_later", delays.bounced_later)
            bounce = Step(EventKind.HARD, at, anonymous=True)
            return Course(Outcome.ASYNC, (processed, delivered, bounce), None)


def _deferred(processed: Step, tries: int, arrives: float, pause: float) -> Course:
    deferrals = tries or _DEFAULT_DEFERRALS
    steps = [Step(EventKind.DEFERRED, arrives + pause * i, attempt=i + 1) for i in range(deferrals)]
    at = arrives + pause * deferrals
    return Course(Outcome.DEFERRED, (processed, *steps, Step(EventKind.DELIVERED, at)), at)
