"""A mail as it came, for reading over HTTP."""

import msgspec

from posthouse.simulator.ledger import LedgerEntry
from posthouse.simulator.letter import parse_mime


class MessageView(msgspec.Struct, frozen=True):
    """Headers in order, as text; a mail that came as JSON has those of its request."""

    entry: LedgerEntry
    headers: list[tuple[str, str]]
    text: str
    html: str
    raw: str


def mime_view(entry: LedgerEntry, body: bytes) -> MessageView:
    """A mail that came as MIME, by whichever way."""
    mime = parse_mime(body)
    if mime is None:
        return unreadable(entry, body)
    return MessageView(entry, list(mime.headers), mime.text, mime.html, body.decode("utf-8", "replace"))


def unreadable(entry: LedgerEntry, body: bytes) -> MessageView:
    return MessageView(entry, [], "", "", body.decode("utf-8", "replace"))
