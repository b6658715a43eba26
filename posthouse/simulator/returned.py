"""The mails that come back to a sender by SMTP: non-delivery reports and complaints, as servers word them.

The shapes are those of RFC 3464 (Postfix and many others), of qmail (no MIME at all) and of RFC 5965; which
one an address gets depends on the seed only.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime, make_msgid

from posthouse.simulator.chance import draw

_HEADERS_KEPT = 16 * 1024
_QMAIL_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Returned:
    """What is told of one mail. `head`: its header section as it was taken."""

    recipient: str
    return_path: str
    head: bytes
    reply: str  # the words of the mailbox's server
    at: datetime


def bounce(told: Returned, seed: int) -> bytes:
    """A report that the mail was taken and could not be delivered after all."""
    if draw(seed, "shape", told.recipient.lower()) < _QMAIL_SHARE:
        return _qmail(told)
    return _dsn(told)


def head_of(body: bytes) -> bytes:
    """The header section of a mail, bounded."""
    return body[:_HEADERS_KEPT].partition(b"\r\n\r\n")[0] + b"\r\n"


def _dsn(told: Returned) -> bytes:
    status = _status(told.reply)
    parts = (
        (
            "text/plain; charset=us-ascii",
            "This is the mail system at host mx.inbox.test.\r\n\r\n"
            "I'm sorry to have to inform you that your message could not\r\n"
            "be delivered to one or more recipients. It's attached below.\r\n\r\n"
            f"<{told.recipient}>: host mx.inbox.test said: {told.reply}\r\n",
        ),
        (
            "message/delivery-status",
            f"Reporting-MTA: dns; mx.inbox.test\r\nArrival-Date: {format_datetime(told.at)}\r\n\r\n"
            f"Final-Recipient: rfc822; {told.recipient}\r\nAction: failed\r\nStatus: {status}\r\n"
            f"Diagnostic-Code: smtp; {told.reply}\r\n",
        ),
    )
    top = _top("Undelivered Mail Returned to Sender", "delivery-status", told)
    return _multipart(top, parts, ("text/rfc822-headers", told.head))


def _qmail(told: Returned) -> bytes:
    """QSBMF, https://cr.yp.to/proto/qsbmf.txt: a text that begins with the same words each time."""
    text = (
        f"From: MAILER-DAEMON@mx.inbox.test\r\nTo: {told.return_path}\r\nDate: {format_datetime(told.at)}\r\n"
        f"Message-ID: {make_msgid(domain='mx.inbox.test')}\r\nSubject: failure notice\r\n\r\n"
        "Hi. This is the qmail-send program at mx.inbox.test.\r\n"
        "I'm afraid I wasn't able to deliver your message to the following addresses.\r\n"
        "This is a permanent error; I've given up. Sorry it didn't work out.\r\n\r\n"
        f"<{told.recipient}>:\r\n{told.reply}\r\n\r\n--- Below this line is a copy of the message.\r\n\r\n"
        f"Return-Path: <{told.return_path}>\r\n"
    )
    return text.encode() + told.head


def complaint(told: Returned, feedback_address: str) -> bytes:
    """What a feedback loop sends when somebody presses "spam". Most leave out whose mailbox it was."""
    report = (
        "Feedback-Type: abuse\r\nUser-Agent: Inbox-FBL/1.0\r\nVersion: 1\r\n"
        f"Original-Mail-From: <{told.return_path}>\r\nArrival-Date: {format_datetime(told.at)}\r\n"
    )
    parts = (
        ("text/plain; charset=us-ascii", "This is an email abuse report for an email message.\r\n"),
        ("message/feedback-report", report),
    )
    return _multipart(
        _top("complaint about message", "feedback-report", replace(told, return_path=feedback_address)),
        parts,
        ("text/rfc822-headers", told.head),
    )


def _top(subject: str, report_type: str, told: Returned) -> str:
    return (
        "From: Mail Delivery System <MAILER-DAEMON@mx.inbox.test>\r\n"
        f"To: {told.return_path}\r\nDate: {format_datetime(told.at)}\r\n"
        f"Message-ID: {make_msgid(domain='mx.inbox.test')}\r\n"
        f"Subject: {subject}\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type={report_type}; boundary="=_report"\r\n\r\n'
    )


def _multipart(top: str, parts: tuple[tuple[str, str], ...], last: tuple[str, bytes]) -> bytes:
    text = top + "".join(f"--=_report\r\nContent-Type: {kind}\r\n\r\n{body}\r\n" for kind, body in parts)
    kind, original = last
    return (
        text.encode()
        + f"--=_report\r\nContent-Type: {kind}\r\n\r\n".encode()
        + original
        + b"\r\n--=_report--\r\n"
    )


def _status(reply: str) -> str:
    words = reply.split(" ", 2)
    return words[1] if len(words) > 1 and words[1].count(".") == 2 else "5.0.0"
