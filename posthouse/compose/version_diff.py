"""What changed from one version of a template to another, as unified diffs of its parts."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final, TypeAlias

import msgspec

from posthouse.domain.template import Variable

_CONTEXT: Final = 3
#: Lines between the first and the last that differ. difflib's time grows with their square, as where every
#: second line is another.
MAX_COMPARED: Final = 1000
MAX_SHOWN: Final = 3000
MAX_LINE: Final = 2000

#: A run of lines that are equal or not: difflib's name for it, then bounds in the old and in the new lines.
_Run: TypeAlias = tuple[str, int, int, int, int]


class PartDiff(msgspec.Struct, frozen=True):
    """`lines`: `@@ -from,count +from,count @@`, then lines that begin with ` `, `-` or `+`. `compared` false:
    too much lies between the first and the last difference, all of which stands as removed and added.
    `complete` false: lines were left off or cut short; the counts are those of all."""

    lines: list[str]
    added: int
    removed: int
    compared: bool
    complete: bool


def part_diff(old: str | None, new: str | None) -> PartDiff:
    """A part that is not there is one without lines."""
    return lines_diff((old or "").splitlines(), (new or "").splitlines())


def variables_diff(old: Sequence[Variable], new: Sequence[Variable]) -> PartDiff:
    """Each declaration is a line."""
    return lines_diff([_declared(one) for one in old], [_declared(one) for one in new])


def lines_diff(old: list[str], new: list[str]) -> PartDiff:
    start = _equal(old, new)
    end = _equal(old[start:][::-1], new[start:][::-1])
    first = max(0, start - _CONTEXT)
    last = max(0, end - _CONTEXT)
    before, after = old[first : len(old) - last], new[first : len(new) - last]
    compared = max(len(before), len(after)) <= MAX_COMPARED + 2 * _CONTEXT
    groups = _compared(before, after) if compared else [_replaced(before, after, start - first, end - last)]
    lines: list[str] = []
    for group in groups:
        lines += _hunk(before, after, group, first)
    runs = [run for group in groups for run in group if run[0] != "equal"]
    shown = [line[:MAX_LINE] for line in lines[:MAX_SHOWN]]
    return PartDiff(
        lines=shown,
        added=sum(run[4] - run[3] for run in runs),
        removed=sum(run[2] - run[1] for run in runs),
        compared=compared,
        complete=shown == lines,
    )


def _declared(variable: Variable) -> str:
    if variable.required:
        return f"{variable.name}: required"
    return f"{variable.name}: default {msgspec.json.encode(variable.default).decode()}"


def _equal(old: Sequence[str], new: Sequence[str]) -> int:
    """How many lines at the beginning are the same."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(old), len(new)))


def _compared(before: list[str], after: list[str]) -> list[list[_Run]]:
    if before == after:
        return []
    return list(SequenceMatcher(None, before, after).get_grouped_opcodes(_CONTEXT))


def _replaced(before: list[str], after: list[str], head: int, tail: int) -> list[_Run]:
    """Everything between `head` lines at the beginning and `tail` lines at the end."""
    ends = (len(before), len(after))
    return [
        ("equal", 0, head, 0, head),
        ("replace", head, ends[0] - tail, head, ends[1] - tail),
        ("equal", ends[0] - tail, ends[0], ends[1] - tail, ends[1]),
    ]


def _hunk(before: list[str], after: list[str], group: list[_Run], skipped: int) -> list[str]:
    """`skipped`: lines that stand before both."""
    old = _range(group[0][1] + skipped, group[-1][2] + skipped)
    new = _range(group[0][3] + skipped, group[-1][4] + skipped)
    lines = [f"@@ -{old} +{new} @@"]
    for kind, old_start, old_end, new_start, new_end in group:
        if kind == "equal":
            lines += [f" {line}" for line in before[old_start:old_end]]
        else:
            lines += [f"-{line}" for line in before[old_start:old_end]]
            lines += [f"+{line}" for line in after[new_start:new_end]]
    return lines


def _range(start: int, stop: int) -> str:
    """As `diff -u` writes it: lines are counted from 1, and an empty range names the line before it."""
    count = stop - start
    if count == 1:
        return str(start + 1)
    return f"{start + 1 if count else start},{count}"
