"""Records that cannot be processed: one or a few go to the dead letters, a run of them stops the consumer.

A few are somebody's mistake. A run means that the mistake is ours (another house's topic, a database that was
made anew, a newer format), and then the dead letters are no place for the whole topic.
"""

from collections.abc import Sequence

from posthouse.bus.kafka.job_records import JobRecord
from posthouse.bus.kafka.producer import Producer, Record
from posthouse.bus.kafka.topics import DEAD_LETTERS, full_name
from posthouse.config import KafkaSettings
from posthouse.domain.errors import PoisonRun
from posthouse.telemetry import Metrics, log


class SetAside:
    """For one member. A record stays unacknowledged until it is known whether it belongs to a run."""

    def __init__(
        self, settings: KafkaSettings, topic: str, limit: int, producer: Producer, metrics: Metrics
    ) -> None:
        """`limit`: so many in a row, with none between them that could be processed, are a run."""
        self._topic = topic
        self._limit = limit
        self._dead_letters = full_name(settings, DEAD_LETTERS)
        self._producer = producer
        self._metrics = metrics
        self._suspects: list[tuple[JobRecord, str]] = []
        self._single: list[tuple[JobRecord, str]] = []

    def suspect(self, record: JobRecord, reason: str) -> None:
        """Records are told of in the order in which they were read."""
        self._suspects.append((record, reason))

    def no_run(self) -> None:
        """A record that could be processed, or nothing more to read: those before it were single ones."""
        if len(self._suspects) < self._limit:
            self._single += self._suspects
            self._suspects = []

    def refuse_a_run(self) -> None:
        """Raises PoisonRun."""
        if len(self._suspects) >= self._limit:
            record, reason = self._suspects[0]
            raise PoisonRun(
                f"{len(self._suspects)} records in a row of the topic {self._topic} cannot be processed, "
                f"from offset {record.offset} of partition {record.partition} on: {reason}. They are kept, "
                "and no mail of their partition is sent until that is mended. Does this process belong to "
                "this cluster, prefix and database? To set them all aside as dead letters instead, raise "
                "poison_limit in [house].",
                pointer="/house/poison_limit",
            )

    async def bury(self) -> list[JobRecord]:
        """Send the single ones to the dead letters; returns them, now done with. Raises NotNow."""
        single = self._single
        if not single:
            return []
        await self._producer.send([self._letter(record, reason) for record, reason in single])
        self._single = []
        self._metrics.dead_letters.labels(self._topic).inc(len(single))
        for record, reason in single:
            log.error(
                "record set aside",
                topic=self._topic, partition=record.partition, offset=record.offset, reason=reason,
            )  # fmt: skip
        return [record for record, _ in single]

    def forget(self, partitions: frozenset[int]) -> None:
        """They are another member's, who reads these records again."""
        self._suspects = _without(self._suspects, partitions)
        self._single = _without(self._single, partitions)

    def _letter(self, record: JobRecord, reason: str) -> Record:
        """The record as it came, and why it is here."""
        headers = {
            "source": self._topic,
            "reason": reason,
            "topic": self._topic,
            "partition": str(record.partition),
            "offset": str(record.offset),
        }
        return Record(
            self._dead_letters,
            record.message.value() or b"",
            key=record.message.key(),
            headers=[(name, value.encode()) for name, value in headers.items()],
        )


def _without(
    records: Sequence[tuple[JobRecord, str]], partitions: frozenset[int]
) -> list[tuple[JobRecord, str]]:
    return [(record, reason) for record, reason in records if record.partition not in partitions]
