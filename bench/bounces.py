"""bounces: mails to a bounce address, classified by one process; then mails that hurt, of growing length."""

import time
from collections.abc import Callable

from posthouse.ingest.bounce_mail import classify

MAILS = 5_000
HURTING_SIZES = (65_536, 262_144, 1_048_576)  # bytes

_RETURNED = "".join(
    (
        "Return-Path: <b+0123@bounce.shop.example>\n",
        *(f"Received: from h{n}.shop.example by mx.example.org; 24 Nov 2026 10:00\n" for n in range(4)),
        "From: Shop <hello@shop.example>\nTo: ann@example.net\nSubject: Your order\n",
        "Message-ID: <m1@shop.example>\n\n",
        "Thank you for your order. It is on its way.\n" * 40,
    )
)
_HEAD = (
    "Return-Path: <>\nFrom: Mail Delivery System <MAILER-DAEMON@mx.example.org>\n"
    "To: b+0123@bounce.shop.example\nSubject: Undelivered Mail Returned to Sender\n"
)
_PARTS = 'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="b1"\n\n'


def _report(said: str) -> bytes:
    """As Postfix reports, with the mail returned."""
    return (
        f"{_HEAD}{_PARTS}--b1\nContent-Type: text/plain\n\n"
        "This is the mail system at host mx.example.org.\n\n"
        f"<ann@example.net>: host mx.example.net[192.0.2.9] said: {said}\n\n"
        "--b1\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n"
        "Final-Recipient: rfc822; ann@example.net\nAction: failed\nStatus: 5.0.0\n"
        f"Diagnostic-Code: smtp; {said}\n\n"
        f"--b1\nContent-Type: message/rfc822\n\n{_RETURNED}\n--b1--\n"
    ).encode()


def _text(said: str) -> bytes:
    """As qmail reports."""
    return (
        f"{_HEAD}\nHi. This is the qmail-send program at mx.example.org.\n"
        "I'm afraid I wasn't able to deliver your message to the following addresses.\n\n"
        f"<ann@example.net>:\n192.0.2.9 does not like recipient.\nRemote host said: {said}\n"
        f"Giving up on 192.0.2.9.\n\n--- Below this line is a copy of the message.\n\n{_RETURNED}"
    ).encode()


def _answer() -> bytes:
    return (
        b"From: ann@example.net\nTo: b+0123@bounce.shop.example\nSubject: Out of office: Your order\n\n"
        b"I am away until Monday.\n"
    )


_SAID = (
    "550 5.1.1 <ann@example.net>: Recipient address rejected: User unknown in local recipient table",
    "552 5.2.2 <ann@example.net>: user is over quota",
    "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
    "550 5.0.0 we shall not say why",
)
MIX = (*(make(said) for said in _SAID for make in (_report, _text)), _answer())

HURTING: dict[str, Callable[[int], bytes]] = {
    "at_signs": lambda size: _HEAD.encode() + b"\n" + b"@" * size,
    "codes": lambda size: _HEAD.encode() + b"\n" + b"550 5.1.1 " * (size // 10),
    "tags": lambda size: _HEAD.encode() + b"Content-Type: text/html\n\n" + b"<p" * (size // 2),
    "boundaries": lambda size: (_HEAD + _PARTS).encode() + b"--b1\n" * (size // 5),
    "header": lambda size: _HEAD.encode() + b"X-A: b\n" * (size // 7),
}


async def bench() -> list[dict[str, object]]:
    began = time.process_time()
    for number in range(MAILS):
        classify(MIX[number % len(MIX)])
    seconds = time.process_time() - began
    line: dict[str, object] = {
        "bench": "bounces",
        "mails": MAILS,
        "bytes_mean": round(sum(map(len, MIX)) / len(MIX)),
        "per_s_per_core": round(MAILS / seconds),
    }
    return [
        line | {f"{name}_ms": [_ms(make(size)) for size in HURTING_SIZES] for name, make in HURTING.items()}
    ]


def _ms(raw: bytes) -> float:
    """CPU time of one mail."""
    began = time.process_time()
    classify(raw)
    return round(1000 * (time.process_time() - began), 1)
