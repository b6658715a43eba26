"""`posthouse topics [create | leave]`: the house's topics on the Kafka cluster."""

import random
from collections.abc import Sequence

import typer
from rich.console import RenderableType

from posthouse.bus.kafka import topics
from posthouse.bus.kafka.topics import Seen, Topic
from posthouse.cli.call import Call, call_of, cell, run, table
from posthouse.cli.reach import reached
from posthouse.config import KafkaSettings, Settings
from posthouse.domain.duration import format_duration
from posthouse.domain.errors import Misconfigured
from posthouse.storage import outbox

group = typer.Typer(
    help="The house's Kafka topics: what the cluster has of them.", invoke_without_command=True
)


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="topics")


@group.callback()
def show(context: typer.Context) -> None:
    """Each topic as it is configured and as the cluster has it."""
    if context.invoked_subcommand is None:
        call = call_of(context)
        _answer(call, _kafka(call), [])


@group.command("create")
def create(context: typer.Context) -> None:
    """Make the topics that are not there. What is there stays as it is; two at once are safe."""
    call = call_of(context)
    settings = _kafka(call)
    _answer(call, settings, topics.create(settings))


@group.command("leave")
def leave(context: typer.Context) -> None:
    """When the house has moved from Kafka to PostgreSQL: put no more events by for it, and forget those that
    wait. The topics stay."""
    call = call_of(context)
    run(_leave(call.settings()))
    call.answer({"events_put_by": False}, "Events are not put by for Kafka any more.")


async def _leave(settings: Settings) -> None:
    if settings.kafka.bootstrap_servers:
        raise Misconfigured(
            "Kafka is configured, so every process of the house would begin again: take bootstrap_servers "
            "out of [kafka], and KAFKA_BOOTSTRAP_SERVERS out of the environment, first.",
            pointer="/kafka/bootstrap_servers",
        )
    async with reached(settings) as db:
        await outbox.put_events_by(db, rng=random.Random(), wanted=False)  # noqa: S311  # jitter, not secrets


def _kafka(call: Call) -> KafkaSettings:
    settings = call.settings().kafka
    if not settings.bootstrap_servers:
        raise Misconfigured(
            "No Kafka is configured, so the bus is PostgreSQL: set bootstrap_servers in [kafka] or "
            "KAFKA_BOOTSTRAP_SERVERS.",
            pointer="/kafka/bootstrap_servers",
        )
    return settings


def _answer(call: Call, settings: KafkaSettings, created: Sequence[str]) -> None:
    seen = topics.look(settings)
    call.answer({"created": list(created), "topics": list(map(_view, seen))}, _shown(seen, created))


def _view(seen: Seen) -> dict[str, object]:
    return {"name": seen.wanted.name, "state": _state(seen), "wanted": _like(seen.wanted),
            "found": None if seen.found is None else _like(seen.found)}  # fmt: skip


def _like(topic: Topic) -> dict[str, object]:
    return {
        "partitions": topic.partitions,
        "replication_factor": topic.replication_factor,
        "min_insync_replicas": topic.min_insync_replicas,
        "retention": format_duration(topic.retention),
    }


def _state(seen: Seen) -> str:
    if seen.found is None:
        return "missing"
    return "as configured" if seen.found == seen.wanted else "differs"


def _shown(seen: Sequence[Seen], created: Sequence[str]) -> RenderableType:
    shown = table("topic", "state", "partitions", "copies", "in sync", "kept")
    for one in seen:
        state = "created" if one.wanted.name in created else _state(one)
        has, wants = _like(one.found or one.wanted).values(), _like(one.wanted).values()
        cells = [str(a) if a == b else f"{a}, not {b}" for a, b in zip(has, wants, strict=True)]
        shown.add_row(cell(one.wanted.name), state, *cells)
    return shown
