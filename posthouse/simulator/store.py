"""Every mail that came, for reading over HTTP: bodies in an append-only file, places in memory."""

import os
from array import array
from dataclasses import dataclass
from pathlib import Path

from posthouse.simulator.events import write_all
from posthouse.simulator.ledger import LedgerEntry


@dataclass(frozen=True, slots=True)
class Place:
    """Where a body lies in the file, in bytes."""

    offset: int
    length: int


class MessageStore:
    """Memory is bounded: the oldest `index_max` mails of this run can be looked up, later ones are in the
    ledger only (`not_indexed` counts them). The body file grows with the disk."""

    def __init__(self, path: Path, *, keep_bodies: bool, index_max: int) -> None:
        self.keeps_bodies = keep_bodies
        self.not_indexed = 0
        self._index_max = index_max
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644) if keep_bodies else None
        self._end = os.fstat(self._file).st_size if self._file is not None else 0
        self._entries: dict[int, tuple[LedgerEntry, Place | None]] = {}
        self._by_address: dict[str, array[int]] = {}

    def keep(self, body: bytes) -> Place | None:
        """Appends a body; None when bodies are not kept."""
        if self._file is None:
            return None
        place = Place(self._end, len(body))
        write_all(self._file, body)
        self._end += len(body)
        return place

    def index(self, entry: LedgerEntry, place: Place | None) -> None:
        if len(self._entries) >= self._index_max:
            self.not_indexed += 1
            return
        self._entries[entry.n] = (entry, place)
        self._by_address.setdefault(entry.to.lower(), array("Q")).append(entry.n)

    def find(self, *, to: str | None, after: int, limit: int) -> list[LedgerEntry]:
        """Entries with n > `after`, oldest first."""
        numbers = self._entries.keys() if to is None else self._by_address.get(to.lower(), array("Q"))
        found: list[LedgerEntry] = []
        for n in numbers:
            if len(found) >= limit:
                break
            if n > after:
                found.append(self._entries[n][0])
        return found

    def entry(self, n: int) -> LedgerEntry | None:
        kept = self._entries.get(n)
        return kept[0] if kept else None

    def body(self, n: int) -> bytes | None:
        kept = self._entries.get(n)
        if kept is None or kept[1] is None or self._file is None:
            return None
        return os.pread(self._file, kept[1].length, kept[1].offset)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
