"""The chores of a house: partitions ahead and behind, books folded, old rows gone, quarantine served."""

import asyncio
import sys
from collections import Counter
from datetime import timedelta

from posthouse.app.house import House
from posthouse.app.relay_lists import ListKeeper
from posthouse.domain.job import OPEN_STATES
from posthouse.domain.stream import Stream
from posthouse.domain.webhook import EndpointStatus
from posthouse.storage import (
    books,
    dispatch,
    doctor,
    housekeeping,
    jobs,
    outbox,
    partitions,
    webhook_outbox,
    webhooks,
)
from posthouse.telemetry import log
from posthouse.worker.chores import Chore

_DAY = timedelta(days=1).total_seconds()
#: Whether a relay's list is due is looked up so often: it may have been another process's turn.
_LISTS_EVERY = timedelta(minutes=5).total_seconds()
#: Nothing at the start waits for other people's servers.
_LISTS_FIRST_AFTER = 60.0
#: Short statements: none of them holds what a sender waits for.
_FORGOTTEN_AT_ONCE = 2000


def chores(house: House) -> list[Chore]:
    retention = partitions.Retention(
        days=house.settings.retention.jobs.days, link_days=house.settings.retention.links.days
    )

    async def partitions_ahead() -> None:
        await partitions.ensure(house.general, house.clock.now().date(), rng=house.rng)

    async def partitions_behind() -> None:
        today = house.clock.now().date()
        dropped = await partitions.drop_older_than(house.general, today, retention, rng=house.rng)
        for day, open_jobs in dropped.held_back:
            log.error("a day cannot be dropped: it has jobs that did not end", day=str(day), jobs=open_jobs)

    async def fold_books() -> None:
        await books.fold(house.general)

    async def forget() -> None:
        await housekeeping.forget_workers(house.general)
        await housekeeping.forget_idempotency_keys(house.general, house.settings.retention.idempotency_keys)

    async def forget_webhooks() -> None:
        before = house.clock.now() - house.settings.retention.webhooks
        while await webhook_outbox.forget(house.general, before, _FORGOTTEN_AT_ONCE) == _FORGOTTEN_AT_ONCE:
            pass

    async def unqueue() -> None:
        # Nobody reads a topic any more: what was on its way to a worker through one is due again.
        while left := await dispatch.every(house.queue):
            back = await dispatch.close(house.queue, left)
            log.warning("what a Kafka bus has left is due again", jobs=back)

    gauges = Gauges(house)
    on_kafka = bool(house.settings.kafka.bootstrap_servers)
    lists = Chore("mirror lists", _LISTS_EVERY, ListKeeper(house).sync_due, first_after=_LISTS_FIRST_AFTER)
    return [
        Chore("measure the house", 15.0, gauges.measure),
        Chore("count the books", _DAY, gauges.count, first_after=_DAY),
        Chore("make partitions", timedelta(hours=1).total_seconds(), partitions_ahead),
        Chore("drop old partitions", timedelta(hours=6).total_seconds(), partitions_behind),
        Chore("fold the books", 10.0, fold_books),
        Chore("forget old rows", timedelta(minutes=10).total_seconds(), forget),
        Chore("forget what webhooks were told", timedelta(minutes=10).total_seconds(), forget_webhooks),
        *([] if on_kafka else [Chore("take back what was dispatched", 60.0, unqueue)]),
        *([lists] if house.settings.suppressions.mirror_every else []),
        *(Chore(f"quarantine {stream}", 1.0, Quarantine(house, stream).serve) for stream in Stream),
    ]


class Gauges:
    """What is measured of the whole house by one of its processes."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def measure(self) -> None:
        """From indexes that hold few rows, and the folded books."""
        metrics = self._house.metrics
        found = await doctor.examine(self._house.general, lease=self._house.settings.lease.dead_after)
        for stream, seconds in found.longest_due.items():
            metrics.oldest_due.labels(stream.value).set(seconds)
        metrics.orphaned_jobs.set(found.orphaned_jobs)
        metrics.overdue_doubts.set(found.doubts_overdue)
        metrics.oldest_callback.set(found.oldest_callback)
        now = self._house.clock.now()
        metrics.oldest_outgoing_event.set(await outbox.oldest(self._house.general))
        metrics.oldest_webhook.set(await webhooks.longest_due(self._house.general, now))
        troubled = Counter(one.status for one in await webhooks.failing(self._house.general))
        for standing_of in EndpointStatus:
            metrics.troubled_webhooks.labels(standing_of.value).set(troubled[standing_of])
        standing = await books.open_jobs(self._house.general)
        for stream in Stream:
            for status in OPEN_STATES:
                count = standing.get((stream, status), 0)
                metrics.open_jobs.labels(stream.value, status.value.lower()).set(count)

    async def count(self) -> None:
        """Reads every job that is kept: not at the start, which comes often when something is wrong."""
        self._house.metrics.residual.set((await books.residual(self._house.general)).residual)


class Quarantine:
    """Starts a process for the mails that workers died of, and waits for its end, whichever it is."""

    def __init__(self, house: House, stream: Stream) -> None:
        self._house = house
        self._stream = stream

    async def serve(self) -> None:
        if not await jobs.quarantine_waiting(self._house.queue, self._stream):
            return
        log.warning("quarantine begins", stream=self._stream.value)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "posthouse", "serve", "quarantine", "--stream", self._stream.value,
            stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
