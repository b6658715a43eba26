"""Reader events on disk while the database is away: bounded, append-only, read again later.

One JSON line an event, in segments. A segment is read whole, recorded, then removed: a crash in between
records it again, which changes nothing, because every event carries the id it got when the reader came.
"""

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from posthouse.domain.event import Event
from posthouse.telemetry import log

_SUFFIX: Final = ".events.jsonl"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


@dataclass(frozen=True, slots=True)
class Segment:
    """Events of one closed file; `torn` lines of it could not be read."""

    path: Path
    events: tuple[Event, ...]
    torn: int


class Spool:
    """A folder of segments, shared by the processes that serve readers; each writes its own segment.

    Calls block on the disk: make them from a thread.
    """

    def __init__(self, folder: Path, *, max_bytes: int, segment_bytes: int = 1_000_000) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._open: int | None = None  # descriptor of the segment that is written, locked while it is
        self._written = 0  # bytes in it

    def append(self, events: Sequence[Event]) -> int:
        """Keep events; how many found no room. What is lost with the disk is lost: nothing was promised."""
        room = self._max_bytes - self.size()
        for count, event in enumerate(events):
            line = _encode(event) + b"\n"
            room -= len(line)
            if room < 0 or not self._write(line):
                return len(events) - count
        return 0

    def oldest(self) -> Segment | None:
        """The oldest segment that nobody writes; ours is closed for it when there is no other."""
        for path in self._segments():
            if (segment := _read(path)) is not None:
                return segment
        if self._open is None:
            return None
        self.close()
        return self.oldest()

    def remove(self, segment: Segment) -> None:
        segment.path.unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes of all segments."""
        total = 0
        for path in self._segments():
            try:
                total += path.stat().st_size
            except FileNotFoundError:  # removed by another process that has recorded it
                continue
        return total

    def close(self) -> None:
        """Close the segment that is written; what is in it stays for the next start."""
        if self._open is not None:
            os.close(self._open)
            self._open = None

    def _write(self, line: bytes) -> bool:
        try:
            if self._open is None or self._written >= self._segment_bytes:
                self._begin_segment()
            assert self._open is not None
            written = os.write(self._open, line)
        except OSError as error:  # a full disk must not stop the answering of readers
            log.error("spool_failed", error=str(error))
            return False
        self._written += written
        return written == len(line)

    def _begin_segment(self) -> None:
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        taken = self._segments()
        number = 1 + (int(taken[-1].name.removesuffix(_SUFFIX)) if taken else 0)
        # Links are secrets: nobody else reads the file.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        while self._open is None:
            try:
                self._open = os.open(self._folder / f"{number:012d}{_SUFFIX}", flags, 0o600)
            except FileExistsError:  # another process was faster
                number += 1
        # Not yet locked it may be read by another process, which leaves a file alone that is still empty.
        fcntl.flock(self._open, fcntl.LOCK_EX)
        self._written = 0

    def _segments(self) -> list[Path]:
        """Oldest first."""
        found = self._folder.glob(f"*{_SUFFIX}")
        return sorted(path for path in found if path.name.removesuffix(_SUFFIX).isdigit())


def _read(path: Path) -> Segment | None:
    """None when its writer lives, when nothing is in it yet, or when it is gone."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            data = file.read()
    except (BlockingIOError, FileNotFoundError):
        return None
    return _parsed(path, data) if data else None


def _parsed(path: Path, data: bytes) -> Segment:
    events: list[Event] = []
    torn = 0
    for line in data.splitlines():
        try:
            events.append(_decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):  # cut off by a crash or a full disk
            torn += 1
    return Segment(path, tuple(events), torn)
