"""Which templates cannot grow, decided from their source alone.

minijinja's fuel counts instructions, not bytes: one `{{ 'x' * 200000000 }}` costs three. A template whose
every instruction can emit only a known multiple of its variables may run in the worker's own process with
fuel to match; every other template runs in the sandbox. The check is lexical and errs towards the sandbox:
what it does not know, it does not admit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from posthouse.compose.template_tags import TagKind, Token, UnreadableTag, template_tags

#: Most bytes a bounded template can hold at once, whatever its variables.
MEMORY_BYTES = 64 << 20
#: Most instructions at a time in the worker's process, about 20 ms.
MAX_FUEL = 200_000
_ESCAPE_GROWTH = 6  # "/" becomes "&#x2f;"
_NUMBER_BYTES = 400  # 1e308 prints 309 digits
_JOIN_SEPARATOR_BYTES = 8

#: Filters that cannot reach further than their input, and how many bytes they may make of one. What `join` is
#: given may be numbers: the five bytes of 1e308 become 309.
_FILTERS = {
    "abs": 1, "bool": 1, "capitalize": 3, "count": 1, "d": 1, "default": 1, "dictsort": 4, "e": 6, "escape":
    6, "filesizeformat": 1, "first": 1, "float": 1, "int": 1, "items": 4, "join": 70, "last": 1, "length": 1,
    "list": 1, "lower": 3, "max": 1, "min": 1, "pluralize": 1, "reverse": 1, "round": 1, "safe": 1, "sort": 1,
    "string": 1, "title": 3, "tojson": 6, "trim": 1, "upper": 3, "urlencode": 3,
}  # fmt: skip
_FILTERS_WITHOUT_ARGUMENTS = frozenset({"tojson"})  # an indent of a million grows
_DEFAULTS = frozenset({"d", "default"})
_TESTS = frozenset(
    {"boolean", "defined", "even", "false", "integer", "iterable", "mapping", "none", "number", "odd",
    "sequence",
     "string", "true", "undefined"}
)  # fmt: skip
_STATEMENTS = frozenset({"for", "endfor", "if", "elif", "else", "endif"})
_OPERATORS = frozenset({"and", "or", "not", "if", "else", "elif", "in", "is"})
_VIEWS = frozenset({"items", "keys", "values"})  # methods of dicts that copy nothing


@dataclass(frozen=True, slots=True)
class Bound:
    """No instruction emits more than `growth` bytes for each byte of variables, plus `literal`."""

    growth: int
    literal: int

    def fuel(self, variable_bytes: int) -> int:
        """Instructions that cannot emit more than `MEMORY_BYTES` together."""
        largest = self.growth * variable_bytes + self.literal + _NUMBER_BYTES
        return min(MAX_FUEL, MEMORY_BYTES // largest)


class _Unbounded(Exception):
    """Something here is not known to be bounded."""


def bound_of(source: str) -> Bound | None:
    """How much the template can grow; None when that is not plain to see. Linear in `source`."""
    growth, longest_text, longest_tag, position = 1, 0, 0, 0
    try:
        for tag in template_tags(source):
            longest_text = max(longest_text, tag.start - position)
            position = tag.end
            if tag.kind is not TagKind.COMMENT:
                longest_tag = max(longest_tag, tag.end - tag.start)
                growth = max(growth, _growth(tag.tokens, is_statement=tag.kind is TagKind.STATEMENT))
    except (UnreadableTag, _Unbounded):
        return None
    longest_text = max(longest_text, len(source) - position)
    growth *= _ESCAPE_GROWTH
    return Bound(growth, 4 * (longest_text + growth * longest_tag))


def _growth(tokens: Sequence[Token], *, is_statement: bool) -> int:
    if is_statement:
        return _statement_growth(tokens)
    return _expression_growth(tokens)


def _statement_growth(tokens: Sequence[Token]) -> int:
    if not tokens or tokens[0].text not in _STATEMENTS:
        raise _Unbounded
    if tokens[0].text != "for":
        return _expression_growth(tokens)
    header = [token.text for token in tokens]
    if "in" not in header or "recursive" in header:
        raise _Unbounded
    targets = header.index("in")
    if any(token.kind != "name" and token.text != "," for token in tokens[:targets]):
        raise _Unbounded
    return _expression_growth(tokens[targets + 1 :])


def _expression_growth(tokens: Sequence[Token]) -> int:
    growth = 1
    nesting: list[bool] = []  # True for a filter's arguments, False for a group
    for index, token in enumerate(tokens):
        before = tokens[index - 1].text if index else ""
        after = tokens[index + 1].text if index + 1 < len(tokens) else ""
        if token.kind == "name":
            growth *= _name_growth(tokens, index, before, after)
        elif token.text == "(":
            nesting.append(_opens_arguments(tokens, index))
        elif token.text == ")":
            if not nesting:
                raise _Unbounded
            nesting.pop()
        elif token.text == "[":
            _expect_subscript(tokens, index)
        elif token.text in (",", "=") and not (nesting and nesting[-1]):
            raise _Unbounded  # a tuple, or a keyword argument of a call
    return growth


def _name_growth(tokens: Sequence[Token], index: int, before: str, after: str) -> int:
    name = tokens[index].text
    if before == "|":
        return _filter_growth(tokens, index)
    if before == "is" or (before == "not" and index > 1 and tokens[index - 2].text == "is"):
        if name != "not" and name not in _TESTS:
            raise _Unbounded
        return 1
    if before == ".":
        if after == "(" and not _is_view(tokens, index):
            raise _Unbounded
        return 1
    if name == "in":
        raise _Unbounded  # membership costs as much as its list is long
    if after == "(" and name not in _OPERATORS:
        raise _Unbounded
    return 1


def _filter_growth(tokens: Sequence[Token], index: int) -> int:
    name = tokens[index].text
    growth = _FILTERS.get(name)
    has_arguments = index + 1 < len(tokens) and tokens[index + 1].text == "("
    if growth is None or (has_arguments and name in _FILTERS_WITHOUT_ARGUMENTS):
        raise _Unbounded
    if name == "join" and has_arguments:
        _expect_short_separator(tokens[index + 2 : index + 4])
    return growth


def _expect_short_separator(arguments: Sequence[Token]) -> None:
    if len(arguments) < 2 or arguments[0].kind != "string" or arguments[1].text != ")":
        raise _Unbounded
    if len(arguments[0].text.encode()) - 2 > _JOIN_SEPARATOR_BYTES:
        raise _Unbounded


def _opens_arguments(tokens: Sequence[Token], index: int) -> bool:
    """True when the parenthesis opens a filter's arguments, False when it groups; a call is unbounded."""
    if index == 0:
        return False
    before = tokens[index - 1]
    if before.kind == "name":
        if index > 1 and tokens[index - 2].text == "|":
            return True
        if before.text in _OPERATORS or _is_view(tokens, index - 1):
            return False
        raise _Unbounded
    if before.kind in ("string", "number") or before.text in (")", "]"):
        raise _Unbounded
    return False


def _is_view(tokens: Sequence[Token], index: int) -> bool:
    rest = [token.text for token in tokens[index : index + 3]]
    return (
        index > 0
        and tokens[index - 1].text == "."
        and len(rest) == 3
        and rest[0] in _VIEWS
        and rest[1:] == ["(", ")"]
    )


def _expect_subscript(tokens: Sequence[Token], index: int) -> None:
    """A bracket after a value reads one item of it; anywhere else it would build a list."""
    if index == 0:
        raise _Unbounded
    before = tokens[index - 1]
    if before.text in (")", "]"):
        return
    if before.kind != "name" or before.text in _OPERATORS:
        raise _Unbounded


def guarded_names(source: str) -> set[str]:
    """Variables that the template itself says it can do without: `x is defined`, `x|default(...)`."""
    return set(
        re.findall(
            r"\b([A-Za-z_]\w*)\s*+(?:\|\s*+(?:default|d)\b|is\s++(?:not\s++)?(?:un)?defined\b)", source
        )
    )
