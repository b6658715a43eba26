"""How each client of ours reaches the cluster, and what its errors mean to the house."""

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from posthouse.config import KafkaSettings, secret
from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.telemetry import log

#: Seconds for one question to the cluster.
REQUEST_TIMEOUT: Final = 10.0
#: A complaint of the same kind is told again after so many seconds.
SAME_AFTER: Final = 30.0

#: What the promises rest on: a record acknowledged by all copies, an offset committed after the work.
_OURS: Final = frozenset(
    {
        "acks", "bootstrap.servers", "client.id", "compression.type", "enable.auto.commit",
        "enable.auto.offset.store", "enable.idempotence", "group.id", "group.instance.id", "group.protocol",
        "isolation.level", "max.poll.interval.ms", "partition.assignment.strategy", "partitioner",
        "request.required.acks", "session.timeout.ms", "transactional.id",
    }
)  # fmt: skip


#: And what names the place of each instead.
_SECRETS: Final = {
    "sasl.password": "sasl_password_env and sasl_password_file",
    "ssl.key.password": "tls_key_password_env and tls_key_password_file",
}


def connection(settings: KafkaSettings) -> dict[str, str | int | float | bool]:
    """librdkafka's properties for reaching the cluster. Raises Misconfigured."""
    for name in settings.client:
        if name in _OURS:
            raise Misconfigured(
                f"[kafka] client sets {name!r}, which Posthouse sets itself because its promises rest on it.",
                pointer=f"/kafka/client/{name}",
            )
        if name in _SECRETS:
            raise Misconfigured(
                f"[kafka] client holds {name!r}, and secrets do not stand in the file: {_SECRETS[name]} say "
                "where it is.",
                pointer=f"/kafka/client/{name}",
            )
    secrets = {
        "sasl.password": secret("", settings.sasl_password_env, settings.sasl_password_file),
        "ssl.key.password": secret("", settings.tls_key_password_env, settings.tls_key_password_file),
    }
    return {
        **settings.client,
        **{name: value for name, value in secrets.items() if value},
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "posthouse",
        "log_level": 0,  # its own lines on stderr; errors come to Complaints
        # A broker that comes back is found again within a second, not after the default 10.
        "reconnect.backoff.max.ms": 1000,
    }


def not_now(error: KafkaException) -> NotNow:
    """The cluster's word as an error of the house."""
    reason = error.args[0]
    words = reason.str() if isinstance(reason, KafkaError) else str(reason)
    return NotNow(f"Kafka does not take or give records now: {words}. Try again.")


class Complaints:
    """What one client says beside its answers. It goes on by itself, so this is for the log only: while a
    cluster is away it says the same several times a second."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._told: dict[str, float] = {}

    def heed(self, error: KafkaError) -> None:
        at, code = self._now(), error.name()
        if at - self._told.get(code, -SAME_AFTER) >= SAME_AFTER:
            self._told[code] = at
            log.warning("Kafka", code=code, reason=error.str())
