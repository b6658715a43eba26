"""The house's topics and consumer groups: their names, what they should be like, what the cluster has."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, NewTopic

from posthouse.bus.kafka.connection import REQUEST_TIMEOUT, connection, not_now
from posthouse.config import KafkaSettings
from posthouse.domain.errors import Misconfigured
from posthouse.domain.stream import Stream

#: Raw callbacks of relays, durable before the relay gets its 2xx.
RELAY_EVENTS: Final = "relay_events"
#: Normalised events, for analytics and other consumers.
EMAIL_EVENTS: Final = "email_events"
#: Records that could not be processed, each with its reason.
DEAD_LETTERS: Final = "dead_letters"
#: The consumer group of the event processors.
PROCESSOR: Final = "posthouse.processor"


def jobs_of(stream: Stream) -> str:
    """The topic of the ids of due jobs."""
    return f"email_jobs.{stream.value}"


def workers_of(stream: Stream) -> str:
    """The consumer group of a stream's workers."""
    return f"posthouse.{stream.value}"


def full_name(settings: KafkaSettings, name: str) -> str:
    """Of a topic or a group, as the cluster knows it."""
    return settings.prefix + name


@dataclass(frozen=True, slots=True)
class Topic:
    """What a topic is like, or should be."""

    name: str
    partitions: int
    replication_factor: int
    min_insync_replicas: int
    retention: timedelta


@dataclass(frozen=True, slots=True)
class Seen:
    """A topic as the configuration wants it, and as the cluster has it; None: it is not there."""

    wanted: Topic
    found: Topic | None


def wanted(settings: KafkaSettings) -> list[Topic]:
    """Every topic of the house."""
    kept = {DEAD_LETTERS: settings.dead_letter_retention}
    names = [*map(jobs_of, Stream), RELAY_EVENTS, EMAIL_EVENTS, DEAD_LETTERS]
    return [
        Topic(
            full_name(settings, name),
            settings.partitions,
            settings.replication_factor,
            settings.min_insync_replicas,
            kept.get(name, settings.retention),
        )
        for name in names
    ]


def look(settings: KafkaSettings) -> list[Seen]:
    """What the cluster has of them. Raises NotNow when it does not answer."""
    admin = AdminClient(connection(settings))
    try:
        present = admin.list_topics(timeout=REQUEST_TIMEOUT).topics
        topics = wanted(settings)
        there = [topic.name for topic in topics if topic.name in present]
        configs = _configs(admin, there)
    except KafkaException as error:
        raise not_now(error) from error
    found = {
        name: _found(name, [len(p.replicas) for p in present[name].partitions.values()], configs[name])
        for name in there
    }
    return [Seen(topic, found.get(topic.name)) for topic in topics]


def create(settings: KafkaSettings) -> list[str]:
    """Make the topics that are not there; returns their names. What is there stays as it is.

    Raises NotNow, and Misconfigured when the cluster cannot have them as configured.
    """
    missing = [seen.wanted for seen in look(settings) if seen.found is None]
    if not missing:
        return []
    admin = AdminClient(connection(settings))
    made = admin.create_topics([_new(topic) for topic in missing], request_timeout=REQUEST_TIMEOUT)
    for name, done in made.items():
        _await_creation(name, done)
    return [topic.name for topic in missing]


def drop(settings: KafkaSettings) -> None:
    """Take the house's topics away, with their records. For tests."""
    there = [seen.wanted.name for seen in look(settings) if seen.found is not None]
    admin = AdminClient(connection(settings))
    for done in admin.delete_topics(there, request_timeout=REQUEST_TIMEOUT).values() if there else ():
        done.result()


def _new(topic: Topic) -> NewTopic:
    return NewTopic(
        topic.name,
        num_partitions=topic.partitions,
        replication_factor=topic.replication_factor,
        config={
            "min.insync.replicas": str(topic.min_insync_replicas),
            "retention.ms": str(int(topic.retention / timedelta(milliseconds=1))),
        },
    )


def _await_creation(name: str, done: "Future[None]") -> None:
    try:
        done.result()
    except KafkaException as error:
        reason = error.args[0]
        match reason.code():
            case KafkaError.TOPIC_ALREADY_EXISTS:  # somebody made it in this moment
                return
            case (
                KafkaError.INVALID_REPLICATION_FACTOR
                | KafkaError.INVALID_CONFIG
                | KafkaError.INVALID_PARTITIONS
            ):
                raise Misconfigured(
                    f"The Kafka cluster cannot have the topic {name}: {reason.str()} Change "
                    "replication_factor, min_insync_replicas or partitions in [kafka]; a cluster of one "
                    "broker needs 1 and 1.",
                    pointer="/kafka",
                ) from error
            case KafkaError.TOPIC_AUTHORIZATION_FAILED | KafkaError.CLUSTER_AUTHORIZATION_FAILED:
                raise Misconfigured(
                    f"The Kafka cluster does not let this user create the topic {name}: create it otherwise, "
                    "or give the user of [kafka] the right.",
                    pointer="/kafka/client",
                ) from error
            case _:
                raise not_now(error) from error


def _configs(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, ConfigEntry]]:
    if not names:
        return {}
    asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    answers = admin.describe_configs(asked, request_timeout=REQUEST_TIMEOUT)
    return {resource.name: answer.result() for resource, answer in answers.items()}


def _found(name: str, replicas: Iterable[int], config: dict[str, ConfigEntry]) -> Topic:
    copies = list(replicas)
    return Topic(
        name,
        len(copies),
        min(copies),
        _number(config["min.insync.replicas"]),
        timedelta(milliseconds=_number(config["retention.ms"])),
    )


def _number(entry: ConfigEntry) -> int:
    assert entry.value is not None, f"{entry.name} is a secret only where it is a password"
    return int(entry.value)
