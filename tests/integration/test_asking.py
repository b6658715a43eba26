"""Doubts that a relay can be asked about: asked first, outside of transactions, then settled by the rules."""

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from recorded_events import POLICY, Desk, open_desk, sent, told
from stored_jobs import Letter, open_eyes, residual

from posthouse.clock import ManualClock
from posthouse.domain.event import EventType, Origin
from posthouse.domain.ids import JobId, RelayAccount
from posthouse.domain.job import Held, Status
from posthouse.domain.stream import Stream
from posthouse.relays.base import Answer, CannotTell, Inquiry, WasNotTaken, WasTaken
from posthouse.status import asking as asking_module
from posthouse.status.asking import Asking
from posthouse.status.changes import Changes
from posthouse.status.doubts import DoubtRule, settle_by_asking, settle_doubts
from posthouse.storage.db import Database
from posthouse.worker.sweeping import ask

ONE, OTHER, SMTP = RelayAccount("one"), RelayAccount("other"), RelayAccount("smtp")
TRANSACTIONAL, MARKETING = Stream.TRANSACTIONAL, Stream.MARKETING
REPEAT = DoubtRule(silence_means_not_taken=False, repeat=True)
HOLD = DoubtRule(silence_means_not_taken=False, repeat=False)
TAKEN, NOT_TAKEN, DUNNO = WasTaken("theirs"), WasNotTaken("no such mail"), CannotTell("too early")

Reply = Callable[[Inquiry], Awaitable[Answer]]


def always(answer: Answer) -> Reply:
    async def reply(inquiry: Inquiry) -> Answer:
        return answer

    return reply


class Relay:
    """A relay that answers as it is told; remembers what it was asked."""

    def __init__(self, account: RelayAccount, reply: Reply) -> None:
        self.account = account
        self.reply = reply
        self.asked: list[Inquiry] = []

    async def ask(self, inquiries: Sequence[Inquiry]) -> list[Answer]:
        self.asked += inquiries
        return [await self.reply(inquiry) for inquiry in inquiries]

    async def close(self) -> None:
        return


def who(*relays: Relay, accounts: Sequence[RelayAccount] = (), stream: Stream = TRANSACTIONAL) -> Asking:
    """`accounts`: all of the stream; else those of the relays."""
    return Asking(
        {relay.account: relay for relay in relays},
        {stream: tuple(accounts or [relay.account for relay in relays])},
        lambda job_id, stream: f"<{job_id}@{stream}.example>",
    )


@pytest.fixture
async def desk(queue_database: Database) -> AsyncIterator[Desk]:
    eyes = await open_eyes(queue_database.dsn)
    yield await open_desk(queue_database, eyes)
    await eyes.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime.now(UTC))


async def doubtful(
    desk: Desk, relay: RelayAccount | None = ONE, stream: Stream = TRANSACTIONAL, *, sandbox: bool = False
) -> Held:
    """In UNKNOWN, its time come; handed to `relay` (None: its worker died with that)."""
    held = await desk.sending(Letter(stream=stream, sandbox=sandbox))
    await _in_doubt(desk, held, relay)
    return held


async def _in_doubt(desk: Desk, held: Held, relay: RelayAccount | None) -> None:
    event = told(held, EventType.OUTCOME_UNKNOWN, origin=Origin.HANDOVER)
    await desk.record([replace(event, relay=relay)])
    await desk.come_due(held.job_id)


async def settle(desk: Desk, asks: Asking, clock: ManualClock, rule: DoubtRule = HOLD) -> int:
    return await settle_by_asking(desk.db, asks, dict.fromkeys(Stream, rule), POLICY, clock)


async def test_what_the_relay_has_is_sent_with_its_id(desk: Desk, clock: ManualClock) -> None:
    held = await doubtful(desk)
    relay = Relay(ONE, always(TAKEN))
    heard: list[tuple[RelayAccount, Answer]] = []
    asks = dataclasses.replace(who(relay), heard=lambda account, answer: heard.append((account, answer)))
    assert await settle(desk, asks, clock) == 1
    assert heard == [(ONE, TAKEN)]
    job = await desk.job(held)
    assert (job.status, job.relay, job.provider_message_id) == (Status.SENT, "one", "theirs")
    last = (await desk.eyes.events(held.job_id))[-1]
    assert (last.type, last.origin) == ("sent", "house")
    assert last.reason == "one was asked, and has this mail"
    assert await residual(desk.db) == []


async def test_the_relays_own_word_after_that_changes_nothing(desk: Desk, clock: ManualClock) -> None:
    held = await doubtful(desk)
    await settle(desk, who(Relay(ONE, always(TAKEN))), clock)
    before = await desk.eyes.events(held.job_id)
    await desk.record([sent(held)])
    assert await desk.eyes.events(held.job_id) == before
    assert await residual(desk.db) == []


async def test_the_relay_is_told_what_it_needs_to_find_a_mail(desk: Desk, clock: ManualClock) -> None:
    held = await doubtful(desk)
    relay = Relay(ONE, always(DUNNO))
    await settle(desk, who(relay), clock)
    [inquiry] = relay.asked
    assert (inquiry.job_id, inquiry.attempt) == (held.job_id, held.attempt)
    assert inquiry.message_id == f"<{held.job_id}@transactional.example>"
    assert inquiry.recipient == Letter().address
    assert abs(inquiry.in_doubt_since - datetime.now(UTC)) < timedelta(minutes=1)


async def test_what_the_relay_proves_it_has_not_goes_again(desk: Desk, clock: ManualClock) -> None:
    held = await doubtful(desk)
    assert await settle(desk, who(Relay(ONE, always(NOT_TAKEN))), clock) == 1
    job = await desk.job(held)
    assert (job.status, job.in_doubt) == (Status.PENDING, True)
    assert (await desk.eyes.events(held.job_id))[-1].reason == "no such mail: sent again"
    assert await residual(desk.db) == []


async def test_what_was_to_be_cancelled_does_not_go_again(desk: Desk, clock: ManualClock) -> None:
    held = await doubtful(desk)
    await Changes(desk.db, POLICY, random.Random(1)).cancel([held.job_id], "asked to", clock.now())
    await settle(desk, who(Relay(ONE, always(NOT_TAKEN))), clock)
    assert (await desk.job(held)).status is Status.CANCELLED
    assert await residual(desk.db) == []


async def test_where_the_relay_cannot_tell_silence_decides(desk: Desk, clock: ManualClock) -> None:
    held = await doubtful(desk)
    assert await settle(desk, who(Relay(ONE, always(DUNNO))), clock, REPEAT) == 1
    assert (await desk.job(held)).status is Status.PENDING
    last = (await desk.eyes.events(held.job_id))[-1]
    assert last.reason == "the outcome stayed unknown (asked: too early): sent again"


async def test_a_held_doubt_is_asked_about_again_until_its_time_is_up(desk: Desk, clock: ManualClock) -> None:
    held = await doubtful(desk, stream=MARKETING)
    relay = Relay(ONE, always(DUNNO))
    asks = who(relay, stream=MARKETING)
    assert await settle(desk, asks, clock) == 1
    job = await desk.job(held)
    assert (job.status, job.due_at) == (Status.UNKNOWN, clock.now() + timedelta(minutes=15))
    assert await settle(desk, asks, clock) == 0
    await desk.come_due(held.job_id)
    assert await settle(desk, asks, clock) == 1
    assert (await desk.job(held)).status is Status.UNKNOWN
    await desk.come_due(held.job_id)
    clock.advance(timedelta(days=7, minutes=1).total_seconds())
    assert await settle(desk, asks, clock) == 1
    assert (await desk.job(held)).status is Status.FAILED
    last = (await desk.eyes.events(held.job_id))[-1]
    assert last.reason == "the outcome never became known (asked: too early)"
    assert await residual(desk.db) == []


async def test_a_mail_whose_worker_died_may_be_at_any_relay(desk: Desk, clock: ManualClock) -> None:
    held = await doubtful(desk, None)
    relays = Relay(ONE, always(NOT_TAKEN)), Relay(OTHER, always(TAKEN))
    await settle(desk, who(*relays), clock)
    assert [len(relay.asked) for relay in relays] == [1, 1]
    job = await desk.job(held)
    assert (job.status, job.relay) == (Status.SENT, "other")


@pytest.mark.parametrize(
    ("answers", "accounts", "status"),
    [
        ((NOT_TAKEN, NOT_TAKEN), (ONE, OTHER), Status.PENDING),
        ((NOT_TAKEN, DUNNO), (ONE, OTHER), Status.UNKNOWN),
        ((NOT_TAKEN, NOT_TAKEN), (ONE, OTHER, SMTP), Status.UNKNOWN),
    ],
)
async def test_nobody_has_it_only_if_everybody_says_so(
    desk: Desk,
    clock: ManualClock,
    answers: tuple[Answer, Answer],
    accounts: Sequence[RelayAccount],
    status: Status,
) -> None:
    held = await doubtful(desk, None)
    relays = Relay(ONE, always(answers[0])), Relay(OTHER, always(answers[1]))
    await settle(desk, who(*relays, accounts=accounts), clock)
    assert (await desk.job(held)).status is status


async def test_only_the_attempt_in_doubt_says_where_it_went(desk: Desk, clock: ManualClock) -> None:
    """The first attempt went by one relay; the worker of the second died before it said where."""
    first = await doubtful(desk, ONE)
    await settle(desk, who(Relay(ONE, always(NOT_TAKEN))), clock)
    second = await desk.again(first)
    await _in_doubt(desk, second, None)
    relays = Relay(ONE, always(NOT_TAKEN)), Relay(OTHER, always(TAKEN))
    await settle(desk, who(*relays), clock)
    assert (await desk.job(second)).relay == "other"


async def test_each_has_its_own_ways(desk: Desk, clock: ManualClock) -> None:
    """The sweeper leaves alone what is asked about; what cannot be asked about is left to the sweeper."""
    asked, sandboxed = await doubtful(desk), await doubtful(desk, None, sandbox=True)
    other = await doubtful(desk, None, MARKETING)
    relay = Relay(ONE, always(TAKEN))
    rules = dict.fromkeys(Stream, REPEAT)
    assert await settle_doubts(desk.db, rules, POLICY, clock, who(relay).streams) == 2
    assert (await desk.job(asked)).status is Status.UNKNOWN
    assert {(await desk.job(one)).status for one in (sandboxed, other)} == {Status.PENDING}
    assert await settle(desk, who(relay), clock) == 1
    assert [inquiry.job_id for inquiry in relay.asked] == [asked.job_id]


async def test_what_settled_meanwhile_stays_as_it_is(desk: Desk, clock: ManualClock) -> None:
    held = await doubtful(desk)

    async def reply(inquiry: Inquiry) -> Answer:
        await desk.record([told(held, EventType.DELIVERED)])  # no transaction of the asker is in the way
        return NOT_TAKEN

    assert await settle(desk, who(Relay(ONE, reply)), clock) == 0
    assert (await desk.job(held)).status is Status.DELIVERED
    assert await residual(desk.db) == []


async def test_a_relay_that_does_not_answer_and_a_defect_are_no_answers(
    desk: Desk, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking_module, "ASK_WITHIN", 0.05)

    async def hang(inquiry: Inquiry) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    async def fail(inquiry: Inquiry) -> Answer:
        raise KeyError("a defect")

    for reply in (hang, fail):
        held = await doubtful(desk)
        assert await settle(desk, who(Relay(ONE, reply)), clock, REPEAT) == 1
        assert (await desk.job(held)).status is Status.PENDING


async def test_many_are_asked_about_in_sets(desk: Desk, clock: ManualClock) -> None:
    jobs: list[JobId] = [(await doubtful(desk)).job_id for _ in range(120)]
    relay = Relay(ONE, always(TAKEN))
    stop = asyncio.Event()
    rounds = asyncio.create_task(ask(desk.db, who(relay), dict.fromkeys(Stream, HOLD), POLICY, clock, stop))
    async with asyncio.timeout(20):
        while len(relay.asked) < 120:  # noqa: ASYNC110  # another task's work, seen through the database
            await asyncio.sleep(0.01)
    stop.set()
    await rounds
    assert sorted(inquiry.job_id for inquiry in relay.asked) == sorted(jobs)
    assert await settle(desk, who(relay), clock) == 0
    assert await residual(desk.db) == []
