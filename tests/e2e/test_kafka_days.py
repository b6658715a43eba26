"""A house on Kafka, its processes and its broker killed at every point of a job's way through the topic and
of the way back."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from uuid import UUID

import pytest
import pytest_asyncio
from house_client import mails
from house_config import SLOTS
from house_parts import PATIENCE, until
from kafka_house import KafkaHouse, running_kafka_house
from kill_report import Kill, reporting, verdict_of

from posthouse.bus.kafka.member import Member
from posthouse.bus.kafka.topics import EMAIL_EVENTS
from posthouse.domain.event import EventType
from posthouse.domain.stream import Stream

pytestmark = pytest.mark.asyncio(loop_scope="module")

TX, MK = "worker-transactional", "worker-marketing"
BOTH = tuple(Stream)


@pytest.fixture(scope="module")
def report() -> Iterator[list[Kill]]:
    with reporting("kafka") as kills:
        yield kills


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kafka() -> AsyncIterator[KafkaHouse]:
    async with running_kafka_house() as running:
        yield running


async def verdict(kafka: KafkaHouse, role: str, point: str, tag: str, streams: Sequence[Stream]) -> Kill:
    """The three ledgers agree, and nothing transactional has waited for too long."""
    kill = await verdict_of(kafka.house, (role, point), tag, streams, bus="kafka")
    assert await kafka.house.count("longest_wait", f"%-{tag}-tr%") <= 30_000
    return kill


# A worker dies before its work, and after it before the offset is committed; the dispatcher at each point.
@pytest.mark.parametrize(
    ("in_dispatcher", "in_worker", "nth"),
    [
        ("dispatcher.queued", "worker.claimed", 2),
        ("dispatcher.produced", "worker.before_record", 2),
        ("dispatcher.placed", "worker.recorded", 3),
    ],
)
async def test_killed_on_the_way(
    kafka: KafkaHouse, report: list[Kill], in_dispatcher: str, in_worker: str, nth: int
) -> None:
    house = kafka.house
    tag = in_dispatcher.replace(".", "")
    points = {"dispatcher": (in_dispatcher, 3), TX: (in_worker, nth), MK: (in_worker, nth)}
    parts = {name: house.parts[name] for name in points}
    await asyncio.gather(*(parts[name].restart(f"{point}=kill:{n}") for name, (point, n) in points.items()))
    before = {name: (len(part.ends), len(part.hits)) for name, part in parts.items()}

    promised = await house.client.post_all(mails(tag, 60))

    assert len({promise.job_id for promise in promised}) == 120
    for name, (point, _) in points.items():
        lives, hits = before[name]
        assert await parts[name].ended(lives) == -signal.SIGKILL, parts[name].last_words()
        assert parts[name].hits[hits:] == [point]
    await asyncio.gather(*(part.ready() for part in parts.values()))
    report.append(await verdict(kafka, "dispatcher", in_dispatcher, tag, BOTH))
    report.append(await verdict(kafka, TX, in_worker, tag, [Stream.TRANSACTIONAL]))
    report.append(await verdict(kafka, MK, in_worker, tag, [Stream.MARKETING]))


async def test_killed_broker(kafka: KafkaHouse, report: list[Kill]) -> None:
    """kill -9 under load: mail is accepted on, and goes when the broker is back. No role ends by it."""
    house = kafka.house
    lives = {name: len(part.ends) for name, part in house.parts.items()}
    async with house.client.posting(mails("broker", 150)):
        await until("mail flows", lambda: len(house.arrived("broker")) > 30)
        await asyncio.to_thread(kafka.broker.kill)
        await kafka.broker_back()

    report.append(await verdict(kafka, "broker", "under load", "broker", BOTH))
    assert lives == {name: len(part.ends) for name, part in house.parts.items()}


async def test_a_stopped_worker_is_relieved_and_continued(kafka: KafkaHouse, report: list[Kill]) -> None:
    """Stopped past its lease and past max.poll.interval: its partitions are another's, its word is late."""
    house = kafka.house
    worker = house.parts[TX]
    await worker.restart("relay.smtp.accepted=stop:12")
    lives = len(worker.ends)
    async with house.another_worker(Stream.TRANSACTIONAL):
        await house.client.post_all(mails("stopped", 60, Stream.TRANSACTIONAL))
        await until("it sleeps", lambda: worker.hits[-1:] == ["relay.smtp.accepted"])
        await house.settled()
        await until("all is read", lambda: all_read(kafka, Stream.TRANSACTIONAL))

        worker.send(signal.SIGCONT)

        assert await worker.ended(lives) not in (0, -signal.SIGKILL)
        await worker.ready()
    report.append(
        await verdict(kafka, TX, "stopped past max.poll.interval", "stopped", [Stream.TRANSACTIONAL])
    )
    told = await house.told_of("stopped")
    assert told.duplicates <= SLOTS
    for story in told.stories.values():
        assert story.events.count(EventType.SENT) == told.arrivals[story.job_id]


async def all_read(kafka: KafkaHouse, stream: Stream) -> bool:
    return await kafka.unread_jobs(stream) == 0


async def test_one_of_three_workers_is_killed(kafka: KafkaHouse, report: list[Kill]) -> None:
    """The others go on meanwhile, and with its partitions within seconds."""
    house = kafka.house
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(house.another_worker(Stream.MARKETING)) for _ in range(2)]
        async with house.client.posting(mails("three", 400, Stream.MARKETING)):
            await until("mail flows", lambda: len(house.arrived("three")) > 50)
            others[0].send(signal.SIGKILL)
            killed = time.monotonic()
            seen = len(house.arrived("three"))
            await until("sending goes on", lambda: len(house.arrived("three")) > seen + 16, within=5.0)
            gap = time.monotonic() - killed
        report.append(await verdict(kafka, MK, "one of three, under load", "three", [Stream.MARKETING]))
    assert gap < 5.0


async def test_a_rolling_restart_loses_and_doubles_nothing(kafka: KafkaHouse) -> None:
    house = kafka.house
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(house.another_worker(stream)) for stream in BOTH]
        rest = [house.parts[name] for name in (TX, MK, "dispatcher", "processor", "track", "api")]
        async with house.client.posting(mails("rolling", 300)):
            await until("mail flows", lambda: len(house.arrived("rolling")) > 20)
            for part in [*workers, *rest]:
                await part.restart()
    await house.settled()
    await house.assert_clean()
    told = await house.told_of("rolling")
    assert len(told.stories) == 600
    assert set(told.arrivals) == set(told.stories)
    assert (told.duplicates, told.unknown) == (0, frozenset())


async def test_job_topics_are_deleted_and_made_again(kafka: KafkaHouse) -> None:
    """With records in them that nobody has read."""
    house = kafka.house
    workers = [house.parts[TX], house.parts[MK]]
    for worker in workers:
        await worker.down()
    await house.client.post_all(mails("topic", 60))
    await until("all is in the topics", lambda: in_the_topics(kafka, 60))

    await kafka.delete_job_topics()
    await kafka.make_topics()
    await asyncio.gather(*(worker.up() for worker in workers))

    await house.settled()
    await house.assert_clean()
    told = await house.told_of("topic")
    assert set(told.arrivals) == set(told.stories)
    assert told.duplicates == 0


async def in_the_topics(kafka: KafkaHouse, jobs: int) -> bool:
    return all([await kafka.unread_jobs(stream) == jobs for stream in BOTH])


async def test_killed_on_the_way_of_callbacks_and_events(kafka: KafkaHouse, report: list[Kill]) -> None:
    """One life for each point, while mail flows. The topic of events then has what the table has."""
    points = [
        ("api", "receiver.stored"),
        ("processor", "processor.read"),
        ("processor", "processor.recorded"),
        ("processor", "processor.acknowledged"),
        ("processor", "outbox.taken"),
        ("processor", "outbox.published"),
    ]
    for role, point in points:
        part = kafka.house.parts[role]
        lives, hits = len(part.ends) + 1, len(part.hits)  # one more ends when it is told to restart
        await part.restart(f"{point}=kill")
        await kafka.house.client.post_all(mails(point.replace(".", ""), 10))
        assert await part.ended(lives) == -signal.SIGKILL, part.last_words()
        assert part.hits[hits:] == [point]
        await part.ready()
    for role, point in points:
        report.append(await verdict(kafka, role, point, point.replace(".", ""), BOTH))
    await until("every event is out", lambda: is_published(kafka))
    assert set(await published_events(kafka)) == await stored_events(kafka)


async def is_published(kafka: KafkaHouse) -> bool:
    return await kafka.house.count("outbox") == 0


async def stored_events(kafka: KafkaHouse) -> set[str]:
    async with kafka.house.looking() as wire:
        return {str(event_id) for event_id in await wire.column(UUID, "stored_events")}


async def published_events(kafka: KafkaHouse) -> list[str]:
    """All that is on the topic, those that came twice too."""
    found: list[str] = []
    left = await kafka.lag(EMAIL_EVENTS, "test.eyes")
    reading = Member(kafka.settings, "test.eyes", EMAIL_EVENTS).running()
    async with asyncio.timeout(PATIENCE), reading as member:
        while len(found) < left:
            for record in await member.fetch(500, 0.1):
                found.append(json.loads(record.value() or b"")["event_id"])
    return found
