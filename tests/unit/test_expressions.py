"""Every regular expression of the house means the same on each Python that it runs on."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = sorted(Path("posthouse").rglob("*.py"))
#: After a group, a repetition that gives nothing back: wrong before Python 3.11.5 where the group could go
#: back (https://github.com/python/cpython/issues/106052).
POSSESSIVE_GROUP = re.compile(r"(?<!\\)\)(?:[*+?]|\{[0-9,]+\})\+")


def texts(source: str) -> Iterator[str]:
    """The strings of a program, without those that document it."""
    tree = ast.parse(source)
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def test_no_group_is_possessive() -> None:
    found = [
        (str(path), text)
        for path in SOURCES
        for text in texts(path.read_text(encoding="utf-8"))
        if POSSESSIVE_GROUP.search(text)
    ]
    assert found == [], "write (?>(?:...)*), which is right on every version"


@pytest.mark.parametrize("expression", [r"(?:a|b)*+c", r"x(a{2})?+", r"(?:a)++", r"(?:a){1,3}+"])
def test_a_possessive_group_is_seen(expression: str) -> None:
    assert POSSESSIVE_GROUP.search(expression)


@pytest.mark.parametrize("expression", [r"(?>(?:a|b)*)c", r"[^)]*+", r"\)*+", r"(?:a)+", r"a++(?:b)?"])
def test_other_repetitions_are_not(expression: str) -> None:
    assert not POSSESSIVE_GROUP.search(expression)
