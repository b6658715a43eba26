"""The event processor on a real log and real tables: each callback ends once, whatever is in it."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace
from recorded_events import Desk, open_desk, sent, told
from stored_jobs import PATIENCE, Letter, open_eyes, residual

from posthouse.bus.postgres import PostgresCallbacks
from posthouse.clock import ManualClock
from posthouse.domain.errors import NotNow, PoisonRun
from posthouse.domain.event import BounceClass, Event, EventType
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.domain.job import Held, Status
from posthouse.ingest.normalize import Normalized, Refused
from posthouse.relays.base import RawCallback, Unplaced
from posthouse.status.apply import Applied
from posthouse.storage.db import Database
from posthouse.storage.hints import Listener
from posthouse.telemetry import Metrics
from posthouse.worker import processor
from posthouse.worker.poison import PoisonLimit
from posthouse.worker.processor import ProcessorTools

LIMIT = 5
STRAY = Unplaced("who@inbox.test", EventType.COMPLAINED, None, b"a stray")


class Post:
    """A processor, and the callbacks that it will read."""

    def __init__(self, desk: Desk, listener: Listener) -> None:
        self.desk = desk
        self.clock = ManualClock(datetime.now(UTC))
        self.suppressed: list[Unplaced] = []
        self.outages = 0
        self._meaning: dict[bytes, Normalized | Refused] = {}
        self.tools = ProcessorTools(
            log=PostgresCallbacks(desk.db, listener, lambda _: None),
            normalize=lambda callback: self._meaning[callback.body],
            record=self._record,
            suppress=self._suppress,
            poison=PoisonLimit(LIMIT),
            clock=self.clock,
            metrics=Metrics(),
        )

    async def come(self, events: Sequence[Event] = (), unplaced: Sequence[Unplaced] = ()) -> None:
        await self._append(Normalized(tuple(events), tuple(unplaced)))

    async def come_unreadable(self, reason: str) -> None:
        await self._append(Refused(reason))

    async def step(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await processor.step(self.tools)

    async def an_hour_later(self) -> None:
        self.clock.advance(3600.0)
        await self.desk.eyes.run("UPDATE relay_inbox SET not_before = not_before - interval '1 hour'")

    async def dead_letters(self) -> list[tuple[str, bytes]]:
        return [(reason, payload) for _, reason, payload in await self.desk.eyes.dead_letters()]

    async def _append(self, meaning: Normalized | Refused) -> None:
        body = f"body {len(self._meaning)}".encode()
        self._meaning[body] = meaning
        await self.tools.log.append([RawCallback("sendgrid", RelayAccount("news"), {}, body)])

    async def _record(self, events: Sequence[Event]) -> Applied:
        if self.outages:
            self.outages -= 1
            raise NotNow("away")
        return await self.desk.record(events)

    async def _suppress(self, unplaced: Sequence[Unplaced]) -> None:
        self.suppressed += unplaced


@pytest.fixture
async def post(queue_database: Database) -> AsyncIterator[Post]:
    eyes = await open_eyes(queue_database.dsn)
    async with Listener(queue_database.dsn, rng=random.Random(1)).running() as listener:
        yield Post(await open_desk(queue_database, eyes), listener)
    await eyes.close()


def nobodys(kind: EventType = EventType.BOUNCED) -> Event:
    job_id = JobId(uuid7(int(datetime.now(UTC).timestamp() * 1000), 99))
    event = told(Held(job_id, 1), kind, BounceClass.HARD if kind is EventType.BOUNCED else None)
    return replace(event, recipient="lost@inbox.test", raw=b"nobody's")


async def test_events_are_recorded_and_their_callbacks_are_done_with(post: Post) -> None:
    held = await post.desk.sending()
    await post.come([sent(held), told(held, EventType.DELIVERED)])
    await post.come([told(held, EventType.OPENED)])
    assert await post.step() == 2
    assert await post.step() == 0
    job = await post.desk.job(held)
    assert job.status is Status.DELIVERED
    assert job.opened_at is not None
    assert await post.dead_letters() == []
    assert await residual(post.desk.db) == []


async def test_a_body_that_cannot_be_read_is_set_aside_whole(post: Post) -> None:
    held = await post.desk.sending()
    await post.come_unreadable("the body is not a JSON array")
    await post.come([sent(held)])
    assert await post.step() == 2
    assert await post.dead_letters() == [("the body is not a JSON array", b"body 0")]
    assert (await post.desk.job(held)).status is Status.SENT
    assert await post.step() == 0


async def test_what_names_no_job_of_ours_counts_for_its_address_and_is_set_aside(post: Post) -> None:
    await post.come(unplaced=[STRAY])
    assert await post.step() == 1
    assert post.suppressed == [STRAY]
    assert await post.dead_letters() == [("names no job of ours", b"a stray")]


async def test_an_event_of_an_unknown_job_waits_an_hour_then_counts_for_its_address(post: Post) -> None:
    held = await post.desk.sending()
    lost = nobodys()
    await post.come([sent(held), lost])
    assert await post.step() == 1
    assert (await post.desk.job(held)).status is Status.SENT
    assert (await post.dead_letters(), post.suppressed) == ([], [])
    assert await post.step() == 0
    await post.an_hour_later()
    assert await post.step() == 1
    assert await post.dead_letters() == [("its job is not known", b"nobody's")]
    assert post.suppressed == [Unplaced("lost@inbox.test", EventType.BOUNCED, BounceClass.HARD, b"nobody's")]
    assert await post.step() == 0
    assert await residual(post.desk.db) == []


async def test_what_is_looked_at_twice_is_set_aside_once(post: Post) -> None:
    await post.come([nobodys()], [STRAY])
    assert await post.step() == 1
    assert STRAY in post.suppressed
    await post.an_hour_later()
    assert await post.step() == 1
    assert sorted(await post.dead_letters()) == [
        ("its job is not known", b"nobody's"),
        ("names no job of ours", b"a stray"),
    ]


async def test_an_outage_gives_the_batch_back(post: Post) -> None:
    held = await post.desk.sending()
    await post.come([sent(held)])
    post.outages = 1
    with pytest.raises(NotNow):
        await post.step()
    assert await post.step() == 1
    assert (await post.desk.job(held)).status is Status.SENT


async def test_a_batch_is_recorded_in_parts_and_all_of_it(post: Post) -> None:
    held = await post.desk.sending(Letter("busy@inbox.test"))
    opens = [told(held, EventType.OPENED) for _ in range(processor.EVENTS + 7)]
    await post.come(opens[:300])
    await post.come(opens[300:])
    assert await post.step() == 2
    assert len(await post.desk.eyes.events(held.job_id)) == len(opens)
    assert await residual(post.desk.db) == []


async def test_it_runs_until_it_is_stopped_and_outlives_an_outage(post: Post) -> None:
    held = await post.desk.sending()
    post.outages = 1
    await post.come([sent(held)])
    stop = asyncio.Event()
    running = asyncio.create_task(processor.run(post.tools, stop))
    async with asyncio.timeout(PATIENCE):
        while (await post.desk.job(held)).status is not Status.SENT:  # noqa: ASYNC110  # the database's state
            await asyncio.sleep(0.01)
        stop.set()
        await running


async def test_a_run_that_cannot_be_read_stops_the_processing_and_is_kept(post: Post) -> None:
    held = await post.desk.sending()
    for n in range(LIMIT - 1):
        await post.come_unreadable(f"refused {n}")
    assert await post.step() == LIMIT - 1
    await post.come([sent(held)])
    for n in range(LIMIT - 1):
        await post.come_unreadable(f"refused again {n}")
    assert await post.step() == LIMIT
    assert len(await post.dead_letters()) == 2 * (LIMIT - 1)

    await post.come_unreadable("the last straw")
    await post.come([told(held, EventType.DELIVERED)])
    for _ in range(2):  # looking again changes nothing
        with pytest.raises(PoisonRun, match="the last straw"):
            await post.step()
    assert len(await post.dead_letters()) == 2 * (LIMIT - 1)
    # What could be read was recorded all the same.
    assert (await post.desk.job(held)).status is Status.DELIVERED


async def test_a_stopped_processor_says_so_and_ends_when_told(post: Post) -> None:
    for n in range(LIMIT):
        await post.come_unreadable(f"refused {n}")
    stop = asyncio.Event()
    running = asyncio.create_task(processor.run(post.tools, stop))
    async with asyncio.timeout(PATIENCE):
        while not post.tools.metrics.registry.get_sample_value("posthouse_callbacks_stopped"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        stop.set()
        await running
    assert await post.dead_letters() == []
