"""bus.port.EventLog over the topic `relay_events`, with `relay_inbox` for what a topic cannot hold.

Kafka has no later and no large records. What is postponed, and the few callbacks over LARGEST, go to the
table that is the log of the embedded bus, and are read from there by its reader.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import msgspec

from posthouse.bus.kafka.member import KafkaMessage, Member
from posthouse.bus.kafka.producer import Producer, Record, Turns
from posthouse.bus.kafka.topics import DEAD_LETTERS, RELAY_EVENTS, full_name
from posthouse.bus.port import CallbackBatch, HeldCallback, Position
from posthouse.bus.postgres import PostgresCallbacks, headers_from_json, headers_to_json
from posthouse.config import KafkaSettings
from posthouse.domain.ids import RelayAccount
from posthouse.relays.base import RawCallback
from posthouse.trace import new_trace, read_trace, traceparent_of

#: Brokers take records of a megabyte unless they are told otherwise. Bytes of headers and body.
LARGEST: Final = 900_000
#: The longest that a fetch may block its thread, and so an end. Seconds.
_LONGEST_WAIT: Final = 0.5
#: Whose callback this is, when the record does not say: the processor sets it aside.
_NOBODY: Final = "unknown"


class KafkaSink:
    """bus.port.CallbackSink.

    Callbacks go to the partitions in turn, those of one append to the same one: a house with one relay
    account has work for as many processors as there are partitions. What relays report may come in any order.
    """

    def __init__(self, settings: KafkaSettings, producer: Producer, inbox: PostgresCallbacks) -> None:
        self._topic = full_name(settings, RELAY_EVENTS)
        self._producer = producer
        self._turns = Turns(producer, self._topic)
        self._inbox = inbox

    async def append(self, callbacks: Sequence[RawCallback]) -> None:
        partition = await self._turns.next()
        records = [_record(self._topic, partition, callback) for callback in callbacks]
        large = [c for c, record in zip(callbacks, records, strict=True) if _size(record) > LARGEST]
        if large:
            await self._inbox.append(large)
        await self._producer.send([record for record in records if _size(record) <= LARGEST])


class KafkaCallbacks:
    """bus.port.EventLog for one processor, a member of the group."""

    def __init__(
        self, settings: KafkaSettings, producer: Producer, sink: KafkaSink, inbox: PostgresCallbacks
    ) -> None:
        self._dead_letters = full_name(settings, DEAD_LETTERS)
        self._producer = producer
        self._sink = sink
        self._inbox = inbox
        self._held: dict[Position, KafkaMessage] = {}

    @asynccontextmanager
    async def reading(self, settings: KafkaSettings, group: str) -> AsyncIterator["KafkaCallbacks"]:
        """In the group for as long as the context."""
        loop = asyncio.get_running_loop()

        def lost(partitions: frozenset[int]) -> None:
            loop.call_soon_threadsafe(self._forget, partitions)

        async with Member(settings, group, RELAY_EVENTS, lost).running() as self._member:
            yield self

    async def append(self, callbacks: Sequence[RawCallback]) -> None:
        await self._sink.append(callbacks)

    @asynccontextmanager
    async def read(self, limit: int) -> AsyncIterator[CallbackBatch]:
        async with self._inbox.read(limit) as due:
            if due.callbacks:
                yield due
                return
        if len(self._held) < limit:
            await self._fetch(limit - len(self._held), 0.0)
        held = list(self._held.values())[:limit]
        batch = _Batch([_held(message) for message in held])
        yield batch
        await self._finish(batch)

    async def wait(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + timeout
        while not self._held and (left := ends - loop.time()) > 0:
            await self._fetch(1, min(left, _LONGEST_WAIT))

    async def _fetch(self, limit: int, timeout: float) -> None:
        for message in await self._member.fetch(limit, timeout):
            self._held[_position(message)] = message

    def _forget(self, partitions: frozenset[int]) -> None:
        self._held = {at: message for at, message in self._held.items() if at.part not in partitions}

    async def _finish(self, batch: "_Batch") -> None:
        """The offsets last: a processor that dies on the way does some of it again, and skips nothing."""
        if batch.postponed:
            await self._inbox.keep(batch.postponed)
        await self._producer.send([self._dead_letter(*set_aside) for set_aside in batch.set_asides])
        done = [held.position for held in batch.callbacks]
        await self._member.commit({at.part: at.number + 1 for at in done})  # in order: the last one counts
        for at in done:
            self._held.pop(at, None)

    def _dead_letter(self, held: HeldCallback, reason: str, payload: bytes) -> Record:
        source = f"{held.callback.relay}/{held.callback.account}"
        headers = {
            "source": source,
            "reason": reason,
            "topic": RELAY_EVENTS,
            "partition": str(held.position.part),
            "offset": str(held.position.number),
            "received_at": held.received_at.isoformat(),
        }
        return Record(
            self._dead_letters,
            payload,
            key=source.encode("utf-8", "replace"),
            headers=[(name, value.encode("utf-8", "replace")) for name, value in headers.items()],
        )


class _Batch:
    """bus.port.CallbackBatch: what is to be done with each is kept until the batch is done with."""

    def __init__(self, callbacks: Sequence[HeldCallback]) -> None:
        self.callbacks = callbacks
        self.set_asides: list[tuple[HeldCallback, str, bytes]] = []
        self.postponed: list[tuple[HeldCallback, datetime]] = []

    async def set_aside(self, held: HeldCallback, reason: str, payload: bytes) -> None:
        self.set_asides.append((held, reason, payload))

    async def postpone(self, held: HeldCallback, until: datetime) -> None:
        self.postponed.append((held, until))


def _record(topic: str, partition: int, callback: RawCallback) -> Record:
    """The body as it came; what goes with it as headers, under the trace of the relay's request."""
    given = callback.headers.get("traceparent", "").encode("utf-8", "replace")
    trace = read_trace(given) or new_trace()
    headers = [
        ("relay", callback.relay.encode()),
        ("account", callback.account.encode()),
        ("headers", headers_to_json(callback.headers)),
        ("traceparent", traceparent_of(trace).encode("ascii")),
    ]
    return Record(topic, callback.body, headers=headers, partition=partition)


def _size(record: Record) -> int:
    return len(record.value) + sum(len(name) + len(value) for name, value in record.headers)


def _position(message: KafkaMessage) -> Position:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return Position(partition, offset)


def _held(message: KafkaMessage) -> HeldCallback:
    """Total: a record that is not one of ours is a callback of nobody's, and ends among the dead letters."""
    headers = dict(message.headers() or ())
    relay, account = (_text(headers.get(name)) or _NOBODY for name in ("relay", "account"))
    callback = RawCallback(
        relay, RelayAccount(account), _http_headers(headers.get("headers")), message.value() or b""
    )
    _, milliseconds = message.timestamp()
    return HeldCallback(_position(message), callback, datetime.fromtimestamp(milliseconds / 1000, UTC))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _http_headers(value: object) -> dict[str, str]:
    try:
        return headers_from_json(value) if isinstance(value, bytes) else {}
    except msgspec.DecodeError:
        return {}
