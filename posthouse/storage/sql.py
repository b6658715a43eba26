"""Named queries: the only way SQL gets from a `.sql` file into the program.

A file holds queries one after another:

    -- name: claim_100
    -- Claims up to 100 due jobs of one stream for one worker.
    SELECT ...

Where a number must stand in the text as a literal, one text makes several queries: a line under the name
says for which numbers, and `{limit}` stands for each of them, in the name too:

    -- name: claim_{limit}
    -- for limit in 1 10 100

What several queries of a file share stands once, as a part; `-- use:` puts it in their place:

    -- part: claim_picked
    ...
    -- name: claim_quarantined
    WITH picked AS (...),
    -- use: claim_picked

`__table__` and the like are places that `filled` fills: names and bounds in DDL, which takes no parameters.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

from posthouse.domain.errors import Misconfigured

_NAME = re.compile(r"--\s*name:\s*(?P<name>\S*)\s*$")
_PART = re.compile(r"--\s*part:\s*(?P<part>\S*)\s*$")
_USE = re.compile(r"--\s*use:\s*(?P<part>\S*)\s*$")
_FOR = re.compile(r"--\s*for\s+(?P<variable>[a-z]+)\s+in\s+(?P<numbers>[0-9 ]+)$")
_PLACE = re.compile(r"__([a-z]+)__")
_FILLING = re.compile(r"[a-z0-9_-]+")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")


class BrokenQuery(Misconfigured):
    """A query of ours that cannot be used: the message names its file and its name."""

    code = "broken_query"


@dataclass(frozen=True, slots=True)
class Query:
    name: str
    description: str
    sql: str
    source: str  # the file it comes from

    @property
    def label(self) -> str:
        return f'query "{self.name}" in {self.source}'

    @property
    def has_places(self) -> bool:
        return _PLACE.search(self.sql) is not None


class Queries(Mapping[str, str]):
    """SQL text by name. A name that is not there raises BrokenQuery, not KeyError."""

    __slots__ = ("_by_name", "_sql")

    def __init__(self, queries: tuple[Query, ...]) -> None:
        by_name: dict[str, Query] = {}
        for query in queries:
            if query.name in by_name:
                raise BrokenQuery(
                    f"{query.label} has the same name as the one in {by_name[query.name].source}."
                )
            by_name[query.name] = query
        self._by_name = MappingProxyType(by_name)
        self._sql = {name: query.sql for name, query in by_name.items()}

    def __getitem__(self, name: str) -> str:
        try:
            return self._sql[name]
        except KeyError:
            raise BrokenQuery(f'There is no query "{name}" in the .sql files.') from None

    def __contains__(self, name: object) -> bool:
        return name in self._sql

    def __iter__(self) -> Iterator[str]:
        return iter(self._sql)

    def __len__(self) -> int:
        return len(self._sql)

    def all(self) -> tuple[Query, ...]:
        return tuple(self._by_name.values())


def filled(sql: str, places: Mapping[str, str]) -> str:
    """SQL with its `__places__` filled. Raises ValueError for anything but a plain name, date or UUID."""
    for filling in places.values():
        if not _FILLING.fullmatch(filling):
            raise ValueError(f"{filling!r} cannot stand in SQL")
    return _PLACE.sub(lambda place: places[place[1]], sql)


def load_queries(folder: Traversable | None = None) -> Queries:
    """Every query of every `.sql` file of a folder (default: storage/queries). Raises BrokenQuery."""
    folder = _home() if folder is None else folder
    sources = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda f: f.name)
    return Queries(tuple(query for file in sources for query in _read(file)))


def load_file(name: str) -> Queries:
    """The queries of one file of storage/queries, for what must work while others are broken."""
    return Queries(tuple(_read(_home() / name)))


def parse(text: str, source: str) -> Iterator[Query]:
    """The queries of one file, in order. Raises BrokenQuery for a bad name, a part that is not there, or SQL
    that is missing or that stands above the first name."""
    parts: dict[str, str] = {}
    for head, block in _blocks(text):
        part = _PART.match(head)
        if part is not None:
            parts[part["part"]] = _split(block)[1]
            continue
        name = _NAME.match(head)
        yield from _close(name and name["name"], [_used(line, parts, source) for line in block], source)


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each line that names a query or a part, with the lines under it; "" for what stands above the first."""
    head: str = ""
    block: list[str] = []
    for line in text.splitlines():
        if _NAME.match(line) or _PART.match(line):
            yield head, block
            head, block = line, []
        else:
            block.append(line)
    yield head, block


def _used(line: str, parts: Mapping[str, str], source: str) -> str:
    use = _USE.match(line)
    if use is None:
        return line
    if use["part"] not in parts:
        raise BrokenQuery(f'{source} uses a part "{use["part"]}" that does not stand above.')
    return parts[use["part"]]


def _home() -> Traversable:
    return files("posthouse.storage") / "queries"


def _read(file: Traversable) -> Iterator[Query]:
    return parse(file.read_text(encoding="utf-8"), file.name)


def _close(name: str | None, block: list[str], source: str) -> Iterator[Query]:
    repeat = _FOR.match(block[0].rstrip()) if block else None
    description, sql = _split(block[1:] if repeat else block)
    if name is None:
        if sql:
            raise BrokenQuery(f'{source} has SQL above its first "-- name:" line.')
        return
    if repeat is None:
        yield _named(name, description, sql, source)
        return
    hole = "{" + repeat["variable"] + "}"
    for number in repeat["numbers"].split():
        yield _named(name.replace(hole, number), description, sql.replace(hole, number), source)


def _named(name: str, description: str, sql: str, source: str) -> Query:
    if not _IDENTIFIER.fullmatch(name):
        raise BrokenQuery(f'{source}: "{name}" is not a query name (lower case letters, digits and "_").')
    query = Query(name, description, sql, source)
    if not sql:
        raise BrokenQuery(f"{query.label} is empty.")
    return query


def _split(block: list[str]) -> tuple[str, str]:
    """Leading comment lines, and the SQL under them without its last semicolon."""
    start = 0
    while start < len(block) and (not block[start].strip() or block[start].lstrip().startswith("--")):
        start += 1
    description = " ".join(line.lstrip(" -").rstrip() for line in block[:start] if line.strip())
    return description, "\n".join(block[start:]).strip().rstrip(";").rstrip()
