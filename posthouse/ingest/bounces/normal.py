"""Texts as rules read them: see `posthouse/replies/bounce_rules.toml`."""

import re
from typing import Final

from posthouse.ingest.bounces.addresses import without_addresses
from posthouse.replies.bounce_rules import MAX_TEXT

_MAX_READ: Final = 8_000
_MAX_SHOWN: Final = 500
_CONTINUED = re.compile(r"\b([245]\d\d)-(?=\D|[245]\.\d)")
_CODES = re.compile(r"\b([245]\d\d)[ -](?:[245]\.\d{1,3}\.\d{1,3}[ -])?")
_READ: Final = str.maketrans(
    {"’": "'", "‘": "'", "´": "'", "“": '"', "”": '"'}
    | {chr(n): " " for n in (*range(10), *range(11, 32), 127, 160)}
)


def normal(text: str) -> str:
    """Lower case, single spaces, "@" for each address, without the codes in front of continued lines."""
    plain = without_addresses(text[:_MAX_READ].translate(_READ)).lower()
    if _CONTINUED.search(plain) is not None:
        plain = _CODES.sub(" ", plain)
    return " ".join(plain.split())[:MAX_TEXT]


def shown(text: str) -> str:
    """A server's words in one line that is safe to print."""
    line = " ".join(text[: 4 * _MAX_SHOWN].split())
    if not line.isprintable():
        line = " ".join("".join(letter if letter.isprintable() else " " for letter in line).split())
    return line[:_MAX_SHOWN]
