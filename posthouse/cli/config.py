"""`posthouse config check | show`: what the configuration says, before a process is started with it."""

import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from posthouse.app import adapters
from posthouse.bus.kafka.connection import connection
from posthouse.cli.call import Call, call_of, cell, table
from posthouse.cli.exits import Exit
from posthouse.clock import SystemClock
from posthouse.config import Settings, file_of
from posthouse.domain.duration import format_duration
from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.domain.rate import Rate
from posthouse.intake.policy import policies

_PASSWORD: Final = re.compile(r"(?<=[?&]password=)[^&]*")

group = typer.Typer(help="The configuration: whether it is good, and what holds.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="config")


@dataclass(frozen=True, slots=True)
class Problem:
    pointer: str  # RFC 6901, into the configuration; "" where no key is known
    message: str


@group.command("check")
def check(context: typer.Context) -> None:
    """Read the configuration and every secret it names, as a start would. Exit code 78 when it is wrong."""
    call = call_of(context)
    try:
        settings = call.settings()
    except Misconfigured as error:
        answer, shown, problems = {}, [], [Problem(error.pointer, error.message)]
    else:
        answer, shown, problems = _found(settings), [_streams(settings), Text()], problems_of(settings)
    source = _source(call)
    view = {"source": source, "good": not problems, **answer, "problems": [asdict(one) for one in problems]}
    call.answer(view, Group(Text(source, "bold"), Text(), *shown, _verdict(problems)))
    raise typer.Exit(Exit.MISCONFIGURED if problems else Exit.OK)


@group.command("show")
def show(context: typer.Context) -> None:
    """Every setting as it holds, defaults and environment included; passwords are left out."""
    call = call_of(context)
    settings = _plain(call.settings())
    assert isinstance(settings, dict)
    shown = table("setting", "value")
    for name, value in _flat(settings, ""):
        shown.add_row(cell(name), cell(value))
    call.answer(settings, shown)


def problems_of(settings: Settings) -> list[Problem]:
    """What a start would refuse although the file can be read."""
    found = [problem for account in settings.relays for problem in _relay_problems(settings, account)]
    try:
        shows = {name: can.shows_other_recipients for name, can in adapters.capabilities(settings).items()}
        policies(settings, shows_other_recipients=shows)
    except Misconfigured as error:
        found.append(Problem(error.pointer or "/streams", error.message))
    try:
        connection(settings.kafka)
    except Misconfigured as error:
        found.append(Problem(error.pointer or "/kafka", error.message))
    return found


def _relay_problems(settings: Settings, account: RelayAccount) -> Iterator[Problem]:
    vendor = adapters.vendor_account(account, settings)
    if vendor.lacks_simulator_keys():
        return
    try:
        vendor.relay(SystemClock(), random.Random(0))  # noqa: S311  # jitter
        vendor.reader(SystemClock())
        vendor.inquirer(SystemClock())
    except Misconfigured as error:
        yield Problem(error.pointer or f"/relays/{account}", error.message)


def _source(call: Call) -> str:
    path = file_of(call.config, os.environ)
    named = call.config is not None or "POSTHOUSE_CONFIG" in os.environ
    return str(path.resolve()) if named or path.is_file() else "the built-in configuration"


def _found(settings: Settings) -> dict[str, object]:
    return {
        "streams": {
            name: {"relays": stream.relays, "from_domains": stream.from_domains}
            for name, stream in settings.streams.items()
        },
        "relays": {name: {"server": _server(settings, name)} for name in settings.relays},
        "database": _without_password(settings.database.url) or "embedded",
        "data_dir": str(settings.data_dir),
    }


def _streams(settings: Settings) -> RenderableType:
    shown = table("stream", "from domains", "relays", "servers")
    for name, stream in settings.streams.items():
        servers = ", ".join(_server(settings, account) for account in stream.relays)
        shown.add_row(
            name, cell(", ".join(stream.from_domains)), cell(", ".join(stream.relays)), cell(servers)
        )
    return shown


def _verdict(problems: Sequence[Problem]) -> RenderableType:
    if not problems:
        return Text("The configuration is good.", "bold green")
    shown = table("at", "what is wrong")
    for one in problems:
        shown.add_row(cell(one.pointer), cell(one.message))
    return shown


def _server(settings: Settings, account: RelayAccount) -> str:
    return adapters.vendor_account(account, settings).server


def _plain(value: object) -> object:
    """Settings as JSON has them: durations and rates as they are written in the file."""
    match value:
        case timedelta():
            return format_duration(value)
        case Rate():
            return str(value)
        case msgspec.Struct():
            return {name: _plain(item) for name, item in _fields(value)}
        case dict():
            return {str(name): _plain(item) for name, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value


def _fields(settings: msgspec.Struct) -> Iterator[tuple[str, object]]:
    """With its kind, which stands in the file and is no field; without the database's password."""
    tag = settings.__struct_config__.tag
    if isinstance(tag, str):
        yield "kind", tag
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        yield name, _without_password(value) if name == "url" else value


def _flat(settings: dict[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, ", ".join(map(str, value)) if isinstance(value, list) else value


def _without_password(url: str) -> str:
    parts = urlsplit(_PASSWORD.sub("***", url))
    if parts.password is None:
        return parts.geturl()
    user, _, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}:***@{place}").geturl()
