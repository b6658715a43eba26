"""deploy/: containers and units name roles, ports and settings that are there, and run as nobody special."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import pytest

from posthouse.app.role import RoleName
from posthouse.cli.house import ready_urls
from posthouse.config import load

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
ROLES: Final = frozenset(role.value for role in RoleName)


class _Probe(msgspec.Struct):
    test: list[str]


class _Service(msgspec.Struct):
    image: str
    command: list[str] = []
    healthcheck: _Probe | None = None
    environment: dict[str, str | int] = {}
    user: str = ""
    read_only: bool = False
    stop_grace_period: str = ""


class _Compose(msgspec.Struct):
    services: dict[str, _Service]


SERVICES: Final = msgspec.yaml.decode((DEPLOY / "compose.yaml").read_bytes(), type=_Compose).services
OURS: Final[Mapping[str, _Service]] = {
    name: service for name, service in SERVICES.items() if service.image == "posthouse"
}
SERVING: Final = {name: service for name, service in OURS.items() if service.command[0] == "serve"}


def test_every_role_but_the_simulator_has_its_container() -> None:
    assert {service.command[1] for service in SERVING.values()} == ROLES - {"simulator", "quarantine"}


@pytest.mark.parametrize("name", SERVING)
def test_a_container_is_asked_for_its_health_where_its_role_answers(name: str) -> None:
    settings = load(DEPLOY / "posthouse.toml", {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"})
    probe = SERVING[name].healthcheck
    assert probe is not None
    asked = re.search(r"http://localhost:(\d+/\w+)", probe.test[-1])
    assert asked is not None
    assert ready_urls(settings)[name].endswith(f":{asked[1]}")


@pytest.mark.parametrize("name", OURS)
def test_a_container_can_drain_and_write_nowhere(name: str) -> None:
    service = OURS[name]
    assert service.read_only
    assert service.stop_grace_period == "35s"


def test_images_of_others_are_pinned() -> None:
    for name, service in SERVICES.items():
        assert name in OURS or re.search(r":\d", service.image)


def test_the_image_runs_as_nobody_special() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["10001"]
    assert all(re.search(r":\d", line) for line in lines if line.startswith("FROM "))


def test_the_image_has_what_its_lock_names_and_no_more() -> None:
    pinned = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)
    whole = dict(pinned.findall((DEPLOY.parent / "requirements.lock").read_text(encoding="utf-8")))
    image = dict(pinned.findall((DEPLOY / "requirements.lock").read_text(encoding="utf-8")))
    assert image.items() <= whole.items()
    assert "pytest" not in image


def test_units_start_roles_that_are_there() -> None:
    target = (DEPLOY / "systemd" / "posthouse.target").read_text(encoding="utf-8")
    named = set(re.findall(r"posthouse@(\w+)\.service", target))
    assert named == ROLES - {"worker", "simulator", "quarantine"}
    assert set(re.findall(r"posthouse-worker@(\w+)\.service", target)) == {"transactional", "marketing"}
    for unit in (DEPLOY / "systemd").glob("*.service"):
        text = unit.read_text(encoding="utf-8")
        assert "Restart=always" in text
        assert "User=posthouse" in text
