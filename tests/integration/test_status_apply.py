"""status.apply on a real PostgreSQL: each event has its effects once, and the books balance throughout."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from recorded_events import HOUR, POLICY, Desk, deferred, open_desk, sent, told
from stored_jobs import (
    PATIENCE,
    Letter,
    Stored,
    accept,
    enlisted,
    open_eyes,
    residual,
)

from posthouse.clock import SystemClock
from posthouse.domain.event import BounceClass, Event, EventType, Origin
from posthouse.domain.ids import JobId, RelayAccount, own_event_id, uuid7
from posthouse.domain.job import Held, Status
from posthouse.domain.stream import Stream
from posthouse.status.apply import Applied
from posthouse.status.sweeper import new_watch, sweep_dead
from posthouse.storage import jobs, leases
from posthouse.storage.db import Database

HARD, SOFT, BLOCK = BounceClass.HARD, BounceClass.SOFT, BounceClass.BLOCK


@pytest.fixture
async def desk(queue_database: Database) -> AsyncIterator[Desk]:
    eyes = await open_eyes(queue_database.dsn)
    yield await open_desk(queue_database, eyes)
    await eyes.close()


def now() -> datetime:
    """To the microsecond, as PostgreSQL keeps it."""
    return datetime.now(UTC)


# -- what is recorded ---------------------------------------------------------------------------------------


async def test_an_acceptance_is_recorded(desk: Desk) -> None:
    held = await desk.sending()
    event = sent(held)
    assert await desk.record([event]) == Applied(stored=1, homeless=(), moves=1)
    job = await desk.job(held)
    assert (job.status, job.sent_at, job.relay, job.provider_message_id) == (
        Status.SENT,
        event.occurred_at,
        "mail",
        "taken-1",
    )
    (stored,) = await desk.eyes.events(held.job_id)
    assert (stored.type, stored.attempt, stored.origin) == ("sent", 1, "handover")
    assert stored.diagnostic == "250 2.0.0 as the relay said it"
    assert await residual(desk.db) == []


async def test_sent_and_delivered_in_one_batch_keep_their_own_times(desk: Desk) -> None:
    held = await desk.sending()
    at = now()
    await desk.record([sent(held, at=at), told(held, EventType.DELIVERED, at=at + timedelta(seconds=9))])
    job = await desk.job(held)
    assert (job.status, job.sent_at) == (Status.DELIVERED, at)


async def test_the_same_batch_again_changes_nothing(desk: Desk) -> None:
    held = [await desk.sending(Letter(f"{n}@inbox.test")) for n in range(3)]
    batch = [
        sent(held[0]),
        told(held[1], EventType.BOUNCED, HARD),
        told(held[2], EventType.BOUNCED, SOFT),
        told(held[0], EventType.OPENED),
    ]
    first = await desk.record(batch)
    before = await desk.eyes.standing([h.job_id for h in held])
    again = await desk.record(batch)
    assert (first.stored, again) == (4, Applied(0, (), 0))
    assert await desk.eyes.standing([h.job_id for h in held]) == before
    assert len(await desk.eyes.suppressions()) == 1
    assert await residual(desk.db) == []


async def test_an_event_that_stands_twice_in_a_batch_counts_once(desk: Desk) -> None:
    held = await desk.sending()
    soft = told(held, EventType.BOUNCED, SOFT)
    assert (await desk.record([soft, soft, replace(soft, diagnostic="other words")])).stored == 1
    assert len(await desk.eyes.events(held.job_id)) == 1
    assert await residual(desk.db) == []


async def test_events_without_a_job_are_handed_back_and_leave_no_trace(desk: Desk) -> None:
    held = await desk.sending()
    unknown = told(Held(JobId(uuid7(int(now().timestamp() * 1000), 7)), 1), EventType.DELIVERED)
    ancient = told(Held(JobId(uuid7(1_500_000_000_000, 7)), 1), EventType.BOUNCED, HARD)
    far = told(Held(JobId(uuid7((1 << 48) - 1, 7)), 1), EventType.COMPLAINED)
    applied = await desk.record([unknown, sent(held), ancient, far])
    assert (applied.stored, applied.homeless) == (1, (unknown, ancient, far))
    assert await desk.record([unknown]) == Applied(0, (unknown,), 0)
    assert await desk.eyes.events(unknown.job_id) == []
    assert await desk.eyes.suppressions() == []
    assert await residual(desk.db) == []


async def test_nothing_told_is_nothing_done(desk: Desk) -> None:
    assert await desk.record([]) == Applied(0, (), 0)


async def test_foreign_words_that_cannot_be_stored_are_made_to_fit(desk: Desk) -> None:
    held = await desk.sending()
    event = replace(
        told(held, EventType.BOUNCED, HARD),
        reason="nul \0 and half \ud800",
        diagnostic="550 \0",
        provider_message_id="id\0",
        enhanced_code="5.1.1\0",
        url="https://a.test/\0",
        user_agent="\ud83d",
        raw=b"\x00\xff",
    )
    assert (await desk.record([event])).stored == 1
    (stored,) = await desk.eyes.events(held.job_id)
    assert (stored.reason, stored.diagnostic) == ("nul \ufffd and half \ufffd", "550 \ufffd")
    ((_, _, _, note),) = await desk.eyes.suppressions()
    assert note == "550 \ufffd"


# -- effects ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bounce", "end", "suppressed"),
    [
        (EventType.DELIVERED, None, Status.DELIVERED, None),
        (EventType.BOUNCED, HARD, Status.BOUNCED, ("all", "BOUNCE")),
        (EventType.BOUNCED, BLOCK, Status.BOUNCED, None),
        (EventType.BOUNCED, SOFT, Status.PENDING, None),
        (EventType.COMPLAINED, None, Status.SENT, ("all", "SPAM")),
        (EventType.UNSUBSCRIBED, None, Status.SENT, ("marketing", "UNSUBSCRIBE")),
        (EventType.OPENED, None, Status.SENT, None),
        (EventType.CLICKED, None, Status.SENT, None),
        (EventType.DEFERRED, None, Status.SENT, None),
        (EventType.REJECTED, None, Status.FAILED, None),
        (EventType.UNKNOWN, None, Status.SENT, None),
    ],
)
async def test_each_word_of_a_relay_has_its_effect(
    desk: Desk,
    kind: EventType,
    bounce: BounceClass | None,
    end: Status,
    suppressed: tuple[str, str] | None,
) -> None:
    held = await desk.sending(Letter("who@inbox.test"))
    await desk.record([sent(held)])
    await desk.record([told(held, kind, bounce)])
    assert (await desk.job(held)).status is end
    found = [(scope, reason) for _, scope, reason, _ in await desk.eyes.suppressions()]
    assert found == ([suppressed] if suppressed else [])
    assert await residual(desk.db) == []


async def test_a_suppression_stops_the_next_mail_and_names_its_cause(desk: Desk) -> None:
    held = await desk.sending(Letter("dead@inbox.test"))
    await desk.record([replace(told(held, EventType.BOUNCED, HARD), diagnostic="550 5.1.1 no such user")])
    assert await desk.eyes.suppressions() == [("dead@inbox.test", "all", "BOUNCE", "550 5.1.1 no such user")]
    (next_one,) = await accept(desk.db, [Letter("dead@inbox.test")])
    assert await desk.claim() == []
    assert (await desk.eyes.job(next_one)).status is Status.SUPPRESSED


async def test_a_complaint_is_for_good_and_makes_nothing_less(desk: Desk) -> None:
    held = await desk.sending(Letter("cross@inbox.test"))
    await desk.eyes.run("""
        INSERT INTO email_suppression (address_key, scope, reason, source, expires_at)
        VALUES ('cross@inbox.test', 'all', 'BOUNCE', 'import', now() + interval '1 day')""")
    await desk.record([told(held, EventType.COMPLAINED), told(held, EventType.BOUNCED, HARD)])
    assert await desk.eyes.permanent_suppressions() == ["BOUNCE", "SPAM"]


async def test_only_the_last_soft_bounce_suppresses_and_retries_follow_the_schedule(desk: Desk) -> None:
    held = await desk.sending(Letter("full@inbox.test"))
    for wait in POLICY.soft_bounce:
        soft = told(held, EventType.BOUNCED, SOFT)
        await desk.record([sent(held), soft])
        job = await desk.job(held)
        assert (job.status, job.due_at) == (Status.PENDING, soft.occurred_at + wait)
        assert await desk.eyes.suppressions() == []
        held = await desk.again(held)
    await desk.record([sent(held)])
    await desk.record([told(held, EventType.BOUNCED, SOFT)])
    assert (await desk.job(held)).status is Status.BOUNCED
    assert [reason for _, _, reason, _ in await desk.eyes.suppressions()] == ["BOUNCE"]
    assert await residual(desk.db) == []


async def test_two_soft_bounces_of_one_attempt_use_up_one_retry(desk: Desk) -> None:
    held = await desk.sending()
    await desk.record([told(held, EventType.BOUNCED, SOFT)])
    await desk.record([told(held, EventType.BOUNCED, SOFT)])
    held = await desk.again(held)
    soft = told(held, EventType.BOUNCED, SOFT)
    await desk.record([soft])
    assert (await desk.job(held)).due_at == soft.occurred_at + POLICY.soft_bounce[1]


@pytest.mark.parametrize("order", [1, -1], ids=["sent first", "bounce first"])
@pytest.mark.parametrize("apart", [False, True], ids=["one batch", "two batches"])
async def test_a_soft_retry_pushes_back_an_expiry_that_was_only_a_default(
    desk: Desk, *, order: int, apart: bool
) -> None:
    held = await desk.sending(Letter(expires_in=timedelta(minutes=5)))
    at = now()
    soft = told(held, EventType.BOUNCED, SOFT, at=at)
    pair = [sent(held, at=at - timedelta(seconds=order)), soft]
    for batch in [[event] for event in pair[::order]] if apart else [pair]:
        await desk.record(batch)
    job = await desk.job(held)
    assert (job.status, job.due_at, job.expires_at) == (Status.PENDING, at + HOUR, at + 2 * HOUR)
    assert job.provider_message_id == "taken-1"


async def test_an_expiry_that_was_given_holds_and_the_job_ends_on_time(desk: Desk) -> None:
    held = await desk.sending(Letter(expires_in=timedelta(minutes=5), expiry_given=True))
    given_expiry = (await desk.job(held)).expires_at
    await desk.record([told(held, EventType.BOUNCED, SOFT)])
    job = await desk.job(held)
    assert (job.status, job.expires_at) == (Status.PENDING, given_expiry)
    assert job.due_at == given_expiry


async def test_a_deferral_by_our_own_hand_comes_back_when_it_says(desk: Desk) -> None:
    held = await desk.sending()
    later = now() + timedelta(minutes=3)
    await desk.record([deferred(held, later)])
    job = await desk.job(held)
    assert (job.status, job.due_at, job.in_doubt) == (Status.PENDING, later, False)


@pytest.mark.parametrize("stream", Stream)
async def test_a_doubt_is_settled_after_its_streams_time(desk: Desk, stream: Stream) -> None:
    held = await desk.sending(Letter(stream=stream))
    doubt = told(held, EventType.OUTCOME_UNKNOWN, origin=Origin.HANDOVER)
    await desk.record([doubt])
    job = await desk.job(held)
    assert (job.status, job.due_at) == (Status.UNKNOWN, doubt.occurred_at + POLICY.unknown_after[stream])


async def _in_doubt(desk: Desk) -> Held:
    """Attempt 1's answer never came; silence was taken for a no, and the job waits to go again."""
    held = await desk.sending()
    await desk.record([told(held, EventType.OUTCOME_UNKNOWN, origin=Origin.HANDOVER)])
    settled = replace(told(held, EventType.DEFERRED, origin=Origin.HOUSE), due_at=now())
    await desk.record([settled])
    job = await desk.job(held)
    assert (job.status, job.in_doubt) == (Status.PENDING, True)
    return held


async def test_a_late_acceptance_settles_a_doubt(desk: Desk) -> None:
    held = await desk.sending()
    await desk.record([told(held, EventType.OUTCOME_UNKNOWN, origin=Origin.HANDOVER)])
    await desk.record([sent(held)])
    job = await desk.job(held)
    assert (job.status, job.provider_message_id) == (Status.SENT, "taken-1")
    assert await residual(desk.db) == []


@pytest.mark.parametrize("proof", [EventType.SENT, EventType.OPENED, EventType.DEFERRED, EventType.CLICKED])
async def test_a_late_proof_calls_off_the_repeat_that_its_own_doubt_caused(
    desk: Desk, proof: EventType
) -> None:
    held = await _in_doubt(desk)
    await desk.record([told(held, proof)])
    assert (await desk.job(held)).status is Status.SENT
    assert await desk.claim() == []
    assert await residual(desk.db) == []


async def test_the_doubt_outlives_a_repeat_that_was_not_taken(desk: Desk) -> None:
    first = await _in_doubt(desk)
    second = await desk.again(first)
    await desk.record([deferred(second, now() + HOUR)])
    assert (await desk.job(second)).in_doubt
    await desk.record([sent(first)])
    assert (await desk.job(first)).status is Status.SENT


async def test_the_doubt_outlives_a_repeat_that_was_given_back(desk: Desk) -> None:
    first = await _in_doubt(desk)
    second = await desk.again(first)
    await jobs.release(desk.db, desk.worker, [second], None)
    await desk.record([sent(first)])
    assert (await desk.job(first)).status is Status.SENT


async def test_a_late_acceptance_does_not_touch_a_repeat_under_way(desk: Desk) -> None:
    first = await _in_doubt(desk)
    second = await desk.again(first)
    await desk.record([sent(first)])
    assert (await desk.job(second)).status is Status.SENDING
    await desk.record([sent(second)])
    job = await desk.job(second)
    assert (job.status, job.provider_message_id, job.in_doubt) == (Status.SENT, "taken-2", False)
    assert [event.attempt for event in await desk.eyes.events(first.job_id) if event.type == "sent"] == [1, 2]


# -- marks --------------------------------------------------------------------------------------------------


async def test_marks_keep_the_first_time_whatever_the_order(desk: Desk) -> None:
    held = await desk.sending()
    await desk.record([sent(held)])
    at = now()
    for kind in (EventType.OPENED, EventType.CLICKED, EventType.COMPLAINED, EventType.UNSUBSCRIBED):
        await desk.record([told(held, kind, at=at + timedelta(seconds=s)) for s in (3, 2, 4)])
        await desk.record([told(held, kind, at=at + timedelta(seconds=1))])
        await desk.record([told(held, kind, at=at + timedelta(seconds=9))])
    job = await desk.job(held)
    first = at + timedelta(seconds=1)
    assert [job.opened_at, job.clicked_at, job.complained_at, job.unsubscribed_at] == [first] * 4


async def test_a_machine_marks_nothing_as_opened_or_clicked(desk: Desk) -> None:
    held = await desk.sending()
    await desk.record([sent(held)])
    await desk.record(
        [replace(told(held, kind), machine=True) for kind in (EventType.OPENED, EventType.CLICKED)]
    )
    job = await desk.job(held)
    assert (job.opened_at, job.clicked_at) == (None, None)
    assert len(await desk.eyes.events(held.job_id)) == 3


# -- what the relay calls it --------------------------------------------------------------------------------


async def test_the_relays_id_is_learned_also_when_the_webhook_was_faster(desk: Desk) -> None:
    held = await desk.sending()
    await desk.record([told(held, EventType.DELIVERED)])
    assert (await desk.job(held)).provider_message_id is None
    await desk.record([sent(held)])
    job = await desk.job(held)
    assert (job.status, job.provider_message_id) == (Status.DELIVERED, "taken-1")


async def test_later_words_do_not_rewrite_the_relays_id(desk: Desk) -> None:
    held = await desk.sending()
    await desk.record([sent(held)])
    opened = replace(told(held, EventType.OPENED), provider_message_id="another form of it")
    applied = await desk.record([opened])
    assert (applied.stored, applied.moves) == (1, 0)
    assert (await desk.job(held)).provider_message_id == "taken-1"


async def test_another_attempt_has_another_id(desk: Desk) -> None:
    held = await desk.sending()
    await desk.record([sent(held), told(held, EventType.BOUNCED, SOFT)])
    second = await desk.again(held)
    await desk.record([told(second, EventType.OPENED, origin=Origin.READER)])
    await desk.record([replace(sent(second), relay=RelayAccount("other"))])
    job = await desk.job(held)
    assert (job.provider_message_id, job.relay) == ("taken-2", "other")


# -- many at once -------------------------------------------------------------------------------------------

RELAY_WORDS: Sequence[tuple[EventType, BounceClass | None]] = (
    (EventType.SENT, None),
    (EventType.DELIVERED, None),
    (EventType.DEFERRED, None),
    (EventType.BOUNCED, HARD),
    (EventType.BOUNCED, SOFT),
    (EventType.BOUNCED, BLOCK),
    (EventType.COMPLAINED, None),
    (EventType.OPENED, None),
    (EventType.CLICKED, None),
    (EventType.UNSUBSCRIBED, None),
    (EventType.REJECTED, None),
    (EventType.UNKNOWN, None),
)


async def test_appliers_on_overlapping_sets_all_get_through(desk: Desk) -> None:
    rng = random.Random(5)
    addresses = [f"{n}@inbox.test" for n in range(20)]
    await accept(desk.db, [Letter(rng.choice(addresses)) for _ in range(60)])
    held = [job.held for job in await desk.claim()]
    recorded: list[int] = []

    async def applier(seed: int) -> None:
        own = random.Random(seed)
        for _ in range(25):
            batch = [told(h, *own.choice(RELAY_WORDS)) for h in own.choices(held, k=20)]
            recorded.append((await desk.record(batch)).stored)

    async def claimer() -> None:
        worker = await enlisted(desk.db)
        for _ in range(25):
            mine = await desk.claim(10, worker=worker)
            await jobs.release(desk.db, worker, [job.held for job in mine], None)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for seed in range(6):
            group.create_task(applier(seed))
        group.create_task(claimer())
    assert sum(recorded) == 6 * 25 * 20
    assert await residual(desk.db) == []


# -- any sequence -------------------------------------------------------------------------------------------

_people = itertools.count()
_HYPOTHESIS = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(words=st.lists(st.sampled_from(RELAY_WORDS), min_size=1, max_size=6), data=st.data())
@_HYPOTHESIS
async def test_a_batch_does_what_its_events_do_one_by_one(
    desk: Desk, words: list[tuple[EventType, BounceClass | None]], data: st.DataObject
) -> None:
    start = now()
    together, apart = [await desk.sending(Letter(f"{next(_people)}@inbox.test")) for _ in range(2)]
    gaps = data.draw(st.lists(st.integers(1, 3), min_size=len(words), max_size=len(words)))
    times = [start + timedelta(seconds=sum(gaps[: n + 1])) for n in range(len(words))]
    batch = [told(together, *word, at=at) for word, at in zip(words, times, strict=True)]
    await desk.record(data.draw(st.permutations(batch)))
    for word, at in zip(words, times, strict=True):
        await desk.record([told(apart, *word, at=at)])
    assert _comparable(await desk.job(together)) == _comparable(await desk.job(apart))
    assert await residual(desk.db) == []


def _comparable(job: Stored) -> tuple[object, ...]:
    pushed = job.expires_at - job.due_at == HOUR
    return (
        job.status,
        job.due_at if job.status is Status.PENDING else None,
        pushed,
        job.sent_at,
        job.opened_at,
        job.clicked_at,
        job.complained_at,
        job.unsubscribed_at,
    )


_STEPS = st.sampled_from(["accept", "claim", "tell", "tell", "own", "release", "come due", "bury"])


@given(steps=st.lists(_STEPS, min_size=3, max_size=12), seed=st.integers(0, 1 << 32))
@_HYPOTHESIS
async def test_the_books_balance_after_every_step(desk: Desk, steps: list[str], seed: int) -> None:
    rng = random.Random(seed)
    ids = await accept(desk.db, [_anybody(rng) for _ in range(4)])
    for step in steps:
        await _step(desk, step, ids, rng)
        assert await residual(desk.db) == [], step


def _anybody(rng: random.Random, expires_in: timedelta = timedelta(hours=1)) -> Letter:
    return Letter(f"{next(_people)}@inbox.test", rng.choice(list(Stream)), expires_in=expires_in)


async def _step(desk: Desk, step: str, ids: list[JobId], rng: random.Random) -> None:
    standing = await desk.eyes.standing(ids)
    sending = [Held(job.job_id, job.attempt) for job in standing if job.status is Status.SENDING]
    match step:
        case "accept":
            expires = timedelta(seconds=rng.choice([-1, 3600]))
            ids += await accept(desk.db, [_anybody(rng, expires_in=expires)])
        case "claim":
            await desk.claim(rng.choice([1, 10]), rng.choice(list(Stream)))
        case "tell":
            await desk.record([_any_word(rng.choice(standing), rng) for _ in range(rng.randint(1, 8))])
        case "own":
            await desk.record([_own_word(held, rng) for held in sending])
        case "release":
            await jobs.release(desk.db, desk.worker, sending, rng.choice([None, now() + HOUR]))
        case "come due":
            await desk.come_due(rng.choice(ids))
        case _:
            await _bury(desk)


def _any_word(job: Stored, rng: random.Random) -> Event:
    held = Held(job.job_id, max(1, job.attempt - rng.choice([0, 0, 1])))
    return told(held, *rng.choice(RELAY_WORDS), at=now() + timedelta(seconds=rng.randint(-5, 0)))


def _own_word(held: Held, rng: random.Random) -> Event:
    kind = rng.choice(
        [EventType.SENT, EventType.DEFERRED, EventType.OUTCOME_UNKNOWN, EventType.FAILED, EventType.BOUNCED]
    )
    bounce = rng.choice(list(BounceClass)) if kind is EventType.BOUNCED else None
    event = told(held, kind, bounce, origin=Origin.HANDOVER)
    return replace(event, event_id=own_event_id(held.job_id, held.attempt, kind), due_at=now())


async def _bury(desk: Desk) -> None:
    """The desk's worker ends, a sweeper finds what it held, and another takes its place."""
    await leases.retire(desk.db, desk.worker)
    async with desk.db.session() as session:
        await sweep_dead(desk.db, session, new_watch(timedelta(seconds=10)), POLICY, SystemClock())
    desk.worker = await enlisted(desk.db)
