"""Records to the cluster, each set awaited as one: durable on every in-sync copy when `send` returns.

confluent-kafka's plain producer with its own polling thread, not its asyncio one: that one leaves a single
record lying for seconds, until its batch is full or its timer ends.
"""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from posthouse.bus.kafka.connection import REQUEST_TIMEOUT, Complaints, connection, not_now
from posthouse.config import KafkaSettings
from posthouse.domain.errors import NotNow
from posthouse.telemetry import log

#: A record that the cluster has not taken by then is given up. Senders repeat. Milliseconds.
_DELIVERY_TIMEOUT: Final = 5_000
#: Of what waits to be sent. More is refused, so that a cluster that is away costs a bounded memory.
_QUEUE_KBYTES: Final = 65_536
_POLL: Final = 0.2  # seconds

#: By topic and partition, the last offset of what was sent there.
LastOffsets = Mapping[tuple[str, int], int]
_Done: TypeAlias = "asyncio.Future[LastOffsets]"
_Delivered: TypeAlias = "confluent_kafka.Message[bytes, bytes]"


@dataclass(frozen=True, slots=True)
class Record:
    """`partition` None: by the key."""

    topic: str
    value: bytes
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int | None = None


class Producer:
    """`async with Producer(settings).running() as producer: await producer.send(records)`"""

    def __init__(self, settings: KafkaSettings) -> None:
        """Raises Misconfigured."""
        self._properties = {
            **connection(settings),
            "acks": "all",
            "enable.idempotence": True,  # no duplicates and no gaps from its own repeats
            "compression.type": settings.compression,
            "linger.ms": 0,  # a webhook waits for each; under load records gather behind those on the way
            "delivery.timeout.ms": _DELIVERY_TIMEOUT,
            "queue.buffering.max.kbytes": _QUEUE_KBYTES,
        }
        self._complaints = Complaints()
        self._producer = self._opened()
        self._broken = False
        self._ending = False
        self._settled: list[_Sending] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Producer"]:
        """Records that are on the way at the end are waited for, as long as a sender would have."""
        self._loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._poll, name="kafka producer", daemon=True)
        thread.start()
        await asyncio.to_thread(self._meet)
        try:
            yield self
        finally:
            self._ending = True
            await asyncio.to_thread(thread.join)

    async def send(self, records: Sequence[Record]) -> LastOffsets:
        """All or an error; after an error some may be there. Raises NotNow."""
        if not records:
            return {}
        if self._broken:
            self._producer, self._broken = self._opened(), False
        sending = _Sending(len(records), self._loop.create_future(), self._settled)
        try:
            for record in records:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    partition=-1 if record.partition is None else record.partition,
                    headers=list(record.headers),
                    on_delivery=sending.delivered,
                )
        except BufferError as error:
            raise NotNow("Too many records wait for Kafka already. Try again.") from error
        except KafkaException as error:
            raise not_now(error) from error
        return await sending.done

    async def partitions_of(self, topic: str) -> int:
        """How many there are. Raises NotNow."""
        return await asyncio.to_thread(self._partitions_of, topic)

    def _partitions_of(self, topic: str) -> int:
        try:
            found = self._producer.list_topics(topic, timeout=REQUEST_TIMEOUT).topics[topic]
        except KafkaException as error:
            raise not_now(error) from error
        if found.error is not None:
            raise not_now(KafkaException(found.error))
        return len(found.partitions)

    def _opened(self) -> confluent_kafka.Producer:
        return confluent_kafka.Producer({**self._properties, "error_cb": self._heed})

    def _heed(self, error: KafkaError) -> None:
        """A fatal error (a broker that lost its data, above all) ends a producer: the next send opens one."""
        self._complaints.heed(error)
        if error.fatal():
            self._broken = True

    def _meet(self) -> None:
        """Without it the first record waits half a second for the cluster's metadata."""
        try:
            self._producer.list_topics(timeout=REQUEST_TIMEOUT)
        except KafkaException as error:
            log.warning("Kafka is away", reason=not_now(error).message)

    def _poll(self) -> None:
        """The thread in which deliveries are reported. A loop is woken once for all that came together."""
        while not self._ending:
            self._producer.poll(_POLL)
            self._hand_over()
        self._producer.flush(_DELIVERY_TIMEOUT / 1000)
        self._hand_over()

    def _hand_over(self) -> None:
        if self._settled:
            bunch = self._settled[:]
            self._settled.clear()
            self._loop.call_soon_threadsafe(_settle, bunch)


class _Sending:
    """How many records of a set are still on the way. Touched by the polling thread only, once it is sent."""

    def __init__(self, records: int, done: _Done, settled: "list[_Sending]") -> None:
        self.done = done
        self.last: dict[tuple[str, int], int] = {}
        self.error: KafkaError | None = None
        self._waiting = records
        self._settled = settled

    def delivered(self, error: KafkaError | None, message: _Delivered) -> None:
        if error is None:
            self._note(message)
        else:
            self.error = self.error or error
        self._waiting -= 1
        if self._waiting == 0:
            self._settled.append(self)

    def _note(self, message: _Delivered) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        self.last[topic, partition] = offset  # reports of a partition come in its order


def _settle(bunch: Sequence[_Sending]) -> None:
    for sending in bunch:
        if sending.done.cancelled():
            continue
        if sending.error is None:
            sending.done.set_result(sending.last)
        else:
            sending.done.set_exception(not_now(KafkaException(sending.error)))


class Turns:
    """Partitions of a topic in turn: whose order does not matter is spread evenly over its consumers."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._turns: itertools.cycle[int] | None = None

    async def next(self) -> int:
        """Raises NotNow while the cluster was never reached."""
        if self._turns is None:
            self._turns = itertools.cycle(range(await self._producer.partitions_of(self._topic)))
        return next(self._turns)
