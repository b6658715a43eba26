"""A broker for benches on Kafka, and the house's table that names it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posthouse.bus.kafka import topics
from posthouse.cli.broker.server import running
from posthouse.config import KafkaSettings

PARTITIONS = 12

_TABLE = """
[kafka]
bootstrap_servers = "{servers}"
partitions = {partitions}
replication_factor = 1
min_insync_replicas = 1
"""


@contextmanager
def bench_broker() -> Iterator[KafkaSettings]:
    """A broker of its own, with the house's topics."""
    with (
        tempfile.TemporaryDirectory(prefix="posthouse-bench-kafka-") as folder,
        running(Path(folder) / "kafka", os.environ) as broker,
    ):
        settings = KafkaSettings(
            bootstrap_servers=broker.bootstrap_servers,
            partitions=PARTITIONS,
            replication_factor=1,
            min_insync_replicas=1,
        )
        topics.create(settings)
        yield settings


def table_of(settings: KafkaSettings) -> str:
    """What a bench house's configuration says of it."""
    return _TABLE.format(servers=settings.bootstrap_servers, partitions=PARTITIONS)
