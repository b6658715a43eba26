"""`posthouse`: what it can be told, and how it ends."""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer

from posthouse.cli import (
    address,
    audit,
    bounces,
    config,
    emails,
    keys,
    migrate,
    relays,
    send,
    serve,
    suppressions,
    templates,
    topics,
    up,
    webhooks,
)
from posthouse.cli.broker import command as broker
from posthouse.cli.call import Call, call_of
from posthouse.cli.demo import command as demo
from posthouse.cli.doctor import command as doctor
from posthouse.cli.errors import tell
from posthouse.cli.exits import exit_of
from posthouse.domain.errors import PosthouseError

app: Final = typer.Typer(
    name="posthouse",
    help="E-mail delivery that loses nothing and can answer for every mail.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration file (default: POSTHOUSE_CONFIG, else posthouse.toml)."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Answer in JSON, as when stdout is not a terminal.")
    ] = False,
) -> None:
    context.obj = Call(config, as_json or not sys.stdout.isatty())


@app.command("version")
def show_version(context: typer.Context) -> None:
    """Which version this is."""
    found = version("posthouse")
    call_of(context).answer({"version": found}, f"posthouse {found}")


for command in (
    up,
    demo,
    serve,
    migrate,
    send,
    emails,
    templates,
    suppressions,
    bounces,
    address,
    keys,
    relays,
    webhooks,
    config,
    topics,
    broker,
    doctor,
    audit,
):
    command.register(app)


def main(argv: Sequence[str] | None = None) -> None:
    """The entry point. Errors that Posthouse knows end in words and an exit code (cli/exits.py)."""
    arguments = anywhere(sys.argv[1:] if argv is None else argv)
    try:
        app(arguments, prog_name="posthouse")
    except PosthouseError as error:
        tell(error, as_json="--json" in arguments[:1] or not sys.stderr.isatty())
        sys.exit(exit_of(error))


def anywhere(argv: Sequence[str]) -> list[str]:
    """Arguments with `--json` first: it may stand after the command as well as before it."""
    end = argv.index("--") if "--" in argv else len(argv)
    rest = [word for word in argv[:end] if word != "--json"]
    found = ["--json"] if len(rest) < end else []
    return [*found, *rest, *argv[end:]]
