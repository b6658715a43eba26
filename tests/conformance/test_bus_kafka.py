"""The bus on Kafka keeps the laws of the log on a real broker, and the promises of its own."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from event_log_laws import EventLogLaws, reading
from stored_jobs import Eyes, open_eyes

from posthouse.bus.kafka.callbacks import LARGEST, KafkaCallbacks, KafkaSink
from posthouse.bus.kafka.member import Member
from posthouse.bus.kafka.producer import Producer, Record
from posthouse.bus.kafka.topics import DEAD_LETTERS, PROCESSOR, RELAY_EVENTS, full_name
from posthouse.bus.port import EventLog
from posthouse.bus.postgres import PostgresCallbacks
from posthouse.config import KafkaSettings
from posthouse.domain.ids import RelayAccount
from posthouse.relays.base import RawCallback
from posthouse.storage.db import Database
from posthouse.storage.hints import Listener


class Callbacks:
    """EventLogHarness."""

    def __init__(self, kafka: KafkaSettings, db: Database, eyes: Eyes) -> None:
        self.settings = kafka
        self.parts = kafka.partitions
        self._db = db
        self._eyes = eyes
        self._house = AsyncExitStack()
        self._logs: dict[EventLog, AsyncExitStack] = {}

    async def open(self) -> None:
        listener = Listener(self._db.dsn, rng=random.Random(1)).running()
        self.inbox = PostgresCallbacks(
            self._db, await self._house.enter_async_context(listener), lambda _: None
        )
        self.producer = await self._house.enter_async_context(Producer(self.settings).running())

    async def log(self) -> KafkaCallbacks:
        sink = KafkaSink(self.settings, self.producer, self.inbox)
        log = KafkaCallbacks(self.settings, self.producer, sink, self.inbox)
        self._logs[log] = AsyncExitStack()
        return await self._logs[log].enter_async_context(log.reading(self.settings, PROCESSOR))

    async def end(self, log: EventLog) -> None:
        await self._logs.pop(log).aclose()

    async def restart(self) -> None:
        await asyncio.gather(*(self.end(log) for log in list(self._logs)))

    async def dead_letters(self) -> list[tuple[str, str, bytes]]:
        found: list[tuple[str, str, bytes]] = []
        async with Member(self.settings, "test.eyes", DEAD_LETTERS).running() as member:
            while not found:
                for record in await member.fetch(10, 0.1):
                    told = dict(record.headers() or ())
                    found.append((text(told["source"]), text(told["reason"]), record.value() or b""))
        return found

    async def let_pass(self, time: timedelta) -> None:
        await self._eyes.run(
            f"UPDATE relay_inbox SET not_before = not_before - interval '{time.total_seconds()} s'"
        )

    async def close(self) -> None:
        await self.restart()
        await self._house.aclose()


def text(value: object) -> str:
    assert isinstance(value, bytes)
    return value.decode()


@pytest.fixture
async def harness(kafka: KafkaSettings, database: Database) -> AsyncIterator[Callbacks]:
    eyes = await open_eyes(database.dsn)
    harness = Callbacks(kafka, database, eyes)
    await harness.open()
    yield harness
    await harness.close()
    await eyes.close()


class TestKafkaCallbacks(EventLogLaws):
    """On a real broker."""


async def test_a_callback_too_large_for_a_record_goes_by_the_table(harness: Callbacks) -> None:
    log = await harness.log()
    large = RawCallback("sendgrid", RelayAccount("news"), {}, bytes(LARGEST + 1))
    await log.append([large])
    async with reading(log, 1) as batch:
        assert batch.callbacks[0].callback == large


async def test_a_record_that_is_not_ours_is_nobodys_callback(harness: Callbacks) -> None:
    """Anything may be written into a topic. It is the processor's to set aside."""
    topic = full_name(harness.settings, RELAY_EVENTS)
    odd: list[tuple[str, bytes]] = [("relay", b"\xff\xfe"), ("account", b""), ("headers", b"[1")]
    await harness.producer.send(
        [Record(topic, b"", partition=0), Record(topic, b"x", headers=odd, partition=0)]
    )
    log = await harness.log()
    async with reading(log, 2) as batch:
        bare, strange = (held.callback for held in batch.callbacks)
    assert bare == RawCallback("unknown", RelayAccount("unknown"), {}, b"")
    assert (strange.account, strange.headers, strange.body) == ("unknown", {}, b"x")
