"""Relay callbacks at the door: the raw bytes are verified and stored, and only then answered."""

from collections.abc import Collection, Mapping
from enum import IntEnum

from posthouse.bus.port import CallbackSink
from posthouse.domain.errors import NotNow
from posthouse.domain.ids import RelayAccount
from posthouse.failpoints import failpoint
from posthouse.ingest.tokens import Tokens, Use
from posthouse.relays.base import CallbackReader, Handshaker, RawCallback

#: Reader by (relay, account), as the path /hooks/{relay}/{account} names them.
Readers = Mapping[tuple[str, RelayAccount], CallbackReader]

#: SendGrid's batches have up to 768 KB, SNS 256 KB.
MAX_CALLBACK_BYTES = 2_000_000


class Received(IntEnum):
    """What became of a callback. The value is the HTTP status that tells the relay so.

    An outage of ours is 503, never 4xx: relays repeat after the one and drop the event after the other.
    """

    STORED = 200
    BAD_SIGNATURE = 401
    UNKNOWN_ACCOUNT = 404
    REPLAYED = 406  # a signature of another callback; to Mailgun, 406 also says not to repeat
    TOO_LARGE = 413
    UNAVAILABLE = 503


class Receiver:
    """Takes callbacks of the accounts it has readers for."""

    def __init__(self, readers: Readers, log: CallbackSink, *, max_bytes: int = MAX_CALLBACK_BYTES) -> None:
        self._readers = readers
        self._log = log
        self._max_bytes = max_bytes
        self._tokens = Tokens()

    @property
    def accounts(self) -> Collection[tuple[str, RelayAccount]]:
        """Relay and account of every reader."""
        return self._readers.keys()

    async def receive(self, callback: RawCallback) -> Received:
        """Verify and store. STORED only when the callback is durable."""
        reader = self._readers.get((callback.relay, callback.account))
        if reader is None:
            return Received.UNKNOWN_ACCOUNT
        if len(callback.body) > self._max_bytes:
            return Received.TOO_LARGE
        try:
            if not await _is_genuine(reader, callback):
                return Received.BAD_SIGNATURE
            return await self._take(reader, callback)
        except NotNow:
            return Received.UNAVAILABLE

    async def _take(self, reader: CallbackReader, callback: RawCallback) -> Received:
        """Store a genuine callback, unless its token says that it was here. Raises NotNow."""
        match self._tokens.use(reader, callback):
            case Use.STOLEN:
                return Received.REPLAYED
            case Use.REPEATED:
                return Received.STORED
            case Use.FIRST:
                await self._log.append([callback])
        self._tokens.stored(reader, callback)
        failpoint("receiver.stored")
        return Received.STORED


async def _is_genuine(reader: CallbackReader, callback: RawCallback) -> bool:
    """Verified, and with it done what the relay's protocol asks for. Raises NotNow."""
    if not isinstance(reader, Handshaker):
        return reader.verify(callback)
    await reader.prepare(callback)
    if not reader.verify(callback):
        return False
    await reader.conclude(callback)
    return True
