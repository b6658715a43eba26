"""Where a consumer group stands in a topic, as the cluster tells it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Final, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from posthouse.bus.dispatcher import Span, TopicState
from posthouse.bus.kafka.connection import connection, not_now
from posthouse.bus.kafka.topics import full_name
from posthouse.config import KafkaSettings

#: Seconds for one question: the sweep asks every second, and a dispatcher that is told to end waits for it.
_ANSWER_WITHIN: Final = 5.0
_EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # not annotated there
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]

T = TypeVar("T")


class GroupInTopic:
    """Its calls block: make them from a thread."""

    def __init__(self, settings: KafkaSettings, topic: str, group: str) -> None:
        """Raises Misconfigured."""
        self._topic = full_name(settings, topic)
        self._group = full_name(settings, group)
        self._properties = connection(settings)
        self._admin: AdminClient | None = None

    def look(self) -> TopicState:
        """Raises NotNow when the cluster does not answer, or has no such topic."""
        # After a broker's death a client may wait for answers that never come, again and again, where a new
        # one is answered at once.
        admin, self._admin = self._admin or AdminClient(self._properties), None
        try:
            topics = TopicCollection([self._topic])
            description = _only(admin.describe_topics(topics, request_timeout=_ANSWER_WITHIN))
            partitions = [partition.id for partition in description.partitions]
            low = self._offsets(admin, partitions, _EARLIEST)
            high = self._offsets(admin, partitions, _LATEST)
            committed = self._committed(admin)
        except KafkaException as error:
            raise not_now(error) from error
        self._admin = admin
        spans = {p: Span(low[p], high[p], committed.get(p)) for p in partitions}
        return TopicState(str(description.topic_id), spans)

    def _offsets(self, admin: AdminClient, partitions: Sequence[int], spec: OffsetSpec) -> dict[int, int]:
        asked = {TopicPartition(self._topic, partition): spec for partition in partitions}
        answers = admin.list_offsets(asked, request_timeout=_ANSWER_WITHIN)
        return {one.partition: answer.result().offset for one, answer in answers.items()}

    def _committed(self, admin: AdminClient) -> dict[int, int]:
        """By partition; those of which the group has never said anything are missing."""
        asked = [ConsumerGroupTopicPartitions(self._group)]
        answers = admin.list_consumer_group_offsets(asked, request_timeout=_ANSWER_WITHIN)
        found = _only(answers).topic_partitions or []
        return {one.partition: one.offset for one in found if one.topic == self._topic and one.offset >= 0}


def _only(answers: "Mapping[str, Future[T]]") -> T:
    (answer,) = answers.values()
    return answer.result()
