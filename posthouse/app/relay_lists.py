"""Relays' own suppression lists, each synchronised when it is due."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from posthouse.app.adapters import vendor_account
from posthouse.app.house import House
from posthouse.clock import Clock
from posthouse.config import Settings
from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.domain.stream import Stream
from posthouse.status.relay_lists import Manner, Mirror, Mirrored, sync
from posthouse.storage import relay_lists
from posthouse.telemetry import Metrics, log

#: After a sync that did not come to its end.
_AGAIN_AFTER: Final = timedelta(minutes=30)


class ListKeeper:
    """Synchronises the lists of a house, and remembers which gave trouble."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._waits: dict[RelayAccount, float] = {}  # until when, by the monotonic clock

    async def sync_due(self) -> None:
        """Every list whose last sync, whoever did it, is long enough ago. Raises NotNow."""
        try:
            mirrors = build_mirrors(self._house.settings, self._house.clock)
        except Misconfigured as error:
            log.error("relays' lists are not mirrored", reason=error.message)
            return
        for mirror in mirrors:
            try:
                if await self._is_due(mirror):
                    await self._sync(mirror)
            finally:
                await mirror.suppressions.close()

    async def _is_due(self, mirror: Mirror) -> bool:
        house = self._house
        if house.clock.monotonic() < self._waits.get(mirror.account, 0.0):
            return False
        last = await relay_lists.synced_at(house.general, mirror.account)
        return last is None or house.clock.now() - last >= house.settings.suppressions.mirror_every

    async def _sync(self, mirror: Mirror) -> None:
        house = self._house
        try:
            done = await sync(house.general, mirror, house.clock, Manner())
        except Exception as error:
            # A defect of one adapter must not end the processor, which has bounces to read.
            log.exception("mirroring a relay's list failed", account=mirror.account)
            done = Mirrored(mirror.account, trouble=repr(error))
        count(house.metrics, done)
        house.metrics.mirror_trouble.labels(mirror.account).set(1 if done.trouble else 0)
        if done.trouble:
            self._waits[mirror.account] = house.clock.monotonic() + _AGAIN_AFTER.total_seconds()
            log.warning("a relay's list is not mirrored", account=mirror.account, reason=done.trouble)
            return
        log.info("a relay's list is mirrored", account=mirror.account, **changes(done))


def changes(done: Mirrored) -> Mapping[str, int]:
    """What a sync changed, by what it is called in metrics and answers."""
    return {
        "imported": done.imported,
        "added_there": done.added_there,
        "removed_there": done.removed_there,
        "removed_here": done.removed_here,
        "refused": done.refused.total(),
    }


def count(metrics: Metrics, done: Mirrored) -> None:
    for change, entries in changes(done).items():
        metrics.mirrored.labels(done.account, change).inc(entries)


def build_mirrors(settings: Settings, clock: Clock) -> list[Mirror]:
    """The relays whose own suppression lists can be read. Raises Misconfigured."""
    made = (vendor_account(account, settings).suppression_list(clock) for account in settings.relays)
    return [Mirror(one, _streams_of(one.account, settings)) for one in made if one is not None]


def _streams_of(account: RelayAccount, settings: Settings) -> frozenset[Stream]:
    return frozenset(name for name, stream in settings.streams.items() if account in stream.relays)
