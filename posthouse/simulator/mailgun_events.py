"""Mailgun's events: what each says, how the calls that bring them are signed, and who tells them again."""

import hashlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

import msgspec

from posthouse.simulator.carrier import Told
from posthouse.simulator.course import Step
from posthouse.simulator.events import EventKind
from posthouse.simulator.mailgun_lists import ListName
from posthouse.simulator.providers import enhanced_code
from posthouse.simulator.webhooks import Call

_ENCODER = msgspec.json.Encoder()
_NOT_ACCEPTABLE = 406
_OUR_IP = "127.0.0.1"

#: Of a mail to an address that is on one of Mailgun's lists: code and words.
_SUPPRESSED = {
    ListName.BOUNCES: (605, "suppress-bounce", "Not delivering to previously bounced address"),
    ListName.UNSUBSCRIBES: (606, "suppress-unsubscribe", "Not delivering to unsubscribed address"),
    ListName.COMPLAINTS: (
        607,
        "suppress-complaint",
        "Not delivering to a user who complained",
    ),
}


@dataclass(frozen=True, slots=True)
class Named:
    """What each event of a mail repeats. `listed`: the list that keeps it from being tried."""

    message_id: str  # without its brackets
    sender: str
    subject: str
    variables: Mapping[str, str]
    listed: ListName | None


class MailgunStyle:
    """One event in a call, with the signature in its body; 406 ends its repetition."""

    def __init__(self, signing_key: str) -> None:
        self._key = signing_key.encode()

    def call(self, payloads: Sequence[bytes], at: datetime) -> Call:
        [payload] = payloads
        timestamp, token = str(int(at.timestamp())), os.urandom(25).hex()
        digest = hmac.new(self._key, f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
        signature = _ENCODER.encode({"timestamp": timestamp, "token": token, "signature": digest})
        body = b'{"signature":' + signature + b',"event-data":' + payload + b"}"
        return Call({"Content-Type": "application/json", "User-Agent": "mailgun/treq"}, body)

    def is_final(self, status: int) -> bool:
        return status == _NOT_ACCEPTABLE


def event_of(told: Told, named: Named) -> dict[str, object]:
    """The JSON of one event, as webhooks and the Events API have it."""
    address = told.mailbox.address
    event: dict[str, object] = {
        "id": _event_id(told.ref.n, told.step),
        "timestamp": round(told.occurred_at, 6),
        "log-level": "info",
        "message": {
            "headers": {
                "to": address,
                "message-id": named.message_id,
                "from": named.sender,
                "subject": named.subject,
            },
            "attachments": [],
        },
        "recipient": address,
        "recipient-domain": address.rpartition("@")[2],
        "campaigns": [],
        "tags": [],
        "user-variables": dict(named.variables),
    }
    event |= _particulars(told, named)
    if event["event"] == "rejected":
        del event["recipient"]
    return event


def _particulars(told: Told, named: Named) -> dict[str, object]:
    step, reply = told.step, told.mailbox.reply
    match step.kind:
        case EventKind.PROCESSED:
            return {"event": "accepted", "method": "http", "flags": {"is-test-mode": False}}
        case EventKind.DELIVERED:
            return {"event": "delivered", "delivery-status": {"code": 250, "message": "OK", "attempt-no": 1}}
        case EventKind.DEFERRED:
            status = _status(reply) | {"attempt-no": step.attempt, "retry-seconds": 600}
            return _failed("generic", status) | {"severity": "temporary", "log-level": "warn"}
        case EventKind.HARD if step.anonymous:
            status = {
                "code": 550,
                "bounce-code": enhanced_code(reply) or "5.1.1",
                "message": f"smtp; {reply}",
            }
            return _failed("generic", status) | {"flags": {"is-delayed-bounce": True}}
        case EventKind.HARD:
            return _failed("bounce", _status(reply))
        case EventKind.SOFT:
            return _failed("old", {"code": 602, "message": "Too old", "description": reply})
        case EventKind.BLOCK:
            return _failed("generic", _status(reply))
        case EventKind.DROPPED if named.listed is not None:
            code, reason, words = _SUPPRESSED[named.listed]
            return _failed(reason, {"code": code, "message": "", "description": words})
        case EventKind.DROPPED:
            return {"event": "rejected", "log-level": "warn", "reject": {"reason": reply, "description": ""}}
        case EventKind.COMPLAINT:
            return {"event": "complained", "log-level": "warn"}
        case EventKind.HUMAN_OPEN | EventKind.MACHINE_OPEN:
            return {"event": "opened", "ip": _OUR_IP, "client-info": _client(step)}
        case EventKind.CLICK | EventKind.MACHINE_CLICK:
            return {"event": "clicked", "ip": _OUR_IP, "url": step.url, "client-info": _client(step)}
        case EventKind.UNSUBSCRIBE:
            return {"event": "unsubscribed", "ip": _OUR_IP, "client-info": _client(step)}


def _failed(reason: str, status: Mapping[str, object]) -> dict[str, object]:
    return {
        "event": "failed",
        "severity": "permanent",
        "reason": reason,
        "log-level": "error",
        "delivery-status": {"attempt-no": 1, **status},
    }


def _status(reply: str) -> dict[str, object]:
    """A server's reply, taken apart as Mailgun does."""
    code, _, words = reply.partition(" ")
    status: dict[str, object] = {"code": int(code) if code.isdecimal() else 550, "message": words}
    enhanced = enhanced_code(reply)
    return status | ({"enhanced-code": enhanced} if enhanced else {})


def _client(step: Step) -> dict[str, str]:
    machine = step.kind in (EventKind.MACHINE_OPEN, EventKind.MACHINE_CLICK)
    return {"user-agent": step.agent, "bot": "generic" if machine else ""}


def _event_id(n: int, step: Step) -> str:
    """The same for the same event of the same mail, by its number in the ledger."""
    text = f"{n}\x1f{step.kind.value}\x1f{step.attempt}\x1f{step.anonymous}\x1f{step.url}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=11).hexdigest()


class MailgunLog:
    """What happened or will, for the Events API. Of the newest `most` mails."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_mail: OrderedDict[str, list[dict[str, object]]] = OrderedDict()

    def add(self, message_id: str, event: dict[str, object]) -> None:
        self._by_mail.setdefault(message_id, []).append(event)
        if len(self._by_mail) > self._most:
            self._by_mail.popitem(last=False)

    def find(self, query: Mapping[str, str], now: float) -> list[dict[str, object]]:
        """The filters that are known: event, message-id, recipient, begin, end, limit; oldest first unless
        `ascending` says no. What has not happened yet is not there."""
        message_id = query.get("message-id")
        mails = self._by_mail.values() if message_id is None else [self._by_mail.get(message_id, [])]
        begin, end = float(query.get("begin", "0")), min(now, float(query.get("end", "inf")))
        found = [event for mail in mails for event in mail if begin <= _at(event) <= end]
        for name in ("event", "recipient"):
            if name in query:
                found = [event for event in found if event.get(name) == query[name]]
        found.sort(key=_at, reverse=query.get("ascending") == "no")
        return found[: min(300, int(query.get("limit", "100")))]


def _at(event: Mapping[str, object]) -> float:
    at = event["timestamp"]
    assert isinstance(at, float)
    return at
