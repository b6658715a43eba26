"""The laws of the EventLog port: relay callbacks between the receiver and the processor, whatever holds them.

A test module of a bus writes a harness and subclasses the suite, as with `job_source_laws`. Every log that a
harness gives is a member of one group, as each processor of a house is.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol

from stored_jobs import PATIENCE

from posthouse.bus.port import CallbackBatch, EventLog, HeldCallback
from posthouse.domain.ids import RelayAccount
from posthouse.relays.base import RawCallback

ACCOUNT = RelayAccount("news")


class EventLogHarness(Protocol):
    #: Into how many parts the log is split, which its appends go to in turn.
    parts: int

    async def log(self) -> EventLog:
        """Another member of the group, in another process."""
        ...

    async def end(self, log: EventLog) -> None:
        """The process of this member ends, however far it is."""
        ...

    async def dead_letters(self) -> list[tuple[str, str, bytes]]:
        """Source, reason, payload; oldest first."""
        ...

    async def let_pass(self, time: timedelta) -> None:
        """Time goes by for what was postponed."""
        ...

    async def restart(self) -> None:
        """Every process of the group ends and starts again; logs must be asked for anew."""
        ...


class NotDone(Exception):
    """Raised in a reader that is not done with what it read."""


class TooFew(Exception):
    """Not all is there yet: what is there is given back."""


@asynccontextmanager
async def reading(log: EventLog, records: int) -> AsyncIterator[CallbackBatch]:
    """A batch of this many, which may take a while to be there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(TooFew):
                async with log.read(records) as batch:
                    if len(batch.callbacks) < records:
                        raise TooFew
                    yield batch
                    return
            await log.wait(0.05)


@asynccontextmanager
async def failing(log: EventLog, records: int) -> AsyncIterator[CallbackBatch]:
    """A reader that fails when the block ends, before it is done."""
    with suppress(NotDone):
        async with reading(log, records) as batch:
            yield batch
            raise NotDone


def callback(n: int, account: RelayAccount = ACCOUNT) -> RawCallback:
    headers = {"x-number": str(n), "content-type": "application/json"}
    return RawCallback("sendgrid", account, headers, b'{"n":%d,"raw":"\x00\xff"}' % n)


def numbers(held: Sequence[HeldCallback]) -> list[int]:
    return [int(one.callback.headers["x-number"]) for one in held]


async def drained(log: EventLog, records: int, limit: int = 3) -> list[int]:
    """Read and acknowledge until this many have come."""
    got: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while len(got) < records:
            async with log.read(limit) as batch:
                assert len(batch.callbacks) <= limit
                got += numbers(batch.callbacks)
            if not got:
                await log.wait(0.05)
    return got


async def rest(harness: EventLogHarness, log: EventLog) -> list[int]:
    """What a reader would still get: each part of the log is marked, what comes up to the marks counts."""
    marks = set(range(1000, 1000 + harness.parts))
    for mark in marks:
        await log.append([callback(mark)])
    got: list[int] = []
    async with asyncio.timeout(PATIENCE):
        while not marks <= set(got):
            async with log.read(10) as batch:
                got += numbers(batch.callbacks)
            if not batch.callbacks:
                await log.wait(0.05)
    return sorted(set(got) - marks)


class EventLogLaws:
    async def test_what_is_read_is_what_was_appended_byte_for_byte(self, harness: EventLogHarness) -> None:
        log = await harness.log()
        await log.append([callback(1)])
        async with reading(log, 1) as batch:
            (held,) = batch.callbacks
        assert held.callback == callback(1)
        assert abs((datetime.now(UTC) - held.received_at).total_seconds()) < 60.0

    async def test_what_is_appended_together_comes_in_its_order(self, harness: EventLogHarness) -> None:
        log = await harness.log()
        await log.append([callback(n) for n in range(10)])
        assert await drained(log, 10) == list(range(10))
        assert await rest(harness, log) == []

    async def test_nothing_is_lost_when_a_reader_dies_between_read_and_done(
        self, harness: EventLogHarness
    ) -> None:
        log = await harness.log()
        await log.append([callback(n) for n in range(4)])
        async with failing(log, 2) as batch:
            assert numbers(batch.callbacks) == [0, 1]
        await harness.end(log)
        assert sorted(await drained(await harness.log(), 4)) == [0, 1, 2, 3]

    async def test_what_a_reader_failed_at_comes_to_it_again(self, harness: EventLogHarness) -> None:
        log = await harness.log()
        await log.append([callback(n) for n in range(4)])
        async with failing(log, 2) as batch:
            assert numbers(batch.callbacks) == [0, 1]
        assert sorted(await drained(log, 4)) == [0, 1, 2, 3]

    async def test_a_cancelled_reader_gives_back_what_it_held(self, harness: EventLogHarness) -> None:
        log = await harness.log()
        await log.append([callback(1)])
        holding = asyncio.Event()

        async def hold_for_ever() -> None:
            async with reading(log, 1):
                holding.set()
                await asyncio.Event().wait()

        reader = asyncio.create_task(hold_for_ever())
        async with asyncio.timeout(PATIENCE):
            await holding.wait()
        reader.cancel()
        await asyncio.wait({reader})
        assert await drained(log, 1) == [1]

    async def test_a_redelivered_record_is_the_same_record(self, harness: EventLogHarness) -> None:
        log = await harness.log()
        await log.append([callback(1)])
        seen: list[HeldCallback] = []
        for _ in range(3):
            async with failing(log, 1) as batch:
                seen += batch.callbacks
        assert len(seen) == 3
        assert len({(one.position, one.callback.body, one.received_at) for one in seen}) == 1

    async def test_done_of_a_later_record_never_hides_an_earlier_one(self, harness: EventLogHarness) -> None:
        log = await harness.log()
        for n in range(12):
            await log.append([callback(n)])
        done: set[int] = set()
        for read in (failing, reading, failing, reading):
            async with read(log, 2) as batch:
                got = numbers(batch.callbacks)
            if read is reading:
                done.update(got)
        async with failing(log, 2):
            pass
        await harness.end(log)
        assert await rest(harness, await harness.log()) == sorted(set(range(12)) - done)

    async def test_two_readers_never_hold_one_record(self, harness: EventLogHarness) -> None:
        log = await harness.log()
        for start in range(0, 300, 10):
            await log.append([callback(n, RelayAccount(f"a{n % 8}")) for n in range(start, start + 10)])
        await harness.end(log)
        done: list[int] = []
        in_hand: set[int] = set()

        async def reader() -> None:
            mine = await harness.log()
            while len(done) < 300:
                async with mine.read(7) as batch:
                    got = numbers(batch.callbacks)
                    assert not in_hand & set(got)
                    in_hand.update(got)
                    await asyncio.sleep(0)
                    in_hand.difference_update(got)
                    done.extend(got)
                if not got:
                    await mine.wait(0.02)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as readers:
            for _ in range(6):
                readers.create_task(reader())
        assert sorted(done) == list(range(300))

    async def test_a_poison_record_is_set_aside_and_the_next_one_flows(
        self, harness: EventLogHarness
    ) -> None:
        log = await harness.log()
        await log.append([callback(n) for n in range(3)])
        async with reading(log, 3) as batch:
            poison = batch.callbacks[1]
            await batch.set_aside(poison, "cannot be read: \x00 and \ud800", poison.callback.body)
        ((source, reason, payload),) = await harness.dead_letters()
        assert source == "sendgrid/news"
        assert reason.startswith("cannot be read: ")
        assert payload == poison.callback.body
        assert await rest(harness, log) == []

    async def test_what_a_dead_reader_set_aside_is_not_set_aside_twice(
        self, harness: EventLogHarness
    ) -> None:
        log = await harness.log()
        await log.append([callback(1)])
        async with failing(log, 1) as batch:
            await batch.set_aside(batch.callbacks[0], "cannot be read", b"1")
        async with reading(log, 1) as batch:
            await batch.set_aside(batch.callbacks[0], "cannot be read", b"1")
        assert len(await harness.dead_letters()) == 1

    async def test_postponed_records_wait_and_the_others_flow(self, harness: EventLogHarness) -> None:
        log = await harness.log()
        await log.append([callback(n) for n in range(3)])
        async with reading(log, 3) as batch:
            assert numbers(batch.callbacks) == [0, 1, 2]
            await batch.postpone(batch.callbacks[1], datetime.now(UTC) + timedelta(hours=1))
        assert await rest(harness, log) == []
        await harness.let_pass(timedelta(minutes=59))
        assert await rest(harness, log) == []
        await harness.let_pass(timedelta(minutes=2))
        assert await rest(harness, log) == [1]

    async def test_a_record_may_be_set_aside_in_parts_and_postponed(self, harness: EventLogHarness) -> None:
        log = await harness.log()
        await log.append([callback(1)])
        async with reading(log, 1) as batch:
            await batch.set_aside(batch.callbacks[0], "names no job of ours", b"a part")
            await batch.postpone(batch.callbacks[0], datetime.now(UTC) + timedelta(hours=1))
        assert [payload for _, _, payload in await harness.dead_letters()] == [b"a part"]
        await harness.let_pass(timedelta(hours=2))
        assert await rest(harness, log) == [1]

    async def test_a_restart_loses_nothing(self, harness: EventLogHarness) -> None:
        log = await harness.log()
        await log.append([callback(n) for n in range(4)])
        assert await drained(log, 2, limit=2) == [0, 1]
        await harness.restart()
        assert await rest(harness, await harness.log()) == [2, 3]

    async def test_an_append_ends_the_wait(self, harness: EventLogHarness) -> None:
        log = await harness.log()

        async def read_one() -> list[int]:
            while True:
                async with log.read(10) as batch:
                    if batch.callbacks:
                        return numbers(batch.callbacks)
                await log.wait(10 * PATIENCE)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as both:
            waiting = both.create_task(read_one())
            both.create_task(log.append([callback(5)]))
        assert waiting.result() == [5]

    async def test_hostile_headers_are_stored_and_come_back_readable(self, harness: EventLogHarness) -> None:
        log = await harness.log()
        headers = {"x-number": "1", "x-nul": "a\x00b", "x-half": "\ud800", "x-wide": "\U0001f4a9"}
        await log.append([RawCallback("sendgrid", ACCOUNT, headers, b"")])
        async with reading(log, 1) as batch:
            (held,) = batch.callbacks
        assert held.callback.headers["x-wide"] == "\U0001f4a9"
        assert set(held.callback.headers) == set(headers)
