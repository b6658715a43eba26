"""The JSON of SendGrid's events."""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from posthouse.simulator.course import Step
from posthouse.simulator.events import EventKind
from posthouse.simulator.providers import Mailbox, enhanced_code

_ENCODER = msgspec.json.Encoder()
_OUR_IP = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Named:
    """What each event of a mail repeats."""

    message_id: str  # X-Message-Id
    custom_args: dict[str, str]
    categories: Sequence[str]


def payload(
    step: Step,
    mailbox: Mailbox,
    named: Named,
    occurred_at: float,
    event_id: str,
    dropped: str | None = None,
) -> bytes:
    """The JSON of one event. Reserved names win over custom args of the same name. `dropped`: why the mail
    was not tried, where a list of the account's is the reason."""
    event: dict[str, str | int | list[str]] = dict(named.custom_args)
    event |= {"email": mailbox.address, "timestamp": int(occurred_at), "sg_event_id": event_id}
    if named.categories:
        event["category"] = list(named.categories)
    if not step.anonymous:
        event["sg_message_id"] = f"{named.message_id}.filterdrecv-simulator-0.{step.attempt}"
        event["smtp-id"] = f"<{named.message_id}@simulator.sendgrid.test>"
    told = _particulars(step, mailbox)
    if dropped is not None and step.kind is EventKind.DROPPED:
        told = {"event": "dropped", "reason": dropped}
    return _ENCODER.encode(event | told)


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
