"""Where a consumer group stands in a topic, as the cluster tells it."""

from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from posthouse.bus.dispatcher import Span, TopicState
from posthouse.bus.kafka.connection import connection, not_now
from posthouse.bus.kafka.topics import full_name
from posthouse.config import KafkaSettings

#: Seconds for one question: the sweep asks every second, and a dispatcher that is told to end waits for it.
_ANSWER_WITHIN: Final = 5.0


class GroupInTopic:
    """Its calls block: make them from a thread, one at a time."""

    def __init__(self, settings: KafkaSettings, topic: str, group: str) -> None:
        """Raises Misconfigured."""
        self._topic = full_name(settings, topic)
        self._properties = connection(settings)
        self._group = full_name(settings, group)
        self._eyes: tuple[AdminClient, Consumer] | None = None

    def look(self) -> TopicState:
        """Raises NotNow when the cluster does not answer, or has no such topic."""
        # After a broker's death a client may wait for answers that never come, again and again, where a new
        # one is answered at once.
        admin, consumer = self._eyes or self._opened()
        self._eyes = None
        try:
            asked = admin.describe_topics(TopicCollection([self._topic]), request_timeout=_ANSWER_WITHIN)
            description = asked[self._topic].result()
            spans = _spans(consumer, self._topic, [partition.id for partition in description.partitions])
        except KafkaException as error:
            consumer.close()
            raise not_now(error) from error
        self._eyes = admin, consumer
        return TopicState(str(description.topic_id), spans)

    def close(self) -> None:
        """Let go of its connections."""
        eyes, self._eyes = self._eyes, None
        if eyes is not None:
            eyes[1].close()

    def _opened(self) -> tuple[AdminClient, Consumer]:
        own = {"group.id": self._group, "enable.auto.commit": False}
        return AdminClient(self._properties), Consumer({**self._properties, **own})


def behind(settings: KafkaSettings, topic: str, group: str) -> int:
    """How many records of a topic the group has not done with. Raises NotNow."""
    standing = GroupInTopic(settings, topic, group)
    try:
        spans = standing.look().spans.values()
    finally:
        standing.close()
    return sum(span.high - max(span.committed or 0, span.low) for span in spans)


def _spans(consumer: Consumer, topic: str, partitions: list[int]) -> dict[int, Span]:
    """By a consumer that joins no group. The admin client's question for offsets crashes the process when the
    leader of a partition changes meanwhile (librdkafka 2.16), which takes no more than a broker's restart."""
    places = [TopicPartition(topic, partition) for partition in partitions]
    committed = {one.partition: one.offset for one in consumer.committed(places, timeout=_ANSWER_WITHIN)}
    spans = {}
    for place in places:
        low, high = consumer.get_watermark_offsets(place, timeout=_ANSWER_WITHIN)
        done = committed[place.partition]
        spans[place.partition] = Span(low, high, done if done >= 0 else None)
    return spans
