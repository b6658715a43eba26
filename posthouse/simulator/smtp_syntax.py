"""The words of SMTP, read strictly (RFC 5321 section 4.1, RFC 1870, 6152, 6531)."""

import re
from dataclasses import dataclass

_MAIL = re.compile(rb"FROM:[ ]?<([^<>\x00-\x20]*)>(?: (.*))?", re.IGNORECASE)
_RCPT = re.compile(rb"TO:[ ]?<([^<>\x00-\x20]+@[^<>\x00-\x20@]+)>(?: (.*))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MailCommand:
    """`sender` empty: a bounce."""

    sender: str
    smtputf8: bool


@dataclass(frozen=True, slots=True)
class BadCommand:
    reply: str


def parse_mail(argument: bytes, max_message_bytes: int) -> MailCommand | BadCommand:
    """What follows MAIL."""
    match = _MAIL.fullmatch(argument)
    if match is None:
        return BadCommand("501 5.1.7 Syntax: MAIL FROM:<address>")
    smtputf8 = False
    for parameter in (match[2] or b"").upper().split():
        name, _, value = parameter.partition(b"=")
        if name == b"SIZE" and value.isdigit() and len(value) <= 20:
            if int(value) > max_message_bytes:
                return BadCommand("552 5.3.4 Message size exceeds fixed limit")
        elif name == b"SMTPUTF8" and not value:
            smtputf8 = True
        elif not (name == b"BODY" and value in (b"7BIT", b"8BITMIME")):
            return BadCommand("555 5.5.4 Unsupported parameter")
    sender = _address(match[1], smtputf8=smtputf8)
    return sender if isinstance(sender, BadCommand) else MailCommand(sender, smtputf8)


def parse_rcpt(argument: bytes, *, smtputf8: bool) -> str | BadCommand:
    """What follows RCPT: the address."""
    match = _RCPT.fullmatch(argument)
    if match is None:
        return BadCommand("501 5.1.3 Syntax: RCPT TO:<address>")
    if match[2]:
        return BadCommand("555 5.5.4 Unsupported parameter")
    return _address(match[1], smtputf8=smtputf8)


def unstuffed(body: bytes) -> bytes:
    """A body without the dots that were put before its dots (RFC 5321 section 4.5.2)."""
    plain = body.replace(b"\r\n..", b"\r\n.")
    return plain[1:] if plain.startswith(b".") else plain


def _address(address: bytes, *, smtputf8: bool) -> str | BadCommand:
    if not address.isascii() and not smtputf8:
        return BadCommand("553 5.6.7 Non-ASCII address without SMTPUTF8")
    try:
        return address.decode()
    except UnicodeDecodeError:
        return BadCommand("553 5.6.7 Address is not UTF-8")
