"""The course of one SendGrid mail as its Event Webhook tells it."""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from posthouse.simulator.chance import between, draw
from posthouse.simulator.events import EventKind
from posthouse.simulator.ledger import Outcome
from posthouse.simulator.providers import Delays, Mailbox, Verdict, enhanced_code

_ENCODER = msgspec.json.Encoder()
_OUR_IP = "127.0.0.1"
_DEFAULT_DEFERRALS = 1


@dataclass(frozen=True, slots=True)
class Step:
    """One event. `after`: seconds of the simulated world since the mail was taken."""

    kind: EventKind
    after: float
    attempt: int = 0  # of a deferral
    anonymous: bool = False  # an asynchronous bounce comes without SendGrid's message ids
    url: str = ""  # of a click
    agent: str = ""  # of an open or a click


@dataclass(frozen=True, slots=True)
class Course:
    """`arrives` None: it never does; else seconds of the simulated world since the mail was taken."""

    outcome: Outcome
    steps: tuple[Step, ...]
    arrives: float | None


@dataclass(frozen=True, slots=True)
class Named:
    """What each event of a mail repeats."""

    message_id: str  # X-Message-Id
    custom_args: dict[str, str]
    categories: Sequence[str]


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


def payload(step: Step, mailbox: Mailbox, named: Named, occurred_at: float, event_id: str) -> bytes:
    """The JSON of one event. Reserved names win over custom args of the same name."""
    event: dict[str, str | int | list[str]] = dict(named.custom_args)
    event |= {"email": mailbox.address, "timestamp": int(occurred_at), "sg_event_id": event_id}
    if named.categories:
        event["category"] = list(named.categories)
    if not step.anonymous:
        event["sg_message_id"] = f"{named.message_id}.filterdrecv-simulator-0.{step.attempt}"
        event["smtp-id"] = f"<{named.message_id}@simulator.sendgrid.test>"
    return _ENCODER.encode(event | _particulars(step, mailbox))


def event_id(message_id: str, address: str, step: Step) -> str:
    """SendGrid's `sg_event_id`: the same for the same event of the same mail."""
    text = (
        f"{message_id}\x1f{address}\x1f{step.kind.value}\x1f{step.attempt}\x1f{step.anonymous}\x1f{step.url}"
    )
    return urlsafe_b64encode(
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    ).decode()[:22]


def _particulars(step: Step, mailbox: Mailbox) -> dict[str, str | int | list[str]]:
    match step.kind:
        case EventKind.PROCESSED:
            return {"event": "processed"}
        case EventKind.DELIVERED:
            return {"event": "delivered", "response": "250 2.0.0 OK", "tls": 1, "ip": _OUR_IP}
        case EventKind.DEFERRED:
            return {"event": "deferred", "response": mailbox.reply, "attempt": str(step.attempt), "tls": 1}
        case EventKind.HARD:
            return _bounce("bounce", mailbox)
        case EventKind.SOFT | EventKind.BLOCK:
            return _bounce("blocked", mailbox)
        case EventKind.DROPPED:
            return {"event": "dropped", "reason": mailbox.reply, "status": "5.0.0"}
        case EventKind.COMPLAINT:
            return {"event": "spamreport"}
        case EventKind.HUMAN_OPEN:
            return {"event": "open", "useragent": step.agent, "ip": _OUR_IP, "sg_machine_open": False}
        case EventKind.MACHINE_OPEN:
            return {"event": "open", "useragent": step.agent, "ip": _OUR_IP, "sg_machine_open": True}
        case EventKind.CLICK | EventKind.MACHINE_CLICK:
            return {"event": "click", "useragent": step.agent, "ip": _OUR_IP, "url": step.url}
        case EventKind.UNSUBSCRIBE:
            return {"event": "unsubscribe"}


def _bounce(bounce_type: str, mailbox: Mailbox) -> dict[str, str | int | list[str]]:
    return {
        "event": "bounce",
        "type": bounce_type,
        "status": enhanced_code(mailbox.reply) or "5.0.0",
        "reason": mailbox.reply,
        "bounce_classification": mailbox.classification,
        "ip": _OUR_IP,
        "tls": 1,
    }
