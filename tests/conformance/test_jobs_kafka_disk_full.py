"""The disk under the broker is full: mail is accepted on, nothing is lost, and it goes on with room again."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from job_source_laws import ids_of, take
from stored_jobs import PATIENCE, Letter
from test_jobs_kafka import KafkaBus, kafka_bus

from posthouse.bus.kafka import topics
from posthouse.bus.kafka.producer import Record
from posthouse.bus.kafka.topics import DEAD_LETTERS, full_name
from posthouse.cli.broker.server import Broker
from posthouse.config import KafkaSettings
from posthouse.domain.errors import NotNow
from posthouse.domain.job import Status
from posthouse.storage.db import Database

_DISK = "128m"
_BALLAST = 1 << 20  # bytes written at a time until there is no room


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system of its own, which takes root."""

    folder: Path

    def fill(self) -> None:
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            try:
                while ballast.write(bytes(_BALLAST)) == _BALLAST:
                    continue
            except OSError:
                return

    def make_room(self) -> None:
        (self.folder / "ballast").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={_DISK},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "posthouse-test", str(folder)], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def broker(disk: Disk) -> Iterator[Broker]:
    broker = Broker(disk.folder / "kafka", os.environ)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
async def bus(queue_database: Database, broker: Broker) -> AsyncIterator[KafkaBus]:
    settings = KafkaSettings(
        bootstrap_servers=broker.bootstrap_servers,
        partitions=2,
        replication_factor=1,
        min_insync_replicas=1,
    )
    topics.create(settings)
    async with kafka_bus(queue_database, settings) as bus:
        yield bus


async def test_the_brokers_disk_is_full(bus: KafkaBus, broker: Broker, disk: Disk) -> None:
    source, _ = await bus.source()
    before = await bus.accept([Letter()] * 5)
    assert sorted(ids_of(await take(source, 5))) == before

    disk.fill()
    await until_refused(bus)
    accepted = await bus.accept([Letter()] * 50)
    disk.make_room()
    await asyncio.to_thread(broker.kill)  # where its only disk has failed it has ended by itself
    broker.start()

    taken = await take(source, 50)
    assert sorted(ids_of(taken)) == accepted
    assert {stored.status for stored in await bus.standing(accepted)} == {Status.SENDING}
    assert {job.attempt for job in taken} == {1}
    assert await bus.residual() == []


async def until_refused(bus: KafkaBus) -> None:
    topic = full_name(bus.settings, DEAD_LETTERS)
    async with asyncio.timeout(PATIENCE):
        while await _takes(bus, Record(topic, os.urandom(10_000))):
            continue


async def _takes(bus: KafkaBus, record: Record) -> bool:
    try:
        await bus.producer.send([record])
    except NotNow:
        return False
    return True
