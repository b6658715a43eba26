"""Tables of facts in plain text: columns aligned, numbers to the right; stacked where a line is too short."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

_GAP: Final = "  "
_MAX_COLUMNS: Final = 12  # with anything in them
_MAX_CELLS: Final = 64  # of a row: what is laid out in columns is as large as the product
_NUMBER = re.compile(r"[-+\u2212(]?\W{0,3}\d[\d.,'\u00a0\u202f ]*+\W{0,3}(?:[A-Za-z]{1,3}|%)?\)?")


@dataclass(slots=True)
class Row:
    """Cells as (text, columns they span)."""

    cells: list[tuple[str, int]]
    is_header: bool = False


def aligned(rows: list[Row], room: int) -> list[str]:
    """The lines of a table. Rows that do not fit a line of `room` characters are written cell under cell."""
    grid = [_cells(row) for row in rows]
    if max(map(len, grid), default=0) > _MAX_CELLS:
        return _stacked(grid)
    columns = [column for column in zip_longest(*grid, fillvalue="") if any(column)]
    widths = [max(map(len, column)) for column in columns]
    if len(widths) > _MAX_COLUMNS or sum(widths) + len(_GAP) * (len(widths) - 1) > room:
        return _stacked(grid)
    padded = [_padded(column, width, rows) for column, width in zip(columns, widths, strict=True)]
    lines = [_GAP.join(cells).rstrip() for cells in zip(*padded, strict=True)]
    if rows[0].is_header and len(rows) > 1:
        lines.insert(1, _GAP.join("-" * width for width in widths))
    return [line for line in lines if line]


def _cells(row: Row) -> list[str]:
    """One text for each column. A cell that spans several stands in the first of them."""
    if all(span == 1 for _, span in row.cells):
        return [text for text, _ in row.cells]
    cells: list[str] = []
    for text, span in row.cells:
        cells += [text, *[""] * (min(span, _MAX_COLUMNS + 1) - 1)]
    return cells


def _padded(column: Sequence[str], width: int, rows: list[Row]) -> list[str]:
    """Texts to the left, and numbers, if there is nothing else, to the right."""
    facts = [text for text, row in zip(column, rows, strict=True) if text and not row.is_header]
    if facts and all(map(_NUMBER.fullmatch, facts)):
        return [text.rjust(width) for text in column]
    return [text.ljust(width) for text in column]


def _stacked(grid: list[list[str]]) -> list[str]:
    lines: list[str] = []
    for cells in grid:
        if lines and any(cells):
            lines.append("")
        lines += filter(None, cells)
    return lines
