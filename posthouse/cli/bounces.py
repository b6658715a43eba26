"""`posthouse bounces classify | read`"""

import os
import sys
from collections.abc import Iterator
from typing import Annotated, Final, TextIO

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from posthouse.cli.bounces_read import read_mailboxes
from posthouse.cli.call import call_of, cell, open_input, progress, table
from posthouse.cli.errors import tell
from posthouse.cli.exits import Exit
from posthouse.domain.errors import InvalidInput
from posthouse.ingest.bounce_mail import classify
from posthouse.ingest.bounces.mime import MAX_MAIL
from posthouse.ingest.bounces.report import Kind, Recipient

group = typer.Typer(help="What mails that came to a bounce address say.", no_args_is_help=True)

_ACTIONS: Final = {"suppress": "bold red", "retry": "yellow"}


class _Line(msgspec.Struct, frozen=True):
    """What is said of one file."""

    file: str
    kind: Kind
    recipients: tuple[Recipient, ...]


group.command("read")(read_mailboxes)


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="bounces")


@group.command("classify")
def classify_files(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Mails, one in each; -: stdin.")],
) -> None:
    """What each mail is and what is to be done about whom, one line of JSON for each file.

    The lines come in the order of the files, each as soon as its file is read. Exit code 2 if a file cannot
    be read; the others are classified all the same. Changes nothing.
    """
    as_json = call_of(context).as_json
    out = sys.stdout  # the bar takes over the name, and would move the answers to stderr
    failed = 0
    with progress("classifying", len(files)) as moved:
        for file in files:
            try:
                _answer(_line(file), out, as_json=as_json)
            except InvalidInput as error:
                tell(error, as_json=not sys.stderr.isatty())
                failed += 1
            moved(1)
    raise typer.Exit(Exit.USAGE if failed else Exit.OK)


def _line(file: str) -> _Line:
    """Raises InvalidInput when it cannot be read."""
    with open_input(file) as source:
        try:
            raw = source.stream.read(MAX_MAIL)  # what is over that is not looked at
        except OSError as error:
            raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from error
    report = classify(raw)
    name = os.fsencode(file).decode("utf-8", "replace")
    return _Line(name, report.kind, report.recipients)


def _answer(line: _Line, out: TextIO, *, as_json: bool) -> None:
    if as_json:
        out.write(msgspec.json.encode(line).decode() + "\n")
        return
    console = Console(file=out)
    console.print(Text.assemble((line.file, "bold"), f": {line.kind}"))
    if line.recipients:
        shown = table("address", "class", "action", "reason", "status", "what was said")
        for row in _rows(line):
            shown.add_row(*row)
        console.print(shown)


def _rows(line: _Line) -> Iterator[list[Text]]:
    for one in line.recipients:
        action = Text(one.action, _ACTIONS.get(one.action, ""))
        yield [
            cell(one.address or "(not named)"),
            cell(one.bounce),
            action,
            cell(one.reason),
            cell(one.status),
            cell(one.diagnostic),
        ]
