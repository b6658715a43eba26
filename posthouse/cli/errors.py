"""Errors as the command line tells them: words for people, JSON for programs."""

import sys

import msgspec
from rich.console import Console
from rich.text import Text

from posthouse.cli.exits import exit_of
from posthouse.domain.errors import PosthouseError


def tell(error: PosthouseError, *, as_json: bool) -> None:
    """One error on stderr."""
    if as_json:
        told = {"code": error.code, "message": error.message, "exit": exit_of(error).name.lower()}
        if error.pointer:
            told["pointer"] = error.pointer
        sys.stderr.write(msgspec.json.encode({"error": told}).decode() + "\n")
    else:
        Console(stderr=True).print(Text.assemble(("posthouse: ", "bold red"), error.message))
