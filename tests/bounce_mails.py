"""Mails that report something, in the shapes that servers give them; written here, not received."""

from textwrap import dedent

US = "b+0123@bounce.shop.example"
RETURNED = """\
Return-Path: <b+0123@bounce.shop.example>
Received: from shop.example (192.0.2.7) by mx.example.org; Tue, 24 Nov 2026 10:00:00 +0000
From: Shop <hello@shop.example>
To: ann@example.net
Subject: user unknown, mailbox full, 550 5.1.1 spam
Message-ID: <m1@shop.example>
X-Posthouse-Id: 0193a5b0-0000-7000-8000-000000000001.1
Feedback-ID: c1:shop

550 5.1.1 <eve@example.net>: user unknown
"""


DAEMON = "Mail Delivery System <MAILER-DAEMON@mx.example.org>"


def mail(text: str, *, sender: str = DAEMON, **head: str) -> bytes:
    """A mail of one text. `head`: further fields, with underscores for dashes."""
    fields = {"from": sender, "to": US, "subject": "Undelivered Mail Returned to Sender", **head}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return ("\n".join(lines) + "\n\n" + dedent(text)).encode()


def report(
    *recipients: str,
    text: str = "This is the mail system at host mx.example.org.",
    status_type: str = "message/delivery-status",
    returned_type: str = "message/rfc822",
) -> bytes:
    """A delivery status notification. `recipients`: the fields of each."""
    groups = "\n".join(
        ["Reporting-MTA: dns; mx.example.org\nOriginal-Envelope-Id: E1\n", *map(_group, recipients)]
    )
    return parts(
        ("text/plain", dedent(text)),
        (status_type, groups),
        (returned_type, RETURNED),
        kind='multipart/report; report-type=delivery-status; boundary="b1"',
    )


def _group(fields: str) -> str:
    return dedent(fields).strip() + "\n"


def parts(
    *each: tuple[str, str], kind: str, subject: str = "Delivery Status Notification (Failure)"
) -> bytes:
    """A mail of parts, each with its type."""
    body = "".join(f"--b1\nContent-Type: {of}\n\n{content}\n" for of, content in each)
    head = f"From: MAILER-DAEMON@mx.example.org\nTo: {US}\nSubject: {subject}\nContent-Type: {kind}\n"
    return f"{head}\n{body}--b1--\n".encode()


def failed(address: str, said: str, status: str = "5.0.0") -> str:
    """The fields of a recipient that did not get the mail."""
    return f"""\
        Final-Recipient: rfc822; {address}
        Action: failed
        Status: {status}
        Diagnostic-Code: smtp; {said}
    """
