"""Lists of suppressions, read as they arrive: one entry a line, in constant memory.

Three formats: addresses; CSV with a header line; JSON objects. What is wrong with a line is said of that line
and the rest of the list goes on: one of 100,000 is not sent again for one bad address.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, assert_never

import msgspec

from posthouse.domain.errors import InvalidInput
from posthouse.domain.suppression import Suppression, SuppressionSource
from posthouse.intake.suppressing import PostedSuppression, suppression_of

MAX_LINE_BYTES: Final = 4096
_MAX_MESSAGE: Final = 200  # characters: what is wrong, not the line again
_COLUMNS: Final = frozenset(PostedSuppression.__struct_fields__)
_BYTE_ORDER_MARK: Final = "\ufeff"

_read_object = msgspec.json.Decoder(dict[str, object]).decode


class ListFormat(Enum):
    ADDRESSES = "addresses"
    CSV = "csv"
    JSON_LINES = "json_lines"


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no entry; the first one has number 1."""

    line: int
    message: str


class _BadRow(Exception):
    """What is wrong with a line."""


class SuppressionReader:
    """Makes entries of the bytes of one list. `given`: fields of the lines that do not say them."""

    def __init__(self, form: ListFormat, now: datetime, given: Mapping[str, str] | None = None) -> None:
        self._form = form
        self._now = now
        self._given = given or {}
        self._splitter = _Splitter()
        self._columns: list[str] | None = None
        self._begun = False
        self.line = 0  # the last one that was read

    def feed(self, chunk: bytes) -> Iterator[Suppression | BadLine]:
        """The lines that this chunk ends, empty ones left out. Raises InvalidInput for a bad header line."""
        for raw in self._splitter.feed(chunk):
            yield from self._read(raw)

    def end(self) -> Iterator[Suppression | BadLine]:
        """The last line, if it has no line end."""
        yield from self._read(self._splitter.rest())

    def _read(self, raw: bytes | None) -> Iterator[Suppression | BadLine]:
        self.line += 1
        try:
            text = _decoded(raw).removeprefix(_BYTE_ORDER_MARK if self.line == 1 else "").strip(" \t\r")
            if text and not self._takes_as_header(text):
                yield suppression_of(self._posted(text), SuppressionSource.IMPORT, self._now)
        except (_BadRow, InvalidInput) as error:
            if isinstance(error, InvalidInput) and error.code == "invalid_header_line":
                raise
            self._begun = True
            yield BadLine(self.line, str(error)[:_MAX_MESSAGE])

    def _takes_as_header(self, text: str) -> bool:
        """A first line without an address names the columns."""
        begins, self._begun = not self._begun, True
        if not begins or "@" in text or self._form is ListFormat.JSON_LINES:
            return False
        self._columns = _header(text)
        return True

    def _posted(self, text: str) -> PostedSuppression:
        try:
            return msgspec.convert({**self._given, **self._fields(text)}, PostedSuppression)
        except msgspec.ValidationError as error:
            raise _BadRow(f"{error}.") from error

    def _fields(self, text: str) -> dict[str, object]:
        match self._form:
            case ListFormat.JSON_LINES:
                return _of_json(text)
            case ListFormat.ADDRESSES | ListFormat.CSV:
                if self._columns is not None:
                    return _of_cells(_cells(text), self._columns)
                cells = [text] if self._form is ListFormat.ADDRESSES else _cells(text)
                return _of_cells(cells, ["address"])
            case _:
                assert_never(self._form)


class _Splitter:
    """Lines of bytes; one that is too long is None, and never held."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._too_long = False

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            self._hold(piece)
            yield self.rest()
        self._hold(rest)

    def rest(self) -> bytes | None:
        """What is held, which is forgotten."""
        line = None if self._too_long else bytes(self._held)
        self._held.clear()
        self._too_long = False
        return line

    def _hold(self, piece: bytes) -> None:
        self._too_long = self._too_long or len(self._held) + len(piece) > MAX_LINE_BYTES
        if self._too_long:
            self._held.clear()
        else:
            self._held += piece


def _decoded(raw: bytes | None) -> str:
    if raw is None:
        raise _BadRow(f"The line is longer than {MAX_LINE_BYTES} bytes.")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _BadRow("The line is not UTF-8.") from error


def _header(text: str) -> list[str]:
    try:
        columns = [cell.strip().lower() for cell in _cells(text)]
    except _BadRow as error:
        raise _bad_header(str(error)) from error
    unknown = [name for name in columns if name not in _COLUMNS]
    if unknown:
        raise _bad_header(f"It names columns that are not known: {', '.join(unknown)[:_MAX_MESSAGE]}.")
    if "address" not in columns or len(set(columns)) < len(columns):
        raise _bad_header("It must name the column address, and each column once.")
    return columns


def _bad_header(reason: str) -> InvalidInput:
    return InvalidInput(
        "The first line has no address, so it must name the columns, some of "
        f"{', '.join(sorted(_COLUMNS))}. {reason} Nothing was stored.",
        code="invalid_header_line",
    )


def _cells(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise _BadRow(f"The line is not CSV: {error}.") from error


def _of_cells(cells: list[str], columns: list[str]) -> dict[str, object]:
    """An empty cell is a field that is left out."""
    if len(cells) != len(columns):
        raise _BadRow(f"The line has {len(cells)} columns where {len(columns)} are expected.")
    return {name: cell.strip() for name, cell in zip(columns, cells, strict=True) if cell.strip()}


def _of_json(text: str) -> dict[str, object]:
    try:
        return _read_object(text)
    except (ValueError, RecursionError) as error:
        raise _BadRow(f"{error}.") from error
