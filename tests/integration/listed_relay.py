"""A relay's list in memory, and the two lists of a house beside it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from posthouse.clock import ManualClock
from posthouse.domain.errors import NotNow
from posthouse.domain.ids import AddressKey, RelayAccount
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import Suppression, SuppressionReason, SuppressionScope, SuppressionSource
from posthouse.relays.base import Change, Changed, KeptThere, ListedThere, ListRules, OnList
from posthouse.status.relay_lists import Manner, Mirror, Mirrored, sync
from posthouse.storage import suppressions
from posthouse.storage.db import Database
from posthouse.storage.suppressions import Remover

BOUNCE, SPAM, UNSUBSCRIBE, MANUAL = SuppressionReason
THEIRS = RelayAccount("theirs")
BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVERYTHING = ListRules(adds={reason: reason for reason in (BOUNCE, SPAM, UNSUBSCRIBE)})
#: As Postmark's.
MANUAL_ONLY = ListRules(adds=dict.fromkeys(SuppressionReason, MANUAL), keeps=frozenset({SPAM}))


@dataclass
class ListedRelay:
    """`away_after`: so many pages are read, and then the relay is away."""

    clock: ManualClock
    account: RelayAccount = THEIRS
    rules: ListRules = EVERYTHING
    place: str = "memory one"
    page: int = 100
    away_after: int | None = None
    refuses: set[str] = field(default_factory=set)
    entries: dict[tuple[str, SuppressionReason], ListedThere] = field(default_factory=dict)
    changes: int = 0

    def happens(self, address: str, reason: SuppressionReason = BOUNCE, words: str = "550 gone") -> None:
        """A list with a rule for everything, as Postmark's, has one reason for each address: a complaint, or
        the last."""
        if self.rules is MANUAL_ONLY:
            if (address, SPAM) in self.entries:
                return
            for other in SuppressionReason:
                self.entries.pop((address, other), None)
        self.entries[address, reason] = ListedThere(address, reason, self.clock.now(), words)

    async def read(self) -> AsyncIterator[Sequence[ListedThere]]:
        known = list(self.entries.values())
        for number, start in enumerate(range(0, max(len(known), 1), self.page)):
            if number == self.away_after:
                raise NotNow("The relay is away.")
            yield known[start : start + self.page]

    async def add(self, entries: Sequence[OnList]) -> list[Change]:
        said: list[Change] = []
        for entry in entries:
            if entry.address in self.refuses:
                said.append(KeptThere("not this one"))
                continue
            self.changes += 1
            self.happens(entry.address, self.rules.adds[entry.reason], "by the customer")
            said.append(Changed())
        return said

    async def remove(self, entries: Sequence[OnList]) -> list[Change]:
        for entry in entries:
            assert entry.reason not in self.rules.keeps
            self.changes += self.entries.pop((entry.address, entry.reason), None) is not None
        return [Changed()] * len(entries)

    async def close(self) -> None: ...


@dataclass
class Lists:
    """Ours and theirs. Time moves on by a minute with each deed."""

    db: Database
    clock: ManualClock
    relay: ListedRelay
    streams: frozenset[Stream] = frozenset(Stream)

    async def sync(self, manner: Manner | None = None, relay: ListedRelay | None = None) -> Mirrored:
        self.clock.advance(60)
        mirror = Mirror(relay or self.relay, self.streams)
        return await sync(self.db, mirror, self.clock, manner or Manner())

    async def add(
        self, address: str, reason: SuppressionReason = BOUNCE, *, for_days: int | None = None
    ) -> None:
        self.clock.advance(60)
        marketing = reason is UNSUBSCRIBE
        scope = SuppressionScope.MARKETING if marketing else SuppressionScope.ALL
        now = self.clock.now()
        ends = None if for_days is None else now + timedelta(days=for_days)
        key = AddressKey(address)
        await suppressions.add(
            self.db, Suppression(key, reason, scope, SuppressionSource.API, now, ends, note="ours")
        )

    async def remove(self, address: str) -> None:
        self.clock.advance(60)
        by = Remover(None, "they asked")
        await suppressions.remove(self.db, AddressKey(address), by, self.clock.now(), with_complaints=True)

    def happens(self, address: str, reason: SuppressionReason = BOUNCE) -> None:
        self.clock.advance(60)
        self.relay.happens(address, reason)

    async def entries(self, address: str) -> list[Suppression]:
        return await suppressions.entries_of(self.db, AddressKey(address))

    async def here(self) -> set[tuple[str, SuppressionReason]]:
        only = suppressions.Filter()
        found = await suppressions.page(self.db, only=only, after=None, limit=10_000)
        return {(one.address, one.reason) for one in found}

    def there(self) -> set[tuple[str, SuppressionReason]]:
        return set(self.relay.entries)
