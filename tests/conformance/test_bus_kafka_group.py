"""A group whose members are slow, or stand still: who has which records, and what a late word is worth."""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta

import msgspec
import pytest
from stored_jobs import PATIENCE

from posthouse.bus.kafka.member import KafkaMessage, Member
from posthouse.bus.kafka.producer import Producer, Record
from posthouse.bus.kafka.standing import behind
from posthouse.bus.kafka.topics import EMAIL_EVENTS, full_name
from posthouse.config import KafkaSettings
from posthouse.domain.errors import NotNow

GROUP = "test.group"


@pytest.fixture
def impatient(own_kafka: KafkaSettings) -> KafkaSettings:
    """A group that waits 2 s for a member that asks for nothing. Only our own broker allows such sessions."""
    short = timedelta(seconds=2)
    return msgspec.structs.replace(own_kafka, session_timeout=short, max_poll_interval=short)


async def fetched(member: Member, count: int) -> list[KafkaMessage]:
    found: list[KafkaMessage] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < count:
            found += await member.fetch(count - len(found), 0.1)
    return found


async def fill(settings: KafkaSettings, count: int) -> None:
    topic = full_name(settings, EMAIL_EVENTS)
    async with Producer(settings).running() as producer:
        await producer.send([Record(topic, b"%d" % n, partition=0) for n in range(count)])


def offsets(records: list[KafkaMessage]) -> list[int]:
    return [record.offset() or 0 for record in records]


async def test_a_member_that_works_long_keeps_its_partitions(impatient: KafkaSettings) -> None:
    await fill(impatient, 3)
    async with Member(impatient, GROUP, EMAIL_EVENTS).running() as busy:
        first = await fetched(busy, 1)
        await asyncio.sleep(3.0)  # longer than the group waits for a member that asks for nothing
        await busy.commit({0: 1})
        assert offsets(first + await fetched(busy, 2)) == [0, 1, 2]
    assert await asyncio.to_thread(behind, impatient, EMAIL_EVENTS, GROUP) == 2


async def test_a_member_that_stood_still_has_lost_what_it_held(impatient: KafkaSettings) -> None:
    """Stopped by the machine, not busy: it cannot say that it lives, and others must not wait for ever."""
    await fill(impatient, 3)
    lost: set[int] = set()
    async with Member(impatient, GROUP, EMAIL_EVENTS, lost.update).running() as frozen:
        first = await fetched(frozen, 1)
        time.sleep(3.0)  # noqa: ASYNC251  # everything of this process stands still
        with suppress(NotNow):  # refused, or left out because the partition is known to be lost
            await frozen.commit({0: 1})
        assert offsets(first + await fetched(frozen, 3)) == [0, 0, 1, 2]
        assert 0 in lost
