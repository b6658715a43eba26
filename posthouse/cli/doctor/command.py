"""`posthouse doctor`: runs every check and says how it went."""

import asyncio
import platform
from importlib.metadata import version
from typing import Annotated, assert_never

import typer
from rich.console import Group
from rich.text import Text

from posthouse.cli.call import Call, call_of, cell, run, table
from posthouse.cli.doctor.check import Check, State, ok
from posthouse.cli.doctor.database import database_checks
from posthouse.cli.doctor.domains import domain_checks
from posthouse.cli.doctor.kafka import kafka_checks
from posthouse.cli.doctor.relays import relay_check
from posthouse.cli.exits import Exit


def register(app: typer.Typer) -> None:
    app.command("doctor")(command)


def command(
    context: typer.Context,
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Also count every row against the books: minutes on a large house."),
    ] = False,
) -> None:
    """Examine the house. Exit code 1 when something has failed."""
    call = call_of(context)
    checks = run(_examine(call, audit=audit))
    shown = table("", "check", "what was found, and what to do")
    for check in checks:
        shown.add_row(Text(check.state, _style(check.state)), cell(check.name), _words(check))
    sick = any(check.state is State.FAILED for check in checks)
    end = Text("Something has failed.", "bold red") if sick else Text("The house is well.", "bold green")
    if not audit:
        end.append(" The books were not counted: --audit does that.", "not bold default")
    call.answer({"healthy": not sick, "audited": audit, "checks": checks}, Group(shown, Text(), end))
    raise typer.Exit(Exit.FOUND if sick else Exit.OK)


async def _examine(call: Call, *, audit: bool) -> list[Check]:
    settings = call.settings()
    checks = [ok("version", f"posthouse {version('posthouse')}, Python {platform.python_version()}")]
    checks += await asyncio.gather(*(relay_check(settings, account) for account in settings.relays))
    checks += await domain_checks(settings)
    checks += await asyncio.to_thread(kafka_checks, settings)
    async for check in database_checks(settings, audit=audit):
        checks.append(check)
    return checks


def _words(check: Check) -> Text:
    """One under the other: a terminal of 80 columns has room for both."""
    todo = [("\n", ""), (cell(check.todo).plain, "italic")] if check.todo else []
    return Text.assemble(cell(check.found), *todo)


def _style(state: State) -> str:
    match state:
        case State.OK:
            return "green"
        case State.WARNING:
            return "yellow"
        case State.FAILED:
            return "bold red"
        case _:
            assert_never(state)
