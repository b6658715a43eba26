"""One call of the command line: its global options, and how it answers.

JSON on stdout for programs, which is when stdout is no terminal or `--json` is given; tables for people.
"""

import asyncio
import os
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from posthouse.config import Settings, load

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
