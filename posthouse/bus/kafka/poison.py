"""Records that cannot be processed: one or a few go to the dead letters, a run of them stops its partition.

A few are somebody's mistake. A run means that the mistake is ours (another house's topic, a database that was
made anew, a newer format), and then the dead letters are no place for the whole topic. The other partitions
flow on meanwhile: what one of them holds is no reason to keep back the mail of all.
"""

from collections.abc import Sequence
from typing import TypeAlias

from posthouse.bus.kafka.job_records import JobRecord
from posthouse.bus.kafka.producer import Producer, Record
from posthouse.bus.kafka.topics import DEAD_LETTERS, full_name
from posthouse.config import KafkaSettings
from posthouse.telemetry import Metrics, log

#: With the reason why it cannot be processed.
_Suspect: TypeAlias = tuple[JobRecord, str]


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
        self._suspects: dict[int, list[_Suspect]] = {}  # by partition, in the order of reading
        self._single: list[_Suspect] = []
        self._stopped: set[int] = set()

    def is_stopped(self, partition: int) -> bool:
        """Nothing more of it is to be processed by this member."""
        return partition in self._stopped

    def suspect(self, record: JobRecord, reason: str) -> None:
        """Records of a partition are told of in the order in which they were read."""
        run = self._suspects.setdefault(record.partition, [])
        run.append((record, reason))
        if len(run) >= self._limit and record.partition not in self._stopped:
            self._stop(run)

    def good(self, partition: int) -> None:
        """A record of it could be processed: those before it were single ones."""
        if partition not in self._stopped:
            self._single += self._suspects.pop(partition, ())

    def quiet(self) -> None:
        """There is nothing more to read: what there is are single ones."""
        for partition in list(self._suspects):
            self.good(partition)

    def _stop(self, run: Sequence[_Suspect]) -> None:
        record, reason = run[0]
        self._stopped.add(record.partition)
        self._metrics.job_partitions_stopped.set(len(self._stopped))
        log.error(
            "a run of records cannot be processed: their partition is stopped, none of them is set aside. "
            "Does this process belong to this cluster, prefix and database? Mend that and start it again; to "
            "set them all aside as dead letters instead, raise poison_limit in [house].",
            topic=self._topic, partition=record.partition, offset=record.offset, reason=reason,
        )  # fmt: skip

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
        for partition in partitions:
            self._suspects.pop(partition, None)
        self._single = [one for one in self._single if one[0].partition not in partitions]
        self._stopped -= partitions
        self._metrics.job_partitions_stopped.set(len(self._stopped))

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
