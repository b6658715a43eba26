"""What goes on the wire to an SMTP server: commands and bodies as bytes. Pure."""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from posthouse.domain.message import RawMail
from posthouse.relays.base import RejectedMessage
from posthouse.replies.reply import Reply

#: A mailbox as an envelope may name it: a dot-string or RFC 6531 text, never a quoted string, so that no
#: blank, bracket or line end can start a parameter or another command (RFC 5321 section 4.1.2).
_ADDRESS = re.compile(
    r"""[^\s\x00-\x20"(),:;<>@\[\\\]\x7f-\xa0\ud800-\udfff]{1,64}
    @(?: [^\s\x00-\x20!-,/:-@\[-`{-\xa0\ud800-\udfff]{1,255} | \[[0-9A-Za-z:.]{2,64}\] )""",
    re.VERBOSE,
)
_NO_LINE_END = bytes(set(range(256)) - set(b"\r\n\0"))
_LONE_CR = re.compile(rb"\r(?!\n)")
_LINE_WITH_DOT = re.compile(rb"\r\n\.")
_MAX_PATH = 254  # RFC 5321 section 4.5.3.1.3 without the angle brackets


@dataclass(frozen=True, slots=True)
class Extensions:
    """What a server offers (RFC 5321 section 4.1.1.1)."""

    pipelining: bool = False
    size: int | None = None  # bytes; 0: no fixed limit; None: does not know the parameter
    eight_bit: bool = False
    smtputf8: bool = False
    starttls: bool = False
    auth: frozenset[str] = frozenset()
    takes_parameters: bool = True  # False once it has refused what it offers

    def without_parameters(self) -> "Extensions":
        return replace(self, takes_parameters=False)


class Ready(NamedTuple):
    """A mail that may go on the wire as it is. `ticket` is its place among the caller's mails."""

    ticket: int
    mail: bytes  # the MAIL command
    rcpt: bytes  # the RCPT command
    body: bytes  # dot-stuffed, ends in CRLF, without the final dot


def extensions_of(reply: Reply) -> Extensions:
    """The extensions in an answer to EHLO. What cannot be read is not offered."""
    offered: dict[str, list[str]] = {}
    for line in reply.lines[1:]:
        keyword, *words = line.replace("=", " ", 1).upper().split()[:64] or [""]
        offered.setdefault(keyword, []).extend(words)
    return Extensions(
        pipelining="PIPELINING" in offered,
        size=_size(offered["SIZE"]) if "SIZE" in offered else None,
        eight_bit="8BITMIME" in offered,
        smtputf8="SMTPUTF8" in offered,
        starttls="STARTTLS" in offered,
        auth=frozenset(offered.get("AUTH", ())),
    )


def _size(words: list[str]) -> int:
    return int(words[0]) if words and words[0].isascii() and words[0].isdigit() and len(words[0]) < 16 else 0


def prepare(ticket: int, mail: RawMail, offered: Extensions, max_bytes: int) -> Ready | RejectedMessage:
    """The bytes of a mail for a server with these extensions, or why that server can never take it."""
    fault = _envelope_fault(mail) or _not_offered(mail, offered, max_bytes) or _data_fault(mail.data)
    if fault is not None:
        return RejectedMessage(fault)
    return Ready(
        ticket,
        b"MAIL FROM:<%b>%b\r\n" % (mail.return_path.encode(), _parameters(mail, offered)),
        b"RCPT TO:<%b>\r\n" % mail.recipient.encode(),
        stuffed(mail.data),
    )


def stuffed(data: bytes) -> bytes:
    """Data whose lines may begin with a dot, made transparent (RFC 5321 section 4.5.2); ends in CRLF."""
    body = _LINE_WITH_DOT.sub(b"\r\n..", data)  # half the time of bytes.replace
    if body.startswith(b"."):
        body = b"." + body
    return body if body.endswith(b"\r\n") else body + b"\r\n"


def _envelope_fault(mail: RawMail) -> str | None:
    if mail.return_path and not _is_address(mail.return_path):
        return f"The envelope sender {mail.return_path[:80]!r} is not an address that SMTP can carry."
    if not _is_address(mail.recipient):
        return f"The recipient {mail.recipient[:80]!r} is not an address that SMTP can carry."
    return None


def _is_address(text: str) -> bool:
    return len(text) <= _MAX_PATH and _ADDRESS.fullmatch(text) is not None


def _data_fault(data: bytes) -> str | None:
    # A bare CR or LF is what SMTP smuggling is made of (CVE-2023-51764): servers disagree on where a mail
    # with one in it ends. So many LF as CR, and one after each: two thirds of the time of other ways.
    ends = data.translate(None, _NO_LINE_END)
    if b"\0" in ends:
        return "The message has a NUL character."
    if ends.count(b"\n") * 2 != len(ends) or _LONE_CR.search(data) is not None:
        return "The message has a CR or LF that is not part of CRLF."
    return None


def _needs_utf8(mail: RawMail) -> bool:
    return mail.smtputf8 or not (mail.recipient.isascii() and mail.return_path.isascii())


def _not_offered(mail: RawMail, offered: Extensions, max_bytes: int) -> str | None:
    limit = min(offered.size, max_bytes) if offered.size else max_bytes
    if len(mail.data) > limit:
        return f"The message has {len(mail.data)} bytes; this relay takes {limit}."
    if _needs_utf8(mail) and not offered.smtputf8:
        return "The mail needs SMTPUTF8 (RFC 6531), which this relay does not offer."
    if not offered.eight_bit and not mail.data.isascii():
        return "The message is 8-bit and this relay does not offer 8BITMIME (RFC 6152)."
    return None


def _parameters(mail: RawMail, offered: Extensions) -> bytes:
    parameters = b""
    if offered.takes_parameters:
        if offered.size is not None:
            parameters = b" SIZE=%d" % len(mail.data)
        if offered.eight_bit and not mail.data.isascii():
            parameters += b" BODY=8BITMIME"
    return parameters + b" SMTPUTF8" if _needs_utf8(mail) else parameters
