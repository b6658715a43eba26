"""One call of the command line: its global options, and how it answers.

JSON on stdout for programs, which is when stdout is no terminal or `--json` is given; tables for people.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from posthouse.config import Settings, load
from posthouse.domain.errors import InvalidInput

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    config: Path | None
    as_json: bool

    def settings(self) -> Settings:
        """Raises Misconfigured."""
        return load(self.config, os.environ)

    def answer(self, value: object, shown: RenderableType) -> None:
        """The value as JSON, or what shows it to people."""
        if self.as_json:
            sys.stdout.write(msgspec.json.encode(value, order="deterministic").decode() + "\n")
        else:
            Console().print(shown)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if that is a terminal; moved on by what this gives. `total` None: no end is known."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


@dataclass(frozen=True, slots=True)
class Input:
    stream: BinaryIO
    size: int | None  # in bytes, where that is known before it is read


@contextmanager
def open_input(path: str) -> Iterator[Input]:
    """A file, or stdin for "-". Raises InvalidInput when it cannot be read."""
    if path == "-":
        yield Input(sys.stdin.buffer, None)
        return
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(Path(path).open("rb"))
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
        yield Input(stream, os.fstat(stream.fileno()).st_size)


def read_input(path: str) -> bytes:
    """The whole of a file, or of stdin for "-". Raises InvalidInput."""
    with open_input(path) as source:
        return source.stream.read()


def call_of(context: typer.Context) -> Call:
    """The call that a command belongs to."""
    call = context.find_object(Call)
    assert call is not None
    return call


def run(work: Coroutine[None, None, T]) -> T:
    """A command's asynchronous part."""
    return asyncio.run(work)


def table(*columns: str, title: str | None = None) -> Table:
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column == "id")  # an id is there to be copied
    return made


def cell(value: object) -> Text:
    """What came from outside, without the control characters that would reach the terminal."""
    text = "" if value is None else str(value)
    return Text("".join(letter if letter.isprintable() else " " for letter in text))


#: How times are given: a day, or a time of it, in UTC if it has no offset.
MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M%z"]


def in_utc(given: datetime) -> datetime:
    """A time that was given as one of MOMENTS."""
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)


def moment(at: datetime) -> str:
    """To the second, in UTC as everything."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def more(cursor: str | None) -> list[Text]:
    """What stands under a list that does not end here."""
    return [] if cursor is None else [Text(f"\nThere are more: --cursor {cursor}", overflow="fold")]
