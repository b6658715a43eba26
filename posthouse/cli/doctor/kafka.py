"""Whether the Kafka cluster is there and has the house's topics as they are configured."""

from posthouse.bus.kafka import topics
from posthouse.bus.kafka.standing import behind
from posthouse.cli.doctor.check import Check, failed, ok, warning
from posthouse.config import KafkaSettings, Settings
from posthouse.domain.errors import Misconfigured, NotNow

_NAME = "kafka"
#: Callbacks that wait: seconds of one processor's work.
_MANY = 1000


def kafka_checks(settings: Settings) -> list[Check]:
    """Nothing where the bus is PostgreSQL."""
    if not settings.kafka.bootstrap_servers:
        return []
    try:
        seen = topics.look(settings.kafka)
    except (NotNow, Misconfigured) as error:
        return [failed(_NAME, error.message, "Relays' callbacks are answered with 503 until it is back.")]
    missing = [one.wanted.name for one in seen if one.found is None]
    if missing:
        return [failed(_NAME, f"topics are missing: {', '.join(missing)}", "Run `posthouse topics create`.")]
    other = [one.wanted.name for one in seen if one.found != one.wanted]
    if other:
        return [warning(_NAME, f"not as configured: {', '.join(other)}", "`posthouse topics` shows how.")]
    return [ok(_NAME, f"{len(seen)} topics, as configured"), _callbacks(settings.kafka)]


def _callbacks(kafka: KafkaSettings) -> Check:
    try:
        waiting = behind(kafka, topics.RELAY_EVENTS, topics.PROCESSOR)
    except NotNow as error:
        return failed("callbacks on kafka", error.message, "Look again.")
    if waiting > _MANY:
        return warning(
            "callbacks on kafka", f"{waiting} wait", "Is the processor running, or too slow alone?"
        )
    return ok("callbacks on kafka", f"{waiting} wait")
