"""The tags of a template's source, for code that must know what a template does before it runs.

Only what the checks in this package can judge is read: a tag with anything else in it (a list, an operator
like `*`, a string with a backslash) raises `UnreadableTag`. Linear in the source.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

_OPEN = re.compile(r"\{[{%#]")
_TOKEN = re.compile(
    r"""\s*+(?:
        (?P<close>[-+]?[%}]\})
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*+)
      | (?P<string>"[^"\\]*+"|'[^'\\]*+')
      | (?P<number>[0-9]++(?>(?:\.[0-9]++)?))
      | (?P<mark>==|!=|<=|>=|[<>|.,=()\[\]])
    )""",
    re.VERBOSE,
)


class TagKind(Enum):
    EXPRESSION = "{{"
    STATEMENT = "{%"
    COMMENT = "{#"


@dataclass(frozen=True, slots=True)
class Token:
    kind: str  # the name of a group of _TOKEN
    text: str


@dataclass(frozen=True, slots=True)
class Tag:
    """`source[start:end]`, with its delimiters; a comment has no tokens."""

    kind: TagKind
    start: int
    end: int
    tokens: tuple[Token, ...]


class UnreadableTag(Exception):
    """A tag that this reader does not understand."""


def template_tags(source: str) -> Iterator[Tag]:
    """The tags in their order. Raises UnreadableTag."""
    position = 0
    while (opening := _OPEN.search(source, position)) is not None:
        kind = TagKind(opening.group())
        if kind is TagKind.COMMENT:
            tokens: tuple[Token, ...] = ()
            position = _after_comment(source, opening.end())
        else:
            tokens, position = _tokens(source, opening.end())
        yield Tag(kind, opening.start(), position, tokens)


def _after_comment(source: str, start: int) -> int:
    end = source.find("#}", start)
    if end < 0:
        raise UnreadableTag
    return end + 2


def _tokens(source: str, position: int) -> tuple[tuple[Token, ...], int]:
    if source[position : position + 1] in ("-", "+"):
        position += 1
    tokens: list[Token] = []
    while True:
        match = _TOKEN.match(source, position)
        if match is None or match.lastgroup is None:
            raise UnreadableTag
        position = match.end()
        if match.lastgroup == "close":
            return tuple(tokens), position
        tokens.append(Token(match.lastgroup, match.group(match.lastgroup)))
