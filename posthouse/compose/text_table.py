"""Tables of facts in plain text: columns aligned, numbers to the right; stacked where a line is too short."""

import re
from dataclasses import dataclass
from typing import Final

from posthouse.compose.text_page import WIDTH

_GAP: Final = "  "
_MAX_COLUMNS: Final = 12
_NUMBER = re.compile(r"[-+\u2212(]?\W{0,3}\d[\d.,'\u00a0\u202f ]*+\W{0,3}(?:[A-Za-z]{1,3}|%)?\)?")


@dataclass(slots=True)
class Row:
    """Cells as (text, columns they span)."""

    cells: list[tuple[str, int]]
    is_header: bool = False


def aligned(rows: list[Row]) -> list[str]:
    """The lines of a table. Rows that do not fit a line side by side are written cell under cell."""
    grid = [_columns(row) for row in rows]
    count = max(map(len, grid), default=0)
    used = [c for c in range(count) if any(c < len(cells) and cells[c] for cells in grid)]
    grid = [[cells[c] if c < len(cells) else "" for c in used] for cells in grid]
    widths = [max(len(cells[c]) for cells in grid) for c in range(len(used))]
    if sum(widths) + len(_GAP) * (len(widths) - 1) > WIDTH or len(widths) > _MAX_COLUMNS:
        return _stacked(grid)
    to_the_right = [_is_numeric(grid, rows, column) for column in range(len(used))]
    lines = []
    for row, cells in zip(rows, grid, strict=True):
        if any(cells):
            lines.append(_line(cells, widths, to_the_right))
        if row.is_header and row is rows[0] and len(rows) > 1:
            lines.append(_GAP.join("-" * width for width in widths))
    return lines


def _columns(row: Row) -> list[str]:
    """One text for each column. A cell that spans several stands in the first, but in the last of them when
    a number stands to its right: "Total" belongs to the sum beside it."""
    cells: list[str] = []
    for text, span in row.cells:
        cells += [text, *[""] * (min(span, _MAX_COLUMNS + 1) - 1)]
    return cells


def _is_numeric(grid: list[list[str]], rows: list[Row], column: int) -> bool:
    texts = [
        cells[column] for row, cells in zip(rows, grid, strict=True) if cells[column] and not row.is_header
    ]
    return bool(texts) and all(_NUMBER.fullmatch(text) for text in texts)


def _line(cells: list[str], widths: list[int], to_the_right: list[bool]) -> str:
    padded = [
        text.rjust(width) if right else text.ljust(width)
        for text, width, right in zip(cells, widths, to_the_right, strict=True)
    ]
    return _GAP.join(padded).rstrip()


def _stacked(grid: list[list[str]]) -> list[str]:
    lines: list[str] = []
    for cells in grid:
        if lines:
            lines.append("")
        lines += [text for text in cells if text]
    return lines
