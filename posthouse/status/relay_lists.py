"""Keeping a relay's own suppression list and ours the same.

A relay takes mail to an address on its list, and drops it. So what is there and not here is imported; what
was taken away here is taken off there; what came only from there and is gone there goes here; and what is
ours is put there, where the relay takes it. None of this is an event of a mail: it counts in no bounce rate.

The list is read page by page, and each page is written down (storage/relay_lists.py) before anything is
decided: that an entry is gone is only known when the whole list was read. A sync that is cut off has lost
nothing, and the next one does what is left.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from posthouse.clock import Clock
from posthouse.domain.address import normalise
from posthouse.domain.errors import Conflict, InvalidAddress, Misconfigured, NotNow
from posthouse.domain.ids import RelayAccount
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import SuppressionReason, SuppressionScope
from posthouse.relays.base import Changed, ListedThere, OnList, SuppressionList
from posthouse.relays.http import clean
from posthouse.storage import relay_lists
from posthouse.storage.db import Database
from posthouse.storage.relay_lists import Added, Listed, Reading, Seen, Unlisted

#: Of one sync: the rest has its turn at the next one.
MOST_CHANGES: Final = 10_000
#: What we put on a list may be shown there only after a while (Postmark: "up to a minute").
SHOWN_AFTER: Final = timedelta(minutes=15)
#: A list that has lost more than this, and more than it still has, is not believed.
_LOSS: Final = 100
_NOTE: Final = 1000  # characters


@dataclass(frozen=True, slots=True)
class Mirror:
    """One account's list, and the streams whose mail the account takes."""

    suppressions: SuppressionList
    streams: frozenset[Stream]

    @property
    def account(self) -> RelayAccount:
        return self.suppressions.account

    @property
    def scopes(self) -> list[SuppressionScope]:
        """Entries that stop all mail that the account takes. An unsubscription from marketing must not stop
        transactional mail at a relay that takes both."""
        if Stream.TRANSACTIONAL in self.streams or not self.streams:
            return [SuppressionScope.ALL]
        return [SuppressionScope.ALL, SuppressionScope.MARKETING]

    def scope_of(self, reason: SuppressionReason) -> SuppressionScope:
        """Which mail an entry of the list stops here. A manual one says only that this account's mail is not
        wanted."""
        if reason is SuppressionReason.UNSUBSCRIBE:
            return SuppressionScope.MARKETING
        return self.scopes[-1] if reason is SuppressionReason.MANUAL else SuppressionScope.ALL


@dataclass(slots=True)
class Mirrored:
    """What a sync did, or would do. `unreadable`: entries whose address is none. `trouble`: why it did not
    come to its end."""

    account: RelayAccount
    read: int = 0
    unreadable: int = 0
    imported: int = 0
    added_there: int = 0
    removed_there: int = 0
    removed_here: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Manner:
    """How to go about it. `tries_only`: only the list is written down, nothing is changed here or there.
    `accepts_losses`: a list that has lost most of its entries is believed."""

    tries_only: bool = False
    accepts_losses: bool = False
    moved: Callable[[int], None] = lambda _: None


async def sync(db: Database, mirror: Mirror, clock: Clock, manner: Manner) -> Mirrored:
    """Once through the account's list. Raises only on cancellation: what stopped it stands in `trouble`."""
    run = _Sync(db, mirror, clock, manner)
    try:
        async with relay_lists.alone_with(db, mirror.account) as check:
            await run.through(check)
    except (NotNow, Misconfigured, Conflict) as error:
        run.done.trouble = error.message
    return run.done


class _Sync:
    def __init__(self, db: Database, mirror: Mirror, clock: Clock, manner: Manner) -> None:
        self._db = db
        self._mirror = mirror
        self._list = mirror.suppressions
        self._clock = clock
        self._manner = manner
        self._reading = Reading(uuid4(), mirror.account, mirror.suppressions.place, clock.now())
        self.done = Mirrored(mirror.account)

    async def through(self, check: Callable[[], None]) -> None:
        """What was read is imported even when the rest of the list could not be."""
        await relay_lists.begin(self._db, self._reading)
        try:
            await self._read(check)
        except (NotNow, Misconfigured):
            await self._import()
            raise
        await self._import()
        for step in (self._take_off, self._let_go, self._put_on):
            check()
            await step()
        if not self._manner.tries_only:
            await relay_lists.end(self._db, self._reading, self._clock.now())

    async def _read(self, check: Callable[[], None]) -> None:
        async for page in self._list.read():
            check()
            for start in range(0, len(page), relay_lists.SET):
                part = page[start : start + relay_lists.SET]
                seen = list(self._seen(part))
                self.done.read += len(part)
                self.done.unreadable += len(part) - len(seen)
                await relay_lists.mark(self._db, self._reading, seen)
                self._manner.moved(len(part))

    def _seen(self, page: Sequence[ListedThere]) -> Iterator[Seen]:
        """Without those whose address is none."""
        for entry in page:
            try:
                address = normalise(entry.address)
            except InvalidAddress:
                continue
            since = None if entry.since is None else min(entry.since, self._reading.began)
            yield Seen(address, entry.reason, self._mirror.scope_of(entry.reason), since, entry.words)

    async def _import(self) -> None:
        async for found in relay_lists.to_import(self._db, self._reading):
            if self._manner.tries_only:
                self.done.imported += len(found)
                continue
            notes = [note_of(self._mirror.account, one) for one in found]
            now = self._clock.now()
            self.done.imported += await relay_lists.import_listed(self._db, self._reading, found, notes, now)

    async def _take_off(self) -> None:
        """What was taken away here, so that the next sync does not bring it back."""
        left = MOST_CHANGES
        async for found in relay_lists.to_take_off(self._db, self._reading):
            kept = [one for one in found if one.reads_as in self._list.rules.keeps]
            self._refuse(f"the relay takes no {reason} off its list" for reason in map(_reads_as, kept))
            wanted = [one for one in found if one.reads_as not in self._list.rules.keeps][:left]
            left -= len(wanted)
            if self._manner.tries_only:
                self.done.removed_there += len(wanted)
                continue
            await self._take_off_set(wanted)

    async def _take_off_set(self, wanted: Sequence[Listed]) -> None:
        changes = await self._list.remove([OnList(one.address, one.reads_as) for one in wanted])
        gone = [one for one, change in zip(wanted, changes, strict=True) if isinstance(change, Changed)]
        self._refuse(change.reason for change in changes if not isinstance(change, Changed))
        await relay_lists.forget(self._db, self._reading, gone)
        self.done.removed_there += len(gone)

    async def _let_go(self) -> None:
        """What is not there any more. Raises NotNow for a list that has lost too much to be believed."""
        kept, lost = await relay_lists.count(self._db, self._reading)
        if lost > max(_LOSS, kept) and not self._manner.accepts_losses:
            raise NotNow(
                f"The list of {self._mirror.account} has lost {lost:,} of {kept + lost:,} entries since the "
                "last sync, which is not believed: nothing was removed here. If it is right, run `posthouse "
                f"suppressions sync --relay {self._mirror.account} --accept-losses`."
            )
        why = f"it is not on the list of relay {self._mirror.account} any more, from which it came"
        async for found in relay_lists.missed(self._db, self._reading, SHOWN_AFTER):
            if self._manner.tries_only:
                self.done.removed_here += sum(one.lifts for one in found)
                continue
            now = self._clock.now()
            self.done.removed_here += await relay_lists.settle_missed(
                self._db, self._reading, found, why, now
            )

    async def _put_on(self) -> None:
        adds, left = self._list.rules.adds, MOST_CHANGES
        async for found in relay_lists.unlisted(
            self._db, self._mirror.account, list(adds), self._mirror.scopes
        ):
            # Once for each address: then the relay stops it.
            wanted = list({one.address: one for one in found}.values())[:left]
            left -= len(wanted)
            if self._manner.tries_only:
                self.done.added_there += len(wanted)
            elif wanted:
                await self._put_on_set(wanted)
            if left == 0:
                return

    async def _put_on_set(self, wanted: Sequence[Unlisted]) -> None:
        reads_as = [self._list.rules.adds[one.reason] for one in wanted]
        await relay_lists.begin_adding(self._db, self._reading, wanted, reads_as, self._clock.now())
        changes = await self._list.add([OnList(one.address, one.reason) for one in wanted])
        added = [
            Added(one, "" if isinstance(change, Changed) else change.reason)
            for one, change in zip(wanted, changes, strict=True)
        ]
        await relay_lists.end_adding(self._db, self._reading, added)
        self._refuse(one.refusal for one in added if one.refusal)
        self.done.added_there += sum(not one.refusal for one in added)
        self._manner.moved(len(added))

    def _refuse(self, reasons: Iterator[str]) -> None:
        self.done.refused.update(reasons)


def note_of(account: RelayAccount, listed: Listed) -> str:
    """Whose list an entry came from, in a sentence."""
    since = "" if listed.since is None else f" since {_day(listed.since)}"
    words = f": {listed.words}" if listed.words else ""
    return clean(f"on the list of relay {account}{since}{words}", _NOTE)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _reads_as(listed: Listed) -> SuppressionReason:
    return listed.reads_as
