"""A list of suppressions on its way into the database, a set of lines at a time."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from posthouse.domain.suppression import Suppression
from posthouse.intake.suppression_lines import BadLine, ListFormat, SuppressionReader
from posthouse.storage import suppressions
from posthouse.storage.db import Database

SET_LINES: Final = 1000
SHOWN_ERRORS: Final = 100
_TURN: Final = 100  # lines that are read in one go before others have their turn


@dataclass(frozen=True, slots=True)
class Imported:
    """`through`: the line up to which the list is stored. What was there before, or stands twice in the list,
    is counted as `already`."""

    through: int = 0
    added: int = 0
    already: int = 0
    invalid: int = 0
    errors: tuple[BadLine, ...] = ()  # the first ones

    def how_far(self) -> str:
        """For whoever must send the rest: a sentence behind what stopped it."""
        if not self.through:
            return " Nothing was stored."
        return f" The lines up to {self.through} were stored; the whole list may be sent again."


class SuppressionImport:
    """One list. Each set commits by itself: what ends it half way leaves the sets before, and the whole list
    may be sent again. `given`: as with `SuppressionReader`."""

    def __init__(
        self,
        db: Database,
        form: ListFormat,
        now: datetime,
        rng: random.Random,
        given: Mapping[str, str] | None = None,
    ) -> None:
        self._db = db
        self._now = now
        self._rng = rng
        self._reader = SuppressionReader(form, now, given)
        self._entries: list[Suppression] = []
        self._bad: list[BadLine] = []
        self.done = Imported()

    @property
    def held(self) -> int:
        """Lines that are in memory."""
        return len(self._entries) + len(self._bad)

    async def run(self, chunks: AsyncIterator[bytes]) -> Imported:
        """Raises InvalidInput for a bad header line, NotNow, and what `chunks` raises; `done` then says how
        far it came."""
        async for chunk in chunks:
            await self._take(self._reader.feed(chunk))
        await self._take(self._reader.end())
        await self._store()
        return self.done

    async def _take(self, lines: Iterable[Suppression | BadLine]) -> None:
        for line in lines:
            if isinstance(line, BadLine):
                self._bad.append(line)
            else:
                self._entries.append(line)
            if self.held >= SET_LINES:
                await self._store()
            elif self.held % _TURN == 0:
                await asyncio.sleep(0)

    async def _store(self) -> None:
        added = 0
        if self._entries:
            added = await suppressions.import_set(self._db, self._entries, self._now, self._rng)
        before = self.done
        self.done = Imported(
            through=self._reader.line,
            added=before.added + added,
            already=before.already + len(self._entries) - added,
            invalid=before.invalid + len(self._bad),
            errors=(before.errors + tuple(self._bad))[:SHOWN_ERRORS],
        )
        self._entries.clear()
        self._bad.clear()
