"""A Maildir into which another mail server delivers the bounce domain's mail, read until it is empty.

https://cr.yp.to/proto/maildir.html: a mail in `new` was not seen by any reader; one that was is in `cur`.
Reports stay there, for whoever keeps the mailbox to delete.
"""

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from posthouse.clock import Clock
from posthouse.domain.errors import Misconfigured
from posthouse.inbound.letters import letter
from posthouse.relays.base import RawCallback

#: Mails made durable together.
SET: Final = 50

Keep = Callable[[Sequence[RawCallback]], Awaitable[None]]


class Maildir:
    def __init__(self, folder: Path, max_message_bytes: int) -> None:
        """Raises Misconfigured for a folder that is no Maildir."""
        if not (folder / "new").is_dir() or not (folder / "cur").is_dir():
            raise Misconfigured(f"{folder} is no Maildir: it has no folders new and cur.")
        self._new = folder / "new"
        self._cur = folder / "cur"
        self._max_bytes = max_message_bytes

    async def read(self, keep: Keep, clock: Clock) -> int:
        """Every waiting mail to `keep`, then out of the way; how many. Raises NotNow: the rest waits.

        Killed in between, it reads a set again, which changes nothing: a report's event has the digest of its
        bytes.
        """
        done = 0
        while names := sorted(islice(self._waiting(), SET)):
            await keep([letter(self._bytes(name), "", clock.now()) for name in names])
            for name in names:
                os.replace(self._new / name, self._cur / f"{name}:2,S")
            done += len(names)
        return done

    def _waiting(self) -> Iterator[str]:
        with os.scandir(self._new) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                    yield entry.name

    def _bytes(self, name: str) -> bytes:
        """The part of a mail that is looked at; what is longer quotes a long mail."""
        with (self._new / name).open("rb") as file:
            return file.read(self._max_bytes)
