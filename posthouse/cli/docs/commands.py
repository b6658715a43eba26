"""The reference of every command, made from the commands themselves; the prose is `cli.md` in this folder."""

from collections.abc import Iterator
from enum import Enum
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final, get_args

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from posthouse.cli.exits import MEANINGS

#: Options that every program made with typer has.
_EVERYWHERE: Final = frozenset({"--help", "--install-completion", "--show-completion"})


def reference(app: typer.Typer) -> str:
    """The whole page."""
    page = Template((resources.files("posthouse.cli.docs") / "cli.md").read_text(encoding="utf-8"))
    exits = "\n".join(
        f"| {code.value} | `{code.name.lower()}` | {words} |" for code, words in MEANINGS.items()
    )
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    return page.substitute(
        exits=exits, options=_options(root), commands="\n".join(_sections(root, "posthouse"))
    )


def _sections(group: TyperGroup, name: str) -> Iterator[str]:
    for word, command in sorted(group.commands.items()):
        if isinstance(command, TyperGroup):
            yield from _sections(command, f"{name} {word}")
        else:
            assert isinstance(command, TyperCommand)
            yield _section(command, f"{name} {word}")


def _section(command: TyperCommand, name: str) -> str:
    arguments = [one for one in command.params if isinstance(one, TyperArgument)]
    usage = " ".join([name, *map(_placed, arguments), "[OPTIONS]"])
    help_text = " ".join((command.help or "").split())
    parts = [f"### {name}", f"`{usage}`", help_text]
    described = "\n".join(f"- `{_metavar(one)}`: {_help(one)}" for one in arguments if one.help)
    return "\n\n".join(part for part in (*parts, described, _options(command)) if part) + "\n"


def _options(command: TyperCommand | TyperGroup) -> str:
    rows = [
        f"| {_names(one)} | {_kind(one)} | {_help(one)} |"
        for one in command.params
        if isinstance(one, TyperOption) and not one.hidden and not _EVERYWHERE & set(one.opts)
    ]
    return "\n".join(["| option | takes | what it does |", "|---|---|---|", *rows]) if rows else ""


def _placed(argument: TyperArgument) -> str:
    return _metavar(argument) if argument.required else f"[{_metavar(argument)}]"


def _metavar(argument: TyperArgument) -> str:
    return argument.metavar or (argument.name or "").upper()


def _names(option: TyperOption) -> str:
    return ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])


def _kind(option: TyperOption) -> str:
    if option.is_flag:
        return ""
    kind = option.type_descriptor.annotation
    inner = next((one for one in get_args(kind) if one is not type(None)), kind)
    if isinstance(inner, type) and issubclass(inner, Enum):
        return " or ".join(f"`{one.value}`" for one in inner)
    return _KINDS.get(inner, "text")


_KINDS: Final = {int: "whole number", float: "number", Path: "path"}


def _help(parameter: TyperArgument | TyperOption) -> str:
    required = " Required." if isinstance(parameter, TyperOption) and parameter.required else ""
    variable = f" Else: the variable `{parameter.envvar}`." if parameter.envvar else ""
    default = f" Default: {_default(parameter.default)}." if _shows_default(parameter) else ""
    return f"{(parameter.help or '').replace('|', chr(92) + '|')}{required}{default}{variable}"


def _shows_default(parameter: TyperArgument | TyperOption) -> bool:
    return parameter.default not in (None, False, "", []) and not parameter.required


def _default(value: object) -> str:
    return f"`{value.value if isinstance(value, Enum) else value}`"
