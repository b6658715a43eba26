"""Links in memory and in a local file, so that a known link works while the database is away.

The file is only a cache: it may be deleted at any time, and a part of it that cannot be read is skipped. URLs
are secrets (reset links), so nobody else may read it.
"""

import asyncio
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from posthouse.domain.ids import LinkHash
from posthouse.storage.background import in_background
from posthouse.telemetry import log

SAVE_EVERY: Final = 1.0  # seconds
_OVERHEAD: Final = 200  # bytes of memory for an entry beside its URL


class _Line(msgspec.Struct, array_like=True):
    link_hash: bytes
    url: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


class LinkCache:
    """The links asked for most recently, at most `max_bytes` of them; the file is twice that at most."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._links: OrderedDict[LinkHash, str] = OrderedDict()
        self._bytes = 0
        self._unsaved: list[_Line] = []

    def __len__(self) -> int:
        return len(self._links)

    def get(self, link_hash: LinkHash) -> str | None:
        url = self._links.get(link_hash)
        if url is not None:
            self._links.move_to_end(link_hash)
        return url

    def put(self, link_hash: LinkHash, url: str) -> None:
        if link_hash in self._links:
            return
        self._keep(link_hash, url)
        self._unsaved.append(_Line(link_hash, url))

    def load(self) -> None:
        """What earlier processes knew; the file's latest lines win. Blocks on the disk."""
        try:
            with self._path.open("rb") as file:
                for line in _readable(file):
                    self._keep(LinkHash(line.link_hash), line.url)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("link_file_not_read", error=str(error))

    def save(self) -> None:
        """Append what is new, or write the file anew when it has grown past its bound. Blocks on the disk."""
        lines, self._unsaved = self._unsaved, []
        if not lines:
            return
        try:
            if self._append(lines) > 2 * self._max_bytes:
                self._rewrite()
        except OSError as error:
            log.warning("link_file_not_written", error=str(error))

    @asynccontextmanager
    async def running(self) -> AsyncIterator["LinkCache"]:
        """Loaded, and saved each second and at the end."""
        await asyncio.to_thread(self.load)
        async with in_background(self._keep_saving(), "link cache"):
            yield self
        await asyncio.to_thread(self.save)

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY)
            if self._unsaved:
                await asyncio.to_thread(self.save)

    def _keep(self, link_hash: LinkHash, url: str) -> None:
        old = self._links.pop(link_hash, None)
        self._links[link_hash] = url
        self._bytes += _weight(url) - (0 if old is None else _weight(old))
        while self._bytes > self._max_bytes:
            _, evicted = self._links.popitem(last=False)
            self._bytes -= _weight(evicted)

    def _append(self, lines: list[_Line]) -> int:
        """The size of the file afterwards."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        with os.fdopen(os.open(self._path, flags, 0o600), "ab") as file:
            # The line break first: the line before may have been cut off by a crash.
            file.write(b"".join([b"\n" + _encode(line) for line in lines]))
            return file.tell()

    def _rewrite(self) -> None:
        fresh = self._path.with_suffix(f".{os.getpid()}.new")
        flags = os.O_WRONLY | os.O_TRUNC | os.O_CREAT | os.O_CLOEXEC
        with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
            for link_hash, url in list(self._links.items()):
                file.write(b"\n" + _encode(_Line(link_hash, url)))
        fresh.replace(self._path)


def _weight(url: str) -> int:
    return len(url) + _OVERHEAD


def _readable(lines: Iterator[bytes]) -> Iterator[_Line]:
    for line in lines:
        try:
            yield _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
