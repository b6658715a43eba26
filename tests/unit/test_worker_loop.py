"""The worker: claims what its slots allow, ends in order, and ends aloud when something is wrong."""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime

import pytest
from worker_jobs import claimed_job

from posthouse.clock import SystemClock
from posthouse.delivery.router import Router
from posthouse.domain.errors import NotNow
from posthouse.domain.ids import RelayAccount
from posthouse.domain.job import ClaimedJob, Held
from posthouse.domain.message import RawMail, Rendered
from posthouse.relays.base import Capabilities, Gate, Outcome, Tell, TryLater, tell_nobody
from posthouse.worker import loop
from posthouse.worker.loop import Worker
from posthouse.worker.slots import Slots

PATIENCE = 10.0
Finished = Callable[[Sequence[ClaimedJob]], None]


class Shelf:
    """A JobSource in memory."""

    def __init__(self, jobs: Iterable[ClaimedJob] = ()) -> None:
        self.due = list(jobs)
        self.claimed: dict[Held, ClaimedJob] = {}
        self.disowned: list[set[Held]] = []
        self.finished: list[Held] = []
        self.left = False
        self.stirred = asyncio.Event()
        self.asked: list[int] = []
        #: The next claims are committed, and their answers are lost.
        self.lost_answers = 0
        #: The database is away for whoever gives something back.
        self.takes_nothing_back = False
        #: A claim waits here before it answers.
        self.claim_may_end = asyncio.Event()
        self.claim_may_end.set()

    def put(self, jobs: Iterable[ClaimedJob]) -> None:
        self.due.extend(jobs)
        self.stirred.set()

    async def take(self, limit: int) -> list[ClaimedJob]:
        self.asked.append(limit)
        taken, self.due = self.due[:limit], self.due[limit:]
        self.claimed.update((job.held, job) for job in taken)
        await self.claim_may_end.wait()
        if self.lost_answers:
            self.lost_answers -= 1
            raise NotNow("the answer was lost")
        return taken

    async def release(self, held: Sequence[Held], due_at: datetime | None) -> int:
        if self.takes_nothing_back:
            raise NotNow("away")
        self.due += [self.claimed.pop(one) for one in held]
        self.stirred.set()
        return len(held)

    async def disown(self, in_hand: Collection[Held]) -> int:
        self.disowned.append(set(in_hand))
        return await self.release([held for held in self.claimed if held not in in_hand], None)

    def done(self, held: Sequence[Held]) -> None:
        self.finished += held

    async def leave(self) -> None:
        self.left = True

    async def wait(self, timeout: float) -> None:
        await self.stirred.wait()
        self.stirred.clear()

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class QuietRelay:
    account = RelayAccount("quiet")
    capabilities = Capabilities(
        takes_raw=True,
        max_message_bytes=1,
        batch=1,
        shows_other_recipients=True,
        keeps_message_id=True,
        reports_acceptance=True,
        can_be_asked=False,
        own_return_path=True,
    )

    async def send_many(
        self, mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell = tell_nobody
    ) -> list[Outcome]:
        raise AssertionError("handlers of these tests hand nothing over")

    async def close(self) -> None: ...


class Bench:
    """A worker on a shelf; its handler keeps what it gets until the test lets it go."""

    def __init__(self, shelf: Shelf, slots: int = 8) -> None:
        self.shelf = shelf
        self.relay = QuietRelay()
        self.router = Router([self.relay], SystemClock(), random.Random(1))
        self.slots = Slots(slots, SystemClock())
        self.worker = Worker(shelf, self.router, self.slots, self.handle)
        self.stop = asyncio.Event()
        self.handled: asyncio.Queue[Sequence[ClaimedJob]] = asyncio.Queue()
        self.may_finish = asyncio.Event()
        self.bug: Exception | None = None

    async def handle(self, jobs: Sequence[ClaimedJob], finished: Finished) -> None:
        self.handled.put_nowait(jobs)
        if self.bug is not None:
            raise self.bug
        await self.may_finish.wait()
        for job in jobs:
            del self.shelf.claimed[job.held]
            finished([job])

    def run(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.worker.run(self.stop)


async def test_it_claims_no_more_than_its_slots_and_goes_on_as_they_become_free() -> None:
    jobs = [claimed_job(n) for n in range(20)]
    bench = Bench(Shelf(jobs))
    run = bench.run()
    first = await bench.handled.get()
    assert list(first) == jobs[:8]
    assert bench.slots.used == 8
    bench.may_finish.set()
    handled = list(first)
    while len(handled) < 20:
        handled += await bench.handled.get()
    assert handled == jobs
    bench.stop.set()
    await run
    assert (bench.slots.used, bench.worker.idle, bench.shelf.claimed) == (0, True, {})


async def test_a_hint_wakes_it() -> None:
    bench = Bench(Shelf())
    run = bench.run()
    while not bench.shelf.asked:  # noqa: ASYNC110  # until it has looked once
        await asyncio.sleep(0)
    bench.shelf.put([claimed_job(1)])
    assert list(await bench.handled.get()) == [claimed_job(1)]
    bench.may_finish.set()
    bench.stop.set()
    await run


async def test_a_stop_waits_for_what_is_in_hand_and_claims_nothing_more() -> None:
    bench = Bench(Shelf([claimed_job(n) for n in range(12)]))
    run = bench.run()
    await bench.handled.get()
    bench.stop.set()
    done, _ = await asyncio.wait({run}, timeout=0.02)
    busy = not bench.worker.idle
    assert (done, busy) == (set(), True)
    bench.may_finish.set()
    await run
    assert bench.worker.idle
    assert [job.held for job in bench.shelf.due] == [claimed_job(n).held for n in range(8, 12)]
    assert bench.shelf.claimed == {}


async def test_what_is_claimed_while_it_stops_goes_back_unbegun() -> None:
    bench = Bench(Shelf([claimed_job(1)]))
    bench.shelf.claim_may_end.clear()
    run = bench.run()
    while not bench.shelf.claimed:  # noqa: ASYNC110  # until the claim is under way
        await asyncio.sleep(0)
    bench.stop.set()
    await asyncio.sleep(0)
    bench.shelf.claim_may_end.set()
    await run
    assert bench.handled.empty()
    assert (bench.shelf.due, bench.shelf.claimed) == ([claimed_job(1)], {})
    assert bench.worker.idle


async def test_a_stop_during_an_outage_ends_in_order_all_the_same() -> None:
    bench = Bench(Shelf([claimed_job(1)]))
    bench.shelf.claim_may_end.clear()
    run = bench.run()
    while not bench.shelf.claimed:  # noqa: ASYNC110  # until the claim is under way
        await asyncio.sleep(0)
    bench.shelf.takes_nothing_back = True
    bench.stop.set()
    await asyncio.sleep(0)
    bench.shelf.claim_may_end.set()
    await run
    assert bench.handled.empty()
    assert bench.shelf.disowned == [set()]


async def test_a_claim_whose_answer_was_lost_is_disowned_before_the_next() -> None:
    bench = Bench(Shelf([claimed_job(n) for n in range(4)]))
    bench.shelf.lost_answers = 1
    run = bench.run()
    bench.shelf.stirred.set()
    jobs = await bench.handled.get()
    assert list(jobs) == [claimed_job(n) for n in range(4)]
    assert bench.shelf.disowned == [set()]
    bench.may_finish.set()
    bench.stop.set()
    await run


async def test_what_is_in_hand_is_not_disowned() -> None:
    bench = Bench(Shelf([claimed_job(1)]))
    run = bench.run()
    await bench.handled.get()
    bench.shelf.lost_answers = 1
    bench.shelf.put([claimed_job(2)])
    while claimed_job(2).held not in bench.shelf.claimed:  # noqa: ASYNC110  # until that is claimed too
        await asyncio.sleep(0)
    bench.shelf.stirred.set()
    assert list(await bench.handled.get()) == [claimed_job(2)]
    assert bench.shelf.disowned == [{claimed_job(1).held}]
    bench.may_finish.set()
    bench.stop.set()
    await run


async def test_a_last_claim_whose_answer_was_lost_is_given_back_at_the_end() -> None:
    bench = Bench(Shelf([claimed_job(1)]))
    bench.shelf.lost_answers = 1
    run = bench.run()
    while not bench.shelf.claimed:  # noqa: ASYNC110  # until the claim was made
        await asyncio.sleep(0)
    bench.stop.set()
    await run
    assert (bench.shelf.due, bench.shelf.claimed) == ([claimed_job(1)], {})


async def test_a_bug_in_a_handler_ends_the_worker_aloud_and_leaves_its_jobs_to_the_sweeper() -> None:
    bench = Bench(Shelf([claimed_job(1)]))
    bench.bug = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        await bench.run()
    assert not bench.worker.idle
    assert list(bench.shelf.claimed) == [claimed_job(1).held]


async def test_a_bug_in_the_source_ends_the_worker_aloud() -> None:
    class Broken(Shelf):
        async def take(self, limit: int) -> list[ClaimedJob]:
            raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        await Bench(Broken()).run()


async def test_a_handler_that_never_ends_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "DRAIN", 0.01)
    bench = Bench(Shelf([claimed_job(1)]))
    run = bench.run()
    await bench.handled.get()
    bench.stop.set()
    await run
    assert not bench.worker.idle


async def test_nothing_is_claimed_while_every_relay_is_paused() -> None:
    bench = Bench(Shelf([claimed_job(1)]))
    bench.router.learn(bench.relay, [TryLater("421 slow down", retry_after=0.05, slow_relay=True)])
    run = bench.run()
    done, _ = await asyncio.wait({run}, timeout=0.02)
    assert not done
    assert bench.shelf.asked == []
    assert list(await bench.handled.get()) == [claimed_job(1)]
    bench.may_finish.set()
    bench.stop.set()
    await run


async def test_an_end_from_outside_drains_too() -> None:
    bench = Bench(Shelf([claimed_job(1)]))
    run = bench.run()
    await bench.handled.get()
    bench.may_finish.set()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert bench.worker.idle


def test_jobs_of_these_tests_differ() -> None:
    assert claimed_job(1).held != claimed_job(2).held
    assert claimed_job(1).due_at.tzinfo is UTC
