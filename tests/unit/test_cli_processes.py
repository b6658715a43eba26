"""Several processes of one role: what each is told, and where it answers."""

import tomllib

import msgspec
import pytest

from posthouse.app.role import RoleName
from posthouse.cli.processes import at_port, children_of
from posthouse.config import DEVELOPMENT, Settings, settings_from
from posthouse.domain.errors import Misconfigured
from posthouse.domain.stream import Stream


@pytest.fixture
def settings() -> Settings:
    return settings_from(tomllib.loads(DEVELOPMENT.format(folder="data")), "a test")


def test_those_that_serve_the_world_share_their_port(settings: Settings) -> None:
    told = [role.arguments for role in children_of(RoleName.API, None, 3, settings)]
    assert told == [("api", "--port", "8025", "--share-port")] * 3


def test_probes_have_a_port_each(settings: Settings) -> None:
    settings = at_port(settings, RoleName.WORKER, Stream.MARKETING, 9100)
    children = children_of(RoleName.WORKER, Stream.MARKETING, 2, settings)
    assert [child.name for child in children] == ["worker-1", "worker-2"]
    assert [child.arguments for child in children] == [
        ("worker", "--stream", "marketing", "--port", "9100"),
        ("worker", "--stream", "marketing", "--port", "9101"),
    ]


def test_static_members_have_a_name_each(settings: Settings) -> None:
    settings = at_port(settings, RoleName.WORKER, None, 0)
    assert [one.environment for one in children_of(RoleName.WORKER, None, 2, settings)] == [{}, {}]
    kafka = msgspec.structs.replace(settings.kafka, instance="host7")
    settings = msgspec.structs.replace(settings, kafka=kafka)
    names = [one.environment for one in children_of(RoleName.WORKER, None, 2, settings)]
    assert names == [{"POSTHOUSE_KAFKA_INSTANCE": "host7-1"}, {"POSTHOUSE_KAFKA_INSTANCE": "host7-2"}]


def test_no_probes_are_no_ports(settings: Settings) -> None:
    settings = at_port(settings, RoleName.DISPATCHER, None, 0)
    told = [role.arguments for role in children_of(RoleName.DISPATCHER, None, 2, settings)]
    assert told == [("dispatcher", "--port", "0")] * 2


def test_another_roles_port_is_not_taken(settings: Settings) -> None:
    with pytest.raises(Misconfigured, match="would need port 8029, which is another role's"):
        children_of(RoleName.WORKER, Stream.TRANSACTIONAL, 2, settings)


@pytest.mark.parametrize("role", [RoleName.SIMULATOR, RoleName.QUARANTINE])
def test_what_there_is_one_of_has_no_port(settings: Settings, role: RoleName) -> None:
    with pytest.raises(Misconfigured, match=f"There is one {role}"):
        at_port(settings, role, None, 9100)
    with pytest.raises(Misconfigured, match=f"There is one {role}"):
        children_of(role, None, 2, settings)
