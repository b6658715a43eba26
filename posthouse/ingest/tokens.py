"""Tokens of callbacks whose signature does not cover the body: each counts for the body it first came with.

In memory and of one process: a body that is repeated to another process changes nothing, since its events are
there already. A forger must be quicker than the relay itself, or find a process that has not seen the token.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import blake2b
from typing import Final

from posthouse.relays.base import CallbackReader, OneTime, RawCallback

#: About 20 MB. The oldest are forgotten first; their callbacks are old by then, and soon refused for it.
MOST_TOKENS: Final = 100_000


class Use(Enum):
    """What a verified callback's token says of it."""

    FIRST = auto()  # or of a relay without tokens, or a repetition of one that could not be stored yet
    REPEATED = auto()  # stored before, with this very body
    STOLEN = auto()  # came before with another body


@dataclass(slots=True)
class _Seen:
    body: bytes  # its digest
    stored: bool = False


class Tokens:
    """Bounded; the newest are kept."""

    def __init__(self, most: int = MOST_TOKENS) -> None:
        self._most = most
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def use(self, reader: CallbackReader, callback: RawCallback) -> Use:
        """Claim the token for this body, until it is forgotten."""
        key = _key(reader, callback)
        if key is None:
            return Use.FIRST
        body = blake2b(callback.body, digest_size=16).digest()
        seen = self._seen.get(key)
        if seen is None:
            self._seen[key] = _Seen(body)
            if len(self._seen) > self._most:
                self._seen.popitem(last=False)
            return Use.FIRST
        if seen.body != body:
            return Use.STOLEN
        # Answered only after it is durable: while the first is being stored, a repetition is stored as well.
        return Use.REPEATED if seen.stored else Use.FIRST

    def stored(self, reader: CallbackReader, callback: RawCallback) -> None:
        key = _key(reader, callback)
        if key is not None and key in self._seen:
            self._seen[key].stored = True


def _key(reader: CallbackReader, callback: RawCallback) -> str | None:
    if not isinstance(reader, OneTime):
        return None
    return f"{callback.relay}/{callback.account}/{reader.token(callback)}"
