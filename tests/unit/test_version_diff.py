"""Diffs of template versions: what `diff -u` would say, in bounded work."""

from difflib import unified_diff

from hypothesis import given
from hypothesis import strategies as st

from posthouse.compose.version_diff import (
    MAX_COMPARED,
    MAX_LINE,
    MAX_SHOWN,
    lines_diff,
    part_diff,
    variables_diff,
)
from posthouse.domain.template import Variable

_lines = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=30)


def applied(old: list[str], lines: list[str]) -> list[str]:
    """The old lines with a unified diff applied."""
    new, at = [], 0
    for line in lines:
        if line.startswith("@@"):
            start, _, count = line.split()[1].removeprefix("-").partition(",")
            begin = int(start) if count == "0" else int(start) - 1
            new += old[at:begin]
            at = begin
        elif line[0] == "+":
            new.append(line[1:])
        else:
            assert old[at] == line[1:]
            if line[0] == " ":
                new.append(old[at])
            at += 1
    return new + old[at:]


@given(_lines, _lines)
def test_a_diff_makes_the_new_of_the_old(old: list[str], new: list[str]) -> None:
    diff = lines_diff(old, new)
    assert applied(old, diff.lines) == new
    assert (diff.lines == []) == (old == new)
    assert diff.added == sum(line.startswith("+") for line in diff.lines)
    assert diff.removed == sum(line.startswith("-") for line in diff.lines)
    assert diff.compared
    assert diff.complete


def test_it_is_written_as_diff_writes_it() -> None:
    old = [f"line {n}" for n in range(40)]
    new = [*old[:10], "other", *old[11:30], *old[31:], "more"]
    expected = list(unified_diff(old, new, lineterm=""))[2:]
    assert lines_diff(old, new).lines == expected
    assert lines_diff([], ["a"]).lines == ["@@ -0,0 +1 @@", "+a"]


def test_a_part_that_comes_or_goes_is_all_added_or_removed() -> None:
    assert part_diff(None, "a\nb").lines == ["@@ -0,0 +1,2 @@", "+a", "+b"]
    assert part_diff("a\r\nb\n", None).removed == 2
    assert part_diff(None, None).lines == []


def test_more_than_is_compared_stands_as_removed_and_added() -> None:
    size = MAX_COMPARED + 10
    old = ["same", *(f"a{n}" for n in range(size)), "end"]
    new = ["same", *(f"b{n}" for n in range(size)), "end"]
    diff = lines_diff(old, new)
    assert (diff.compared, diff.complete, diff.added, diff.removed) == (False, True, size, size)
    assert applied(old, diff.lines) == new


def test_one_change_in_a_huge_template_is_found_exactly() -> None:
    old = ["x"] * 100_000
    new = [*old[:50_000], "y", *old[50_000:]]
    diff = lines_diff(old, new)
    assert (diff.compared, diff.added, diff.removed, len(diff.lines)) == (True, 1, 0, 8)
    assert diff.lines[0] == "@@ -49998,6 +49998,7 @@"


def test_what_is_shown_is_bounded_and_what_is_counted_is_not() -> None:
    diff = part_diff("\n".join(f"a{n}" for n in range(5000)), "b" * 5000)
    assert (len(diff.lines), diff.complete, diff.removed, diff.added) == (MAX_SHOWN, False, 5000, 1)
    long = part_diff(None, "b" * 5000)
    assert (len(long.lines[1]), long.complete) == (MAX_LINE, False)


def test_a_declaration_is_a_line() -> None:
    old = (Variable("name"), Variable("greeting", required=False, default="Hello"))
    new = (Variable("name"), Variable("greeting", required=False, default=7))
    assert variables_diff(old, new).lines == [
        "@@ -1,2 +1,2 @@",
        " name: required",
        '-greeting: default "Hello"',
        "+greeting: default 7",
    ]
