"""`posthouse`: what it can be told, and how it ends."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Final

import typer

from posthouse.cli.call import Call
from posthouse.cli.errors import tell
from posthouse.cli.exits import exit_of
from posthouse.domain.errors import PosthouseError

#: Each command, and the module in this folder that registers it.
COMMANDS: Final[Mapping[str, str]] = {
    "up": "up",
    "demo": "demo.command",
    "serve": "serve",
    "migrate": "migrate",
    "send": "send",
    "emails": "emails",
    "events": "emails",
    "templates": "templates",
    "suppressions": "suppressions",
    "bounces": "bounces",
    "address": "address",
    "keys": "keys",
    "relays": "relays",
    "webhooks": "webhooks",
    "config": "config",
    "topics": "topics",
    "broker": "broker.command",
    "doctor": "doctor.command",
    "audit": "audit",
    "version": "version",
}


def program(command: str | None = None) -> typer.Typer:
    """What the shell calls, with this command; with all of them where there is none of that name.

    A role is a call too: with every command's modules each start would cost twice the processor time.
    """
    made = typer.Typer(
        name="posthouse",
        help="E-mail delivery that loses nothing and can answer for every mail.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    made.callback()(options)
    own = COMMANDS.get(command or "")
    for module in [own] if own else dict.fromkeys(COMMANDS.values()):
        import_module(f"posthouse.cli.{module}").register(made)
    return made


def command_of(arguments: Sequence[str]) -> str | None:
    """The first word that belongs to no global option but `--help`."""
    words = iter(arguments)
    for word in words:
        if word == "--config":
            next(words, None)
        elif word != "--json" and not word.startswith("--config="):
            return word
    return None


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


def main(argv: Sequence[str] | None = None) -> None:
    """The entry point. Errors that Posthouse knows end in words and an exit code (cli/exits.py)."""
    arguments = anywhere(sys.argv[1:] if argv is None else argv)
    try:
        program(command_of(arguments))(arguments, prog_name="posthouse")
    except PosthouseError as error:
        tell(error, as_json="--json" in arguments[:1] or not sys.stderr.isatty())
        sys.exit(exit_of(error))


def anywhere(argv: Sequence[str]) -> list[str]:
    """Arguments with `--json` first: it may stand after the command as well as before it."""
    end = argv.index("--") if "--" in argv else len(argv)
    rest = [word for word in argv[:end] if word != "--json"]
    found = ["--json"] if len(rest) < end else []
    return [*found, *rest, *argv[end:]]
