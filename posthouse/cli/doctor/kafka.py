"""Whether the Kafka cluster is there and has the house's topics as they are configured."""

from posthouse.bus.kafka import topics
from posthouse.cli.doctor.check import Check, failed, ok, warning
from posthouse.config import Settings
from posthouse.domain.errors import Misconfigured, NotNow

_NAME = "kafka"


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
    return [ok(_NAME, f"{len(seen)} topics, as configured")]
