"""The embedded bus: the job table is the queue, relay_inbox is the log; hints wake, polling makes sure."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import msgspec

from posthouse.bus.outlook import Outlook
from posthouse.bus.port import CallbackBatch, HeldCallback, Position
from posthouse.clock import Clock
from posthouse.domain.ids import InstanceId, RelayAccount
from posthouse.domain.job import ClaimedJob, Held
from posthouse.domain.stream import Stream
from posthouse.relays.base import RawCallback
from posthouse.storage import jobs
from posthouse.storage.db import Database, Transaction
from posthouse.storage.hints import Hinter, Listener
from posthouse.storage.text import storable

#: Claims in a row whose jobs were all suppressed or expired, before the caller gets a chance to stop.
ENDED_CLAIMS: Final = 20

CALLBACKS_CHANNEL: Final = "posthouse_callbacks"


def jobs_channel(stream: Stream) -> str:
    """The channel on which jobs of a stream are hinted at."""
    return f"posthouse_jobs_{stream.value}"


class PostgresHints:
    """Wakes whoever waits, over NOTIFY: at most one hint a channel every 10 ms, after the commit."""

    def __init__(self, hinter: Hinter) -> None:
        self._hinter = hinter

    def jobs_due(self, stream: str) -> None:
        self._hinter.hint(jobs_channel(Stream(stream)))

    def callbacks_waiting(self, account: RelayAccount) -> None:
        self._hinter.hint(CALLBACKS_CHANNEL)


class PostgresJobs:
    """bus.port.JobSource for one worker of one stream."""

    def __init__(
        self, db: Database, listener: Listener, clock: Clock, stream: Stream, worker: InstanceId
    ) -> None:
        self._db = db
        self._ear = listener.subscribe(jobs_channel(stream))
        self._stream = stream
        self._worker = worker
        self._paused = False
        self._outlook = Outlook(clock)

    async def take(self, limit: int) -> list[ClaimedJob]:
        size = jobs.claim_size(limit)
        if self._paused or size == 0:
            return []
        for _ in range(ENDED_CLAIMS):
            look = self._outlook.next()
            claim = await jobs.claim(self._db, self._stream, self._worker, size, look)
            self._outlook.saw(look, claim.reached, claim.looked_at)
            if claim.jobs or claim.reached is None:
                return claim.jobs
        return []

    async def release(self, held: Sequence[Held], due_at: datetime | None) -> int:
        return await jobs.release(self._db, self._worker, held, due_at)

    async def disown(self, in_hand: Collection[Held]) -> int:
        return await jobs.disown(self._db, self._worker, in_hand)

    def done(self, held: Sequence[Held]) -> None:
        """The rows say all there is to know."""

    async def wait(self, timeout: float) -> None:
        await self._ear.wait(timeout)

    async def leave(self) -> None:
        self.pause()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False


class QuarantinedJobs:
    """bus.port.JobSource of the process that handles, alone, one stream's mails that workers died of."""

    def __init__(self, db: Database, stream: Stream, worker: InstanceId, emptied: Callable[[], None]) -> None:
        """`emptied` is told when there was nothing to take."""
        self._db = db
        self._stream = stream
        self._worker = worker
        self._emptied = emptied
        self._paused = False

    async def take(self, limit: int) -> list[ClaimedJob]:
        if self._paused or limit < 1:
            return []
        claim = await jobs.claim_quarantined(self._db, self._stream, self._worker)
        if claim.reached is None:
            self._emptied()
        return claim.jobs

    async def release(self, held: Sequence[Held], due_at: datetime | None) -> int:
        return await jobs.release(self._db, self._worker, held, due_at)

    async def disown(self, in_hand: Collection[Held]) -> int:
        return await jobs.disown(self._db, self._worker, in_hand)

    def done(self, held: Sequence[Held]) -> None:
        """The rows say all there is to know."""

    async def wait(self, timeout: float) -> None:
        await asyncio.sleep(timeout)

    async def leave(self) -> None:
        self.pause()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False


class _HeldCallbacks:
    """bus.port.CallbackBatch: rows locked by the reader's open transaction."""

    def __init__(self, tx: Transaction, callbacks: Sequence[HeldCallback]) -> None:
        self._tx = tx
        self.callbacks = callbacks
        self._postponed: set[Position] = set()

    async def set_aside(self, held: HeldCallback, reason: str, payload: bytes) -> None:
        source = f"{held.callback.relay}/{held.callback.account}"
        await self._tx.execute("bury_callback", source, storable(reason), payload)

    async def postpone(self, held: HeldCallback, until: datetime) -> None:
        await self._tx.execute("postpone_callback", held.position.number, until)
        self._postponed.add(held.position)

    async def finish(self) -> None:
        done = [held.position.number for held in self.callbacks if held.position not in self._postponed]
        if done:
            await self._tx.execute("drop_callbacks", done)


async def append_to_inbox(db: Database, callbacks: Sequence[RawCallback]) -> None:
    """Durable when it returns; processors find them the next time that they look. Raises NotNow."""
    await db.execute(
        "append_callbacks",
        [c.relay for c in callbacks],
        [c.account for c in callbacks],
        [headers_to_json(c.headers) for c in callbacks],
        [c.body for c in callbacks],
    )


class PostgresCallbacks:
    """bus.port.EventLog over relay_inbox."""

    def __init__(
        self, db: Database, listener: Listener, after_append: Callable[[RelayAccount], None]
    ) -> None:
        self._db = db
        self._ear = listener.subscribe(CALLBACKS_CHANNEL)
        self._after_append = after_append

    async def append(self, callbacks: Sequence[RawCallback]) -> None:
        await append_to_inbox(self._db, callbacks)
        for account in {c.account for c in callbacks}:
            self._after_append(account)

    async def keep(self, postponed: Sequence[tuple[HeldCallback, datetime]]) -> None:
        """Take over callbacks of a log that knows no later, each until its time. Raises NotNow."""
        held = [one for one, _ in postponed]
        await self._db.execute(
            "keep_callbacks",
            [one.callback.relay for one in held],
            [one.callback.account for one in held],
            [headers_to_json(one.callback.headers) for one in held],
            [one.callback.body for one in held],
            [one.received_at for one in held],
            [until for _, until in postponed],
        )

    @asynccontextmanager
    async def read(self, limit: int) -> AsyncIterator[CallbackBatch]:
        async with self._db.transaction() as tx:
            batch = _HeldCallbacks(tx, await tx.fetch_into(_callback, "read_callbacks", limit))
            yield batch
            await batch.finish()

    async def wait(self, timeout: float) -> None:
        await self._ear.wait(timeout)


def headers_to_json(headers: Mapping[str, str]) -> bytes:
    """As jsonb takes them too: foreign bytes must not fail a callback that its signature covers."""
    return msgspec.json.encode({storable(name): storable(value) for name, value in headers.items()})


headers_from_json: Final = msgspec.json.Decoder(dict[str, str]).decode


def _callback(
    inbox_id: int, relay: str, account: str, headers: bytes, body: bytes, received_at: datetime
) -> HeldCallback:
    callback = RawCallback(relay, RelayAccount(account), headers_from_json(headers), body)
    return HeldCallback(Position(0, inbox_id), callback, received_at)
