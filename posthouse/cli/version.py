"""`posthouse version`."""

from importlib.metadata import version

import typer

from posthouse.cli.call import call_of


def register(app: typer.Typer) -> None:
    app.command("version")(command)


def command(context: typer.Context) -> None:
    """Which version this is."""
    found = version("posthouse")
    call_of(context).answer({"version": found}, f"posthouse {found}")
