"""The JSON of SES's events, as a configuration set publishes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from posthouse.simulator.carrier import Told
from posthouse.simulator.events import EventKind
from posthouse.simulator.providers import enhanced_code

_ENCODER = msgspec.json.Encoder()
_OUR_MTA = "a8-1.smtp-out.simulator.test"
_HEADERS_SHOWN = 60
_Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Named:
    """What each event of a mail repeats."""

    message_id: str
    sender: str
    sent_at: float
    tags: Mapping[str, str]
    headers: tuple[tuple[str, str], ...]
    subject: str


def head_lines(mail: bytes) -> tuple[tuple[str, str], ...]:
    """The headers of a mail in order, unfolded, not decoded: as SES shows them."""
    head = mail.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ")
    pairs = (line.partition(":") for line in unfolded.split("\r\n", _HEADERS_SHOWN)[:_HEADERS_SHOWN])
    return tuple((name, value.strip()) for name, _, value in pairs)


def payload(told: Told, named: Named) -> bytes | None:
    """One event; None for what SES never tells, as readers' deeds where its tracking is off."""
    at = _stamp(told.occurred_at)
    found = _particulars(told, at)
    if found is None:
        return None
    name, key, facts = found
    return _ENCODER.encode({"eventType": name, key: facts, "mail": _mail(told.mailbox.address, named)})


def _mail(recipient: str, named: Named) -> _Json:
    tags: dict[str, list[str]] = {name: [value] for name, value in named.tags.items()}
    tags |= {"ses:source-ip": ["127.0.0.1"], "ses:caller-identity": ["simulator"]}
    return {
        "timestamp": _stamp(named.sent_at),
        "source": named.sender,
        "messageId": named.message_id,
        "destination": [recipient],
        "headersTruncated": False,
        "headers": [{"name": name, "value": value} for name, value in named.headers],
        "commonHeaders": {"messageId": named.message_id, "subject": named.subject, "to": [recipient]},
        "tags": tags,
    }


def _particulars(told: Told, at: str) -> tuple[str, str, _Json] | None:
    mailbox, step = told.mailbox, told.step
    match step.kind:
        case EventKind.PROCESSED:
            return "Send", "send", {}
        case EventKind.DELIVERED:
            delivery: _Json = {
                "timestamp": at,
                "processingTimeMillis": 500,
                "recipients": [mailbox.address],
                "smtpResponse": "250 2.0.0 OK",
                "reportingMTA": _OUR_MTA,
            }
            return "Delivery", "delivery", delivery
        case EventKind.DEFERRED:
            delay: _Json = {
                "timestamp": at,
                "delayType": "TransientCommunicationFailure",
                "expirationTime": _stamp(told.occurred_at + 14 * 3600),
                "delayedRecipients": [_refused(told, "4.4.1")],
            }
            return "DeliveryDelay", "deliveryDelay", delay
        case EventKind.HARD:
            return _bounce(told, at, "Permanent", "General", "5.1.1")
        case EventKind.SOFT:
            return _bounce(told, at, "Transient", "MailboxFull", "4.2.2")
        case EventKind.BLOCK:
            return _bounce(told, at, "Permanent", "General", "5.7.1")
        case EventKind.DROPPED:
            return _bounce(told, at, "Permanent", "OnAccountSuppressionList", "5.1.1")
        case EventKind.COMPLAINT:
            complaint: _Json = {
                "timestamp": at,
                "feedbackId": f"{told.ref.n:016x}-{step.after:.3f}-000000",
                "complainedRecipients": [{"emailAddress": mailbox.address}],
                "complaintSubType": None,
                "complaintFeedbackType": "abuse",
                "userAgent": "Simulator Feedback Loop",
                "arrivalDate": at,
            }
            return "Complaint", "complaint", complaint
        case (
            EventKind.HUMAN_OPEN
            | EventKind.MACHINE_OPEN
            | EventKind.CLICK
            | EventKind.MACHINE_CLICK
            | EventKind.UNSUBSCRIBE
        ):
            return None


def _bounce(told: Told, at: str, kind: str, subtype: str, status: str) -> tuple[str, str, _Json]:
    bounce: _Json = {
        "timestamp": at,
        "feedbackId": f"{told.ref.n:016x}-{told.step.after:.3f}-000000",
        "bounceType": kind,
        "bounceSubType": subtype,
        "bouncedRecipients": [_refused(told, status)],
        "reportingMTA": f"dsn; {_OUR_MTA}",
    }
    return "Bounce", "bounce", bounce


def _refused(told: Told, status: str) -> _Json:
    reply = told.mailbox.reply
    return {
        "emailAddress": told.mailbox.address,
        "action": "failed",
        "status": enhanced_code(reply) or status,
        "diagnosticCode": f"smtp; {reply}",
    }


def _stamp(unix: float) -> str:
    moment = datetime.fromtimestamp(unix, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
