"""The worker: claim what the slots allow, handle it, and end in order when told to."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from posthouse.bus.port import JobSource
from posthouse.delivery.router import Router
from posthouse.domain.errors import NotNow
from posthouse.domain.job import ClaimedJob, Held
from posthouse.telemetry import log
from posthouse.worker.slots import Slots

#: Hints may be lost; the table is looked at this often all the same. Seconds.
POLL: Final = 0.25
#: A clean end waits this long for what is in hand. Seconds.
DRAIN: Final = 25.0

#: Handles a claim, and says of each part of it when nothing of that part is in hand any more.
Handle = Callable[[Sequence[ClaimedJob], Callable[[Sequence[ClaimedJob]], None]], Awaitable[None]]


class Worker:
    def __init__(self, source: JobSource, router: Router, slots: Slots, handle: Handle) -> None:
        self._source = source
        self._router = router
        self._slots = slots
        self._handle = handle
        self._in_hand: set[Held] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._crash: asyncio.Future[None] | None = None
        self._claim_unsure = False

    @property
    def idle(self) -> bool:
        """Nothing is in hand: the worker may retire."""
        return not self._in_hand

    async def run(self, stop: asyncio.Event) -> None:
        """Claim and handle until `stop`, then drain. Raises what a handler raised that was not foreseen."""
        self._crash = asyncio.get_running_loop().create_future()
        claiming = asyncio.create_task(self._claim_for_ever())
        stopping = asyncio.create_task(_when_set(stop))
        ends: set[asyncio.Future[None]] = {claiming, stopping, self._crash}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(claiming, stopping)
            await self._source.leave()
            await self._drain()
            await self._disown_unsure()
        for end in (self._crash, claiming):
            if end.done() and not end.cancelled():
                end.result()

    async def _claim_for_ever(self) -> None:
        while True:
            free = await self._slots.claimable()
            if (pause := self._router.resumes_in()) > 0.0:
                # Nothing is claimed that no relay would take: back-pressure, and suppression stays last.
                await asyncio.sleep(pause)
                continue
            jobs = await self._take(free)
            if jobs:
                self._begin(jobs)
            else:
                await self._source.wait(POLL)

    async def _take(self, free: int) -> list[ClaimedJob]:
        """Claim; an end that comes meanwhile gives back what was claimed, since none of it was begun."""
        taking = asyncio.create_task(self._take_or_none(free))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            await self._give_back(await taking)
            raise

    async def _take_or_none(self, free: int) -> list[ClaimedJob]:
        try:
            if self._claim_unsure:
                await self._source.disown(self._in_hand)
                self._claim_unsure = False
            return await self._source.take(free)
        except NotNow as error:
            # The claim may have been committed all the same, for a worker that does not know of it.
            self._claim_unsure = True
            log.warning("cannot claim", reason=error.message)
            return []

    async def _give_back(self, jobs: Sequence[ClaimedJob]) -> None:
        held = [job.held for job in jobs]
        try:
            await self._source.release(held, None)
        except NotNow:
            self._claim_unsure = True
        else:
            self._source.done(held)

    async def _disown_unsure(self) -> None:
        """The last chance for claims that this worker does not know of; else the sweeper finds them."""
        if not self._claim_unsure:
            return
        try:
            await self._source.disown(self._in_hand)
        except NotNow as error:
            log.warning("claims left to the sweeper", reason=error.message)

    def _begin(self, jobs: Sequence[ClaimedJob]) -> None:
        self._slots.take(len(jobs))
        self._in_hand.update(job.held for job in jobs)
        task = asyncio.create_task(self._handle_claim(jobs))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _handle_claim(self, jobs: Sequence[ClaimedJob]) -> None:
        try:
            await self._handle(jobs, self._finished)
        except Exception as error:
            # A bug. The jobs stay SENDING under this worker; it ends, and the sweeper finds them.
            if self._crash is not None and not self._crash.done():
                self._crash.set_exception(error)

    def _finished(self, jobs: Sequence[ClaimedJob]) -> None:
        held = [job.held for job in jobs]
        self._source.done(held)
        self._in_hand.difference_update(held)
        self._slots.give_back(len(jobs))

    async def _drain(self) -> None:
        if self._running:
            log.info("draining", mails=self._slots.used)
            _, late = await asyncio.wait(self._running, timeout=DRAIN)
            await _cancel(*late)


async def _when_set(event: asyncio.Event) -> None:
    await event.wait()


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
