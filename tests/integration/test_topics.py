"""`posthouse topics` on a real broker."""

from dataclasses import replace

import msgspec
import pytest
from cli_shell import Shell, on_a_terminal

from posthouse.bus.kafka import topics
from posthouse.bus.kafka.connection import connection as properties
from posthouse.cli.doctor.check import State
from posthouse.cli.doctor.kafka import kafka_checks
from posthouse.cli.exits import Exit
from posthouse.config import DEVELOPMENT, KafkaSettings, load
from posthouse.domain.errors import Misconfigured, NotNow

_TABLE = """
[kafka]
prefix = "{prefix}"
partitions = 3
replication_factor = {copies}
min_insync_replicas = 1
retention = "2d"
"""


def house_on(kafka: KafkaSettings, bare: Shell, *, copies: int = 1) -> Shell:
    """The command line with a configuration of its own on the test's cluster."""
    text = DEVELOPMENT.format(folder="data") + _TABLE.format(prefix=kafka.prefix, copies=copies)
    (bare.folder / "posthouse.toml").write_text(text)
    servers = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    return replace(bare, environment={**bare.environment, **servers})


async def test_topics_are_shown_made_once_and_shown_again(bare: Shell, empty_kafka: KafkaSettings) -> None:
    shell = house_on(empty_kafka, bare)
    before = (await shell.posthouse("topics")).json()
    assert states(before) == dict.fromkeys(names(empty_kafka), "missing")

    made = (await shell.posthouse("topics", "create")).json()
    assert made["created"] == names(empty_kafka)
    assert states(made) == dict.fromkeys(names(empty_kafka), "as configured")

    again = (await shell.posthouse("topics", "create")).json()
    assert again["created"] == []
    found = {one.wanted.name: one.found for one in topics.look(empty_kafka)}
    dead = found.pop(f"{empty_kafka.prefix}dead_letters")
    assert {topic.retention.days for topic in found.values() if topic} == {2}
    assert dead is not None
    assert (dead.partitions, dead.retention.days) == (3, 30)
    topics.drop(empty_kafka)


async def test_a_topic_that_differs_is_told_and_left_alone(bare: Shell, kafka: KafkaSettings) -> None:
    shell = house_on(kafka, bare)
    assert set(states((await shell.posthouse("topics", "create")).json()).values()) == {"differs"}
    assert "4, not 3" in await on_a_terminal(shell, "topics")


async def test_a_cluster_too_small_for_the_copies_is_told(bare: Shell, empty_kafka: KafkaSettings) -> None:
    told = await house_on(empty_kafka, bare, copies=99).posthouse("topics", "create")
    assert told.code == Exit.MISCONFIGURED
    assert "replication_factor" in str(told.error()["message"])


async def test_leaving_needs_a_house_without_kafka(bare: Shell, empty_kafka: KafkaSettings) -> None:
    told = await house_on(empty_kafka, bare).posthouse("topics", "leave")
    assert (told.code, told.error()["pointer"]) == (Exit.MISCONFIGURED, "/kafka/bootstrap_servers")


async def test_the_doctor_looks_for_topics(empty_kafka: KafkaSettings, bare: Shell) -> None:
    house_on(empty_kafka, bare)
    settings = load(
        bare.folder / "posthouse.toml", {"KAFKA_BOOTSTRAP_SERVERS": empty_kafka.bootstrap_servers}
    )
    assert [check.state for check in kafka_checks(settings)] == [State.FAILED]
    topics.create(empty_kafka)
    assert [check.state for check in kafka_checks(settings)] == [State.WARNING]
    topics.drop(empty_kafka)


async def test_without_kafka_there_are_no_topics(bare: Shell) -> None:
    told = await bare.posthouse("topics")
    assert told.code == Exit.MISCONFIGURED
    assert told.error()["pointer"] == "/kafka/bootstrap_servers"


def test_a_cluster_that_does_not_answer_is_not_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "REQUEST_TIMEOUT", 0.2)
    with pytest.raises(NotNow, match="Kafka"):
        topics.look(KafkaSettings(bootstrap_servers="127.0.0.1:1"))


def test_what_the_promises_rest_on_cannot_be_set() -> None:
    with pytest.raises(Misconfigured, match=r"enable\.auto\.commit"):
        properties(KafkaSettings(client={"enable.auto.commit": "true"}))


def test_a_password_does_not_stand_in_the_file() -> None:
    with pytest.raises(Misconfigured, match="sasl_password_env"):
        properties(KafkaSettings(client={"sasl.password": "secret"}))


def test_tls_and_sasl_reach_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASL", "secret")
    settings = KafkaSettings(
        client={"security.protocol": "SASL_SSL", "sasl.username": "posthouse"}, sasl_password_env="SASL"
    )
    made = properties(settings)
    assert made["security.protocol"] == "SASL_SSL"
    assert (made["sasl.username"], made["sasl.password"]) == ("posthouse", "secret")
    assert "ssl.key.password" not in made


def names(kafka: KafkaSettings) -> list[str]:
    return [topic.name for topic in topics.wanted(kafka)]


def states(answer: dict[str, object]) -> dict[str, str]:
    listed = msgspec.convert(answer["topics"], list[dict[str, object]])
    return {str(one["name"]): str(one["state"]) for one in listed}
