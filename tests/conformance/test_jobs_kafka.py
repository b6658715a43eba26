"""Jobs on Kafka keep the laws of the port, and those of a topic: doubles, poison, lost records, lag."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition
from job_source_laws import MARKETING, TRANSACTIONAL, JobSourceHarness, JobSourceLaws, ids_of, take
from stored_jobs import (
    PATIENCE,
    Eyes,
    Letter,
    Stored,
    StoredEvent,
    accept,
    cancel,
    enlisted,
    open_eyes,
    reschedule,
    residual,
)

from posthouse.bus.budget import LEAST
from posthouse.bus.dispatcher import POLL, Dispatcher, TopicState
from posthouse.bus.kafka import topics
from posthouse.bus.kafka.job_topic import KafkaJobTopic
from posthouse.bus.kafka.jobs import LOOKED_AT_AGAIN, KafkaJobs
from posthouse.bus.kafka.member import KafkaMessage, Member
from posthouse.bus.kafka.poison import SetAside
from posthouse.bus.kafka.producer import Producer, Record
from posthouse.bus.kafka.topics import DEAD_LETTERS, full_name, jobs_of
from posthouse.bus.port import JobSource
from posthouse.bus.postgres import PostgresHints, jobs_channel
from posthouse.clock import SystemClock
from posthouse.config import KafkaSettings
from posthouse.domain.errors import NotNow
from posthouse.domain.ids import DispatchId, InstanceId, JobId
from posthouse.domain.job import ClaimedJob, Held, Status
from posthouse.domain.stream import Stream
from posthouse.storage.db import Database
from posthouse.storage.hints import Hinter, Listener
from posthouse.telemetry import Metrics

#: Records in a row that cannot be processed stop their partition.
RUN = 20


class KafkaBus:
    """JobSourceHarness: a dispatcher for each stream, each source as a process of its own would have it."""

    one_order = False

    def __init__(
        self,
        db: Database,
        eyes: Eyes,
        settings: KafkaSettings,
        producer: Producer,
        hints: PostgresHints,
        listener: Listener,
    ) -> None:
        self.db = db
        self.eyes = eyes
        self.settings = settings
        self.producer = producer
        self.metrics = Metrics()
        self._hints = hints
        self._listener = listener
        self._processes: dict[int, AsyncExitStack] = {}

    async def source(self, stream: Stream = TRANSACTIONAL) -> tuple[KafkaJobs, InstanceId]:
        return await self._opened(KafkaJobs, stream)

    async def unlucky_source(self) -> tuple[JobSource, InstanceId]:
        return await self._opened(_AnswerLost, TRANSACTIONAL)

    async def _opened(self, kind: type[KafkaJobs], stream: Stream) -> tuple[KafkaJobs, InstanceId]:
        worker = await enlisted(self.db, stream)
        set_aside = SetAside(self.settings, jobs_of(stream), RUN, self.producer, self.metrics)
        process = AsyncExitStack()
        source = await process.enter_async_context(
            kind(self.db, self.settings, set_aside, SystemClock(), stream, worker).running()
        )
        self._processes[id(source)] = process
        return source, worker

    def dispatcher(self, stream: Stream) -> Dispatcher:
        return Dispatcher(
            self.db,
            stream,
            KafkaJobTopic(self.settings, self.producer, stream),
            self._listener.subscribe(jobs_channel(stream)),
            SystemClock(),
            random.Random(1),
            lambda: DispatchId(uuid4()),
            Metrics(),
        )

    async def put(self, jobs: Sequence[Held]) -> None:
        """Records of these jobs, as a dispatcher would produce them."""
        await self.put_raw([msgspec.json.encode(job) for job in jobs])

    async def put_raw(self, values: Sequence[bytes]) -> None:
        """Into one partition, in this order."""
        topic = full_name(self.settings, jobs_of(TRANSACTIONAL))
        await self.producer.send([Record(topic, value, partition=0) for value in values])

    async def look(self) -> TopicState:
        return await KafkaJobTopic(self.settings, self.producer, TRANSACTIONAL).look()

    async def records(self) -> int:
        """How many the topic has."""
        return sum(span.high - span.low for span in (await self.look()).spans.values())

    async def until_all_is_read(self, source: KafkaJobs) -> None:
        """Until the group has done with every record; there is no other job to take."""
        async with asyncio.timeout(PATIENCE):
            while any((s.committed or 0) < s.high for s in (await self.look()).spans.values()):
                assert await source.take(100) == []
                await source.wait(0.05)

    async def dead_letters(self, letters: int) -> dict[bytes, str]:
        """Reasons by value."""
        found: list[KafkaMessage] = []
        async with Member(self.settings, "test.eyes", DEAD_LETTERS).running() as member:
            async with asyncio.timeout(PATIENCE):
                while len(found) < letters:
                    found += await member.fetch(100, 0.1)
        return {one.value() or b"": _header(one, "reason") for one in found}

    def dead_letters_size(self) -> int:
        consumer = Consumer({"bootstrap.servers": self.settings.bootstrap_servers, "group.id": "test.size"})
        topic = full_name(self.settings, DEAD_LETTERS)
        places = [TopicPartition(topic, partition) for partition in range(self.settings.partitions)]
        sizes = [consumer.get_watermark_offsets(place) for place in places]
        consumer.close()
        return sum(high - low for low, high in sizes)

    async def make_topics(self) -> None:
        """A topic that is being deleted keeps its name for a moment."""
        async with asyncio.timeout(PATIENCE):
            while not await self._made():  # noqa: ASYNC110  # the cluster's state
                await asyncio.sleep(0.1)

    async def _made(self) -> bool:
        await asyncio.to_thread(topics.create, self.settings)
        return all(seen.found is not None for seen in await asyncio.to_thread(topics.look, self.settings))

    async def end(self, source: JobSource) -> None:
        await self._processes.pop(id(source)).aclose()

    async def close(self) -> None:
        for process in self._processes.values():
            await process.aclose()

    async def accept(self, letters: Sequence[Letter]) -> list[JobId]:
        ids = await accept(self.db, letters)
        for stream in sorted({letter.stream for letter in letters}):
            self._hints.jobs_due(stream)
        return ids

    async def suppress(self, address: str, *, scope: str, expires_in: timedelta | None) -> None:
        expires = "NULL" if expires_in is None else f"now() + interval '{expires_in.total_seconds()} s'"
        await self.eyes.run(f"""
            INSERT INTO email_suppression (address_key, scope, reason, source, expires_at)
            VALUES ('{address}', '{scope}', 'BOUNCE', 'event', {expires})""")

    async def standing(self, ids: Sequence[JobId]) -> list[Stored]:
        return await self.eyes.standing(ids)

    async def events(self, job_id: JobId) -> list[StoredEvent]:
        return await self.eyes.events(job_id)

    async def cancel(self, ids: Sequence[JobId]) -> None:
        await cancel(self.db, ids)

    async def reschedule(self, ids: Sequence[JobId], wait: timedelta) -> None:
        await reschedule(self.db, ids, wait)

    async def residual(self) -> list[str]:
        return await residual(self.db)


def _header(message: KafkaMessage, name: str) -> str:
    value = dict(message.headers() or ())[name]
    assert isinstance(value, bytes)
    return value.decode()


class _AnswerLost(KafkaJobs):
    """The connection breaks after the commit of the first claim that took something."""

    _lost = False

    async def take(self, limit: int) -> list[ClaimedJob]:
        answer = await super().take(limit)
        if answer and not self._lost:
            self._lost = True
            raise NotNow("The database is not available: the connection was lost.")
        return answer


@asynccontextmanager
async def kafka_bus(db: Database, settings: KafkaSettings) -> AsyncIterator[KafkaBus]:
    rng = random.Random(1)
    async with (
        Hinter(db.dsn, rng=rng).running() as hinter,
        Listener(db.dsn, rng=rng).running() as listener,
        Producer(settings).running() as producer,
        AsyncExitStack() as stack,
    ):
        eyes = await open_eyes(db.dsn)
        stack.push_async_callback(eyes.close)
        stop = asyncio.Event()
        dispatching = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(stop.set)
        bus = KafkaBus(db, eyes, settings, producer, PostgresHints(hinter), listener)
        for stream in Stream:
            dispatching.create_task(bus.dispatcher(stream).run(stop))
        stack.push_async_callback(bus.close)
        yield bus


class TestKafkaJobs(JobSourceLaws):
    @pytest.fixture
    async def harness(
        self, queue_database: Database, kafka: KafkaSettings
    ) -> AsyncIterator[JobSourceHarness]:
        async with kafka_bus(queue_database, kafka) as bus:
            yield bus


# -- a topic is not a table ---------------------------------------------------------------------------------


@pytest.fixture
async def bus(queue_database: Database, kafka: KafkaSettings) -> AsyncIterator[KafkaBus]:
    async with kafka_bus(queue_database, kafka) as bus:
        yield bus


async def queued(bus: KafkaBus, letters: int) -> list[Held]:
    """So many jobs, QUEUED, their records in the topic."""
    ids = await bus.accept([Letter()] * letters)
    await until_queued(bus, letters)
    return [Held(job_id, 0) for job_id in ids]


async def until_queued(bus: KafkaBus, records: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while await bus.records() < records:  # noqa: ASYNC110  # the cluster's state
            await asyncio.sleep(0.02)


async def test_doubles_in_any_order_make_no_second_claim(bus: KafkaBus) -> None:
    jobs = await queued(bus, 20)
    await bus.put([*reversed(jobs), *jobs, *jobs])
    source, _ = await bus.source()
    first = await take(source, 20)
    source.done([job.held for job in first])
    await bus.until_all_is_read(source)
    assert sorted(ids_of(first)) == [job.job_id for job in jobs]
    assert {stored.attempt for stored in await bus.standing(ids_of(first))} == {1}
    assert await bus.residual() == []


async def test_a_poison_record_goes_to_the_dead_letters_and_the_next_one_flows(bus: KafkaBus) -> None:
    stranger, foreign = Held(JobId(uuid4()), 0), (await bus.accept([Letter(stream=MARKETING)]))[0]
    await bus.put_raw([b"{", b'{"job_id": "x", "attempt": 0}', b'{"attempt": 99999999999}'])
    await bus.put([stranger, Held(foreign, 0)])
    (job,) = await bus.accept([Letter()])
    source, _ = await bus.source()
    (taken,) = await take(source, 1)
    assert taken.job_id == job
    source.done([taken.held])
    await bus.until_all_is_read(source)
    letters = await bus.dead_letters(5)
    assert letters[b"{"] == "it is not a record of a job"
    assert sorted(letters.values()) == [
        "it is not a record of a job",
        "it is not a record of a job",
        "it is not a record of a job",
        "it names a job of the stream marketing",
        "there is no such job in this house's database",
    ]
    assert await bus.residual() == []


async def test_a_run_of_poison_stops_its_partition_and_leaves_it_as_it_is(bus: KafkaBus) -> None:
    await bus.put_raw([b"not ours"] * (RUN + 5))
    await bus.put([Held(JobId(uuid4()), 0)])
    elsewhere = await bus.accept([Letter()] * 40)
    for _ in range(2):  # started again it is no further
        source, _ = await bus.source()
        await until_stopped(bus, source)
        assert (await bus.look()).spans[0].committed in (None, 0)
        await bus.end(source)
        assert stopped(bus) == 0
    assert await asyncio.to_thread(bus.dead_letters_size) == 0
    # The jobs of the other partitions are taken all the same.
    assert Status.SENDING in {stored.status for stored in await bus.standing(elsewhere)}


async def until_stopped(bus: KafkaBus, source: KafkaJobs) -> None:
    async with asyncio.timeout(PATIENCE):
        while stopped(bus) == 0:
            await source.take(100)
            await source.wait(0.05)


def stopped(bus: KafkaBus) -> float:
    return bus.metrics.registry.get_sample_value("posthouse_job_partitions_stopped") or 0.0


async def test_a_locked_job_is_looked_at_again(bus: KafkaBus) -> None:
    locked, free = await queued(bus, 2)
    source, _ = await bus.source()
    async with bus.db.transaction() as tx:
        await tx.execute("lock_jobs", [locked.job_id], locked.job_id, locked.job_id)
        assert ids_of(await take(source, 1)) == [free.job_id]
        await source.wait(2 * LOOKED_AT_AGAIN)
        assert await source.take(10) == []
    assert ids_of(await take(source, 1)) == [locked.job_id]


async def test_only_what_is_done_is_committed(bus: KafkaBus) -> None:
    await queued(bus, 40)
    source, _ = await bus.source()
    jobs = await take(source, 40, limit=10)
    early, late = jobs[:10], jobs[10:]
    source.done([job.held for job in late])
    await bus.end(source)
    committed = {p: span.committed or 0 for p, span in (await bus.look()).spans.items()}
    # What was in hand is read again, and found taken.
    other, _ = await bus.source()
    await bus.until_all_is_read(other)
    read_again = sum(s.high - committed[p] for p, s in (await bus.look()).spans.items())
    assert len(early) <= read_again <= 40
    assert {stored.status for stored in await bus.standing(ids_of(early))} == {Status.SENDING}


async def test_a_topic_that_was_made_again_gets_its_records_again(bus: KafkaBus) -> None:
    jobs = await queued(bus, 30)
    topics.drop(bus.settings)
    await bus.make_topics()
    source, _ = await bus.source()
    assert sorted(ids_of(await take(source, 30))) == [job.job_id for job in jobs]
    assert await bus.residual() == []


async def test_a_group_that_lags_is_not_fed_its_backlog_again(bus: KafkaBus) -> None:
    await bus.accept([Letter()] * 3_000)
    await until_queued(bus, LEAST)
    await bus.eyes.run("UPDATE dispatch SET queued_at = queued_at - interval '1 hour'")
    dispatcher = bus.dispatcher(TRANSACTIONAL)
    assert await dispatcher.sweep() == 0
    assert await bus.records() <= LEAST
    source, _ = await bus.source()
    taken = await take(source, 3_000)
    assert len({job.job_id for job in taken}) == 3_000
    source.done([job.held for job in taken])
    await bus.until_all_is_read(source)
    assert await bus.records() == 3_000
    assert await bus.residual() == []


async def test_any_number_of_dispatchers(bus: KafkaBus) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(bus.dispatcher(TRANSACTIONAL).run(stop))
        ids = await bus.accept([Letter()] * 900)
        source, _ = await bus.source()
        assert sorted(ids_of(await take(source, 900))) == ids
        stop.set()
    assert await bus.records() == 900
    assert await bus.residual() == []


async def test_a_hint_becomes_a_claim_soon(bus: KafkaBus) -> None:
    """By hints and not by polling: each mail is there long before the dispatcher would look again."""
    source, _ = await bus.source()
    (warm,) = await bus.accept([Letter()])
    assert ids_of(await take(source, 1)) == [warm]
    took = []
    for _ in range(20):
        began = time.monotonic()
        (job,) = await bus.accept([Letter()])
        assert ids_of(await take(source, 1)) == [job]
        took.append(time.monotonic() - began)
    assert sorted(took)[10] < POLL
