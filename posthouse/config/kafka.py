"""The table [kafka]: the bus on a Kafka cluster."""

from datetime import timedelta
from typing import Literal

import msgspec

from posthouse.config.table import Positive, Table


class KafkaSettings(Table, frozen=True, kw_only=True):
    """Which Kafka is the bus. Without bootstrap_servers the bus is PostgreSQL."""

    #: Brokers to begin with, as in "kafka1:9092,kafka2:9092". KAFKA_BOOTSTRAP_SERVERS wins.
    bootstrap_servers: str = ""
    #: In front of the name of each topic and consumer group: houses that share a cluster need one each.
    prefix: str = ""
    #: Of each topic that `posthouse topics create` makes: at most so many processes share its records.
    partitions: Positive = 12
    #: Copies of each partition. A cluster of one broker can only have 1.
    replication_factor: Positive = 3
    #: Copies that must have a record before it counts as written. With 2 of 3, one broker may be away.
    min_insync_replicas: Positive = 2
    #: How long records are kept.
    retention: timedelta = timedelta(days=7)
    #: How long dead letters are kept.
    dead_letter_retention: timedelta = timedelta(days=30)
    #: Of records on the wire and on disk.
    compression: Literal["none", "lz4", "zstd"] = "lz4"
    #: For static membership: a name of this process that no other of its role has. With it a restart within
    #: session_timeout moves no partitions. POSTHOUSE_KAFKA_INSTANCE wins.
    instance: str = ""
    #: A member of a consumer group that is not heard of for so long loses its partitions: so long the mail of
    #: a killed worker's partitions waits. Brokers take 6s and more, unless they are told otherwise.
    session_timeout: timedelta = timedelta(seconds=6)
    #: A process that hangs for so long loses its partitions; one whose relays are slow does not.
    max_poll_interval: timedelta = timedelta(seconds=15)
    #: Name of the environment variable that holds the password for SASL.
    sasl_password_env: str = ""
    #: File that holds the password for SASL.
    sasl_password_file: str = ""
    #: Name of the environment variable that holds the password of the TLS key.
    tls_key_password_env: str = ""
    #: File that holds the password of the TLS key.
    tls_key_password_file: str = ""
    #: Properties of librdkafka, for TLS and SASL above all: "security.protocol", "ssl.ca.location",
    #: "sasl.mechanism", "sasl.username". What Posthouse's promises rest on cannot be set here.
    client: dict[str, str] = msgspec.field(default_factory=dict)
