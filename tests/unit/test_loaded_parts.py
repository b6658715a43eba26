"""What is loaded by its name when it is needed is there, whole, and nothing else is loaded before."""

import inspect
import subprocess
import sys
from importlib import import_module
from typing import get_args

import pytest
import typer

from posthouse.app import adapters
from posthouse.app.role import RoleName, run_of
from posthouse.app.vendors.base import VendorAccount
from posthouse.cli.main import COMMANDS, command_of, program
from posthouse.config.relays import RelaySettings


@pytest.mark.parametrize("role", RoleName)
def test_every_role_can_be_run(role: RoleName) -> None:
    run = run_of(role)
    assert inspect.iscoroutinefunction(run)
    assert [one.annotation.__name__ for one in inspect.signature(run).parameters.values()] == [
        "Settings",
        "Part",
        "Event",
    ]


def test_every_kind_of_account_has_its_vendor() -> None:
    assert set(adapters.VENDORS) == set(get_args(RelaySettings))


@pytest.mark.parametrize(("kind", "where"), adapters.VENDORS.items())
def test_every_vendor_is_made_of_an_account(kind: type, where: str) -> None:
    module, name = where.split(".")
    vendor = getattr(import_module(f"posthouse.app.vendors.{module}"), name)
    assert list(inspect.signature(vendor).parameters) == ["name", "table"]
    assert inspect.signature(vendor).parameters["table"].annotation is kind
    wanted = {name for name in vars(VendorAccount) if not name.startswith("_")}
    assert wanted <= set(dir(vendor))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_registered_by_its_module(command: str) -> None:
    assert command in names(program(command))


def test_without_a_command_there_are_all() -> None:
    assert names(program()) == set(COMMANDS)


def names(of: typer.Typer) -> set[str]:
    group = typer.main.get_group(of)
    return set(group.commands)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("serve worker", "serve"),
        ("--json keys list", "keys"),
        ("--config up serve worker", "serve"),
        ("--config=up --json serve worker", "serve"),
        ("--help serve", "--help"),
        ("serv worker", "serv"),
        ("--config", None),
        ("", None),
    ],
)
def test_the_command_is_found_among_options(words: str, command: str | None) -> None:
    assert command_of(words.split()) == command


@pytest.mark.parametrize(
    ("role", "others"),
    [
        (
            RoleName.WORKER,
            ["litestar", "granian", "aiohttp", "posthouse.simulator.main", "posthouse.cli.demo"],
        ),
        (RoleName.TRACK, ["litestar", "granian", "aiohttp", "minijinja", "posthouse.relays.smtp"]),
        (RoleName.API, ["posthouse.simulator.main", "posthouse.cli.demo", "posthouse.relays.smtp"]),
    ],
)
def test_a_role_starts_without_what_others_need(role: RoleName, others: list[str]) -> None:
    """Each start of a process waits for what it loads."""
    start = f"""
import sys
from posthouse.app.role import RoleName, run_of
from posthouse.cli.main import program
program("serve")
run_of(RoleName("{role}"))
print(*sys.modules)"""
    found = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True)
    assert set(others) & set(found.stdout.split()) == set()
