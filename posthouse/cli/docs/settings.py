"""The reference of every setting, made from posthouse/config/ itself.

Keys, types and defaults come from the settings' classes, descriptions from the `#:` comments above their
fields. The prose around them is `configuration.md` in this folder.
"""

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from importlib import resources
from string import Template
from typing import Final, TypeAlias

import msgspec
from msgspec import inspect as shapes

from posthouse import config
from posthouse.config import kafka, relays, settings
from posthouse.domain.duration import format_duration
from posthouse.domain.rate import Rate
from posthouse.domain.stream import Stream

#: Comments by class and field.
Words: TypeAlias = Mapping[tuple[str, str], str]

#: The least that a stream's table must say, and so what has no default.
LEAST_STREAM: Final = """
[streams.{name}]
relays = ["{name}"]
from_domains = ["{name}.example"]
tracking_url = "https://{name}.example"
bounce_domain = "bounce.{name}.example"
[relays.{name}]
kind = "smtp"
host = "{name}.example"
"""

#: The tables that a docstring names first are in the title already.
_TABLES: Final = re.compile(r'\[[^\]]+\](?: and \[[^\]]+\]| with kind = "\w+")[.:] ')


def reference() -> str:
    """The whole page."""
    page = Template((resources.files("posthouse.cli.docs") / "configuration.md").read_text(encoding="utf-8"))
    built_in = config.DEVELOPMENT.format(folder=config.HouseSettings().data_dir).lstrip()
    return page.substitute(sections="\n".join(_sections(config.Settings)), built_in=built_in)


def comments(source: str) -> dict[tuple[str, str], str]:
    """The `#:` comments right above the fields of each class; "" for a field that has none."""
    lines = source.splitlines()
    return {
        (node.name, field.target.id): _above(lines, field.lineno - 1)
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }


def _above(lines: list[str], line: int) -> str:
    found: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#:"):
        line -= 1
        found.insert(0, lines[line].strip().removeprefix("#:").strip())
    return " ".join(found)


def _sections(root: type[msgspec.Struct]) -> Iterator[str]:
    words = {
        k: v for module in (kafka, relays, settings) for k, v in comments(inspect.getsource(module)).items()
    }
    defaults = stream_defaults()
    for field in _struct(root).fields:
        for title, table in _tables(field):
            yield _section(title, table, words, defaults)


def _tables(field: shapes.Field) -> Iterator[tuple[str, shapes.StructType]]:
    """The tables that one key of the file stands for, each with its title."""
    name = field.encode_name
    match field.type:
        case shapes.DictType(value_type=shapes.StructType() as each_stream):
            yield " and ".join(f"[{name}.{stream}]" for stream in Stream), each_stream
        case shapes.DictType(value_type=shapes.UnionType(types=kinds)):
            yield from (
                (f'[{name}.NAME], kind = "{k.tag}"', k) for k in kinds if isinstance(k, shapes.StructType)
            )
        case shapes.StructType() as table:
            yield f"[{name}]", table
        case _:
            raise TypeError(f"a setting outside every table: {name}")


def _struct(cls: type[msgspec.Struct]) -> shapes.StructType:
    info = shapes.type_info(cls)
    assert isinstance(info, shapes.StructType)
    return info


def _section(title: str, table: shapes.StructType, words: Words, defaults: Mapping[str, str]) -> str:
    name = table.cls.__name__
    rows = [
        f"| `{field.encode_name}` | {_kind(field.type)} | {_default(field, defaults)} "
        f"| {words[name, field.name].replace('|', chr(92) + '|')} |"
        for field in table.fields
    ]
    head = "| key | type | default | what it is |\n|---|---|---|---|\n"
    return f"## {title}\n\n{_summary(table.cls)}\n\n{head}" + "\n".join(rows) + "\n"


def _summary(cls: type[msgspec.Struct]) -> str:
    text = _TABLES.sub("", inspect.getdoc(cls) or "", count=1)
    return text[:1].upper() + text[1:]


def _kind(info: shapes.Type) -> str:
    """A type in words. Raises TypeError for one that no setting has had so far."""
    match info:
        case shapes.BoolType():
            return "true or false"
        case shapes.IntType():
            return f"whole number{_bounds(info)}"
        case shapes.FloatType():
            return f"number{_bounds(info)}"
        case shapes.StrType():
            return "text"
        case shapes.TimeDeltaType():
            return "duration"
        case shapes.CustomType(cls=cls) if cls is Rate:
            return "rate"
        case shapes.LiteralType():
            return " or ".join(f"`{toml(value)}`" for value in info.values)
        case shapes.ListType():
            return f"list of {_kind(info.item_type)}s"
        case shapes.DictType(key_type=shapes.StrType()):
            return f"table of {_kind(info.value_type)}s"
        case shapes.DictType():
            return f"table by stream: {_kind(info.value_type)}"
        case _:
            raise TypeError(f"no words for a setting of type {info}")


def _bounds(info: shapes.IntType | shapes.FloatType) -> str:
    if info.ge is not None and info.le is not None:
        return f", {info.ge} to {info.le}"
    if info.ge is not None:
        return f", at least {info.ge}"
    return "" if info.gt is None else f", more than {info.gt}"


def _default(field: shapes.Field, defaults: Mapping[str, str]) -> str:
    if field.default is not msgspec.NODEFAULT:
        return f"`{toml(field.default)}`"
    if field.default_factory is not msgspec.NODEFAULT:
        return f"`{toml(field.default_factory())}`"
    return defaults.get(field.name, "required")


def stream_defaults() -> dict[str, str]:
    """What each stream has for the keys that its table may leave out although its class has no default."""
    least = tomllib.loads("".join(LEAST_STREAM.format(name=stream) for stream in Stream))
    streams = config.settings_from(least, "the least that must be said").streams
    return {
        field.name: ", ".join(
            f"`{toml(getattr(streams[stream], field.name))}` ({stream})" for stream in Stream
        )
        for field in _struct(config.StreamSettings).fields
        if field.required and field.name not in least["streams"][Stream.TRANSACTIONAL]
    }


def toml(value: object) -> str:
    """A value as it is written in the file. Raises TypeError for one that no setting has."""
    match value:
        case bool():
            return "true" if value else "false"
        case timedelta():
            return f'"{format_duration(value)}"'
        case Rate():
            return f'"{value}"'
        case int() | float():
            return str(value)
        case str():
            return f'"{value}"'
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{ {', '.join(f'{key} = {toml(item)}' for key, item in value.items())} }}"
        case _:
            raise TypeError(f"no setting is a {type(value).__name__}")
