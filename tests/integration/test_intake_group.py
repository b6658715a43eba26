"""Group commit against a real PostgreSQL: nothing twice, nothing lost, no neighbour harmed, books written."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
import pytest_asyncio
from api_house import create_key, digest, looking, ready_clock

from posthouse.domain.errors import InvalidInput, NotNow
from posthouse.domain.ids import AddressKey, day_of
from posthouse.domain.stream import Stream
from posthouse.intake.group import MAX_GROUP_JOBS, Intake
from posthouse.intake.mail import NewMail, OwnContent, Recipient
from posthouse.intake.rows import Moment, RowMaker
from posthouse.intake.submission import Entry, Idempotency, Receipt, Result, Submission, one_mail
from posthouse.storage import acceptance
from posthouse.storage.acceptance import IdempotencyName, KeyInUse, Promise
from posthouse.storage.db import Database, PoolKind, Wire, open_pool
from posthouse.storage.dbclock import DatabaseClock
from posthouse.storage.keys import ApiKey
from posthouse.storage.sql import Queries

_QUERIES = """\
-- name: pending
SELECT count(*) FROM email_job WHERE status = 'PENDING';
-- name: accepted_events
SELECT count(*) FROM email_event WHERE type = 'accepted' AND attempt = 0 AND origin = 'house';
-- name: ledger
SELECT coalesce(sum(n), 0)::bigint FROM acceptance_ledger;
-- name: event_ledger
SELECT coalesce(sum(n), 0)::bigint FROM event_ledger;
-- name: deltas
SELECT coalesce(sum(n), 0)::bigint FROM job_delta WHERE from_status IS NULL AND to_status = 'PENDING';
-- name: ledger_kinds
SELECT count(*) FROM (SELECT DISTINCT day, stream FROM acceptance_ledger) AS kinds;
-- name: contents
SELECT count(*) FROM email_content;
-- name: keys
SELECT count(*) FROM idempotency_key;
-- name: days
SELECT DISTINCT (created_at AT TIME ZONE 'UTC')::date FROM email_job;
-- name: spoil
CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'spoiled' USING ERRCODE = 'P0001'; END $$;
-- name: spoil_subject
CREATE TRIGGER spoil BEFORE INSERT ON email_job FOR EACH ROW
WHEN (NEW.subject = 'bad') EXECUTE FUNCTION spoil();
-- name: somebody_waits
SELECT exists(SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock');
-- name: take_key
INSERT INTO idempotency_key (api_key_id, key, body_hash, response) VALUES ($1, $2, '', '');
"""


@dataclass
class House:
    """Intakes on a database that is ready for mail, an API key, and what was told after each commit."""

    database: Database
    clock: DatabaseClock
    key: ApiKey
    told: list[tuple[Stream, int]] = field(default_factory=list)

    def intake(self) -> Intake:
        """One API process's."""
        rows = RowMaker(b"content key of a test", random.Random(1).getrandbits)
        return Intake(
            self.database, rows, now_ms=self.clock.now_ms, accepted=lambda s, n: self.told.append((s, n))
        )

    def post(self, mail: NewMail, idempotency: Idempotency | None = None) -> Submission:
        return one_mail(self.key.api_key_id, mail, idempotency)


@pytest_asyncio.fixture
async def house(database: Database) -> House:
    clock = await ready_clock(database)
    key, _ = await create_key(database, None, [])
    return House(database, clock, key)


@pytest_asyncio.fixture
async def wire(pg_dsn: str) -> AsyncIterator[Wire]:
    async with looking(pg_dsn, _QUERIES) as opened:
        yield opened


def mail(*addresses: str, text: str = "Hello", stream: Stream = Stream.TRANSACTIONAL) -> NewMail:
    recipients = tuple(Recipient(a, AddressKey(a)) for a in addresses or ("jane@inbox.test",))
    return NewMail(
        stream=stream,
        sender="Shop <orders@shop.example>",
        recipients=recipients,
        addressing=None,
        subject="Hi",
        body=OwnContent(None, text),
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        expiry_given=False,
    )


def named(key: str, body: str = "same") -> Idempotency:
    return Idempotency(key, digest(body))


async def assert_books(wire: Wire, jobs: int) -> None:
    """What is there, and both sides of the books, agree."""
    for name in ("pending", "accepted_events", "ledger", "event_ledger", "deltas"):
        assert (name, await wire.value(int, name)) == (name, jobs)


async def test_a_crowd_is_stored_once_each_and_the_books_say_so(house: House, wire: Wire) -> None:
    streams = itertools.cycle(Stream)
    posts = [house.post(mail(f"p{i}@inbox.test", stream=next(streams))) for i in range(120)]
    receipts = await asyncio.gather(*map(house.intake().accept, posts))
    assert len({receipt.body for receipt in receipts}) == 120
    await assert_books(wire, 120)
    assert await wire.value(int, "ledger_kinds") == 2
    assert await wire.value(int, "contents") == 1  # equal bodies of a day share a row
    assert sum(n for _, n in house.told) == 120
    assert len(house.told) < 20  # it was told of groups, not of requests


async def test_a_hundred_keys_twenty_times_at_once_are_a_hundred_mails(house: House, wire: Wire) -> None:
    processes = [house.intake(), house.intake()]
    posts = [(i, house.post(mail(f"p{i}@inbox.test"), named(f"key-{i}"))) for i in range(100)] * 20
    random.Random(3).shuffle(posts)
    receipts = await asyncio.gather(*(processes[n % 2].accept(post) for n, (_, post) in enumerate(posts)))
    bodies: dict[int, set[bytes]] = {}
    for (i, _), receipt in zip(posts, receipts, strict=True):
        bodies.setdefault(i, set()).add(receipt.body)
    assert len(bodies) == 100
    assert all(len(answers) == 1 for answers in bodies.values())
    assert sum(not receipt.replayed for receipt in receipts) == 100
    await assert_books(wire, 100)
    assert await wire.value(int, "keys") == 100


async def test_two_processes_race_for_two_hundred_keys_and_each_is_one_mail(
    house: House, wire: Wire, pg_dsn: str, queries: Queries
) -> None:
    """Each on connections of its own, each key in both at once, in the opposite order."""
    other = await open_pool(pg_dsn, PoolKind.GENERAL, queries)
    try:
        processes = [house.intake(), House(other, house.clock, house.key).intake()]
        posts = [house.post(mail(f"p{i}@inbox.test"), named(f"key-{i}")) for i in range(200)]
        ours, theirs = await asyncio.gather(
            asyncio.gather(*(processes[0].accept(post) for post in posts)),
            asyncio.gather(*(processes[1].accept(post) for post in reversed(posts))),
        )
    finally:
        await other.close()
    assert [r.body for r in ours] == [r.body for r in reversed(theirs)]
    assert len({r.body for r in ours}) == 200
    assert sum(not r.replayed for r in [*ours, *theirs]) == 200
    await assert_books(wire, 200)
    assert await wire.value(int, "keys") == 200


async def test_a_key_with_another_body_is_refused_at_once_and_later(house: House, wire: Wire) -> None:
    intake = house.intake()
    first, other = house.post(mail(), named("k", "one")), house.post(mail(), named("k", "other"))
    answers = await asyncio.gather(intake.accept(first), intake.accept(other), return_exceptions=True)
    refusals = [a for a in answers if isinstance(a, InvalidInput)]
    assert [r.code for r in refusals] == ["invalid_idempotent_request"]
    with pytest.raises(InvalidInput, match="another body"):
        await house.intake().accept(other if answers[1] is refusals[0] else first)
    await assert_books(wire, 1)


def _told(results: Sequence[Result]) -> bytes:
    return b" ".join(r.body if isinstance(r, Receipt) else r.code.encode() for r in results)


async def test_a_mail_of_a_batch_whose_key_was_lost_meanwhile_is_an_error_in_an_answer_that_is_kept(
    house: House, wire: Wire
) -> None:
    taken = await house.intake().accept(house.post(mail(), named("taken", "theirs")))
    entries = (
        Entry(mail("a@inbox.test"), named("free")),
        Entry(mail("b@inbox.test"), named("taken", "ours")),
        Entry(mail("c@inbox.test"), named("taken", "theirs")),
    )
    batch = Submission(house.key.api_key_id, entries, named("whole"), _told)
    receipt = await house.intake().accept(batch)
    free = await house.intake().recall(house.key.api_key_id, named("free"))
    assert free is not None
    assert receipt.body == b" ".join([free.body, b"invalid_idempotent_request", taken.body])
    again = await house.intake().accept(batch)
    assert (again.body, again.replayed) == (receipt.body, True)
    await assert_books(wire, 2)


async def test_a_batch_that_is_known_leaves_the_keys_of_its_mails_free(house: House, wire: Wire) -> None:
    await house.intake().accept(house.post(mail(), named("whole")))
    entries = (Entry(mail("a@inbox.test"), named("new")),)
    with pytest.raises(InvalidInput, match="another body"):
        await house.intake().accept(Submission(house.key.api_key_id, entries, named("whole", "other"), _told))
    assert await wire.value(int, "keys") == 1
    await assert_books(wire, 1)


async def test_the_key_of_one_client_is_nothing_to_another(house: House, wire: Wire) -> None:
    stranger, _ = await create_key(house.database, None, [])
    intake = house.intake()
    ours = await intake.accept(house.post(mail(), named("k", "ours")))
    theirs = await intake.accept(one_mail(stranger.api_key_id, mail(), named("k", "theirs")))
    assert not theirs.replayed
    assert ours.body != theirs.body
    assert await intake.recall(stranger.api_key_id, named("k", "ours")) is None
    await assert_books(wire, 2)


async def test_recall_finds_the_answer_and_only_for_the_same_body(house: House) -> None:
    intake = house.intake()
    receipt = await intake.accept(house.post(mail(), named("k")))
    recalled = await intake.recall(house.key.api_key_id, named("k"))
    assert recalled is not None
    assert (recalled.body, recalled.replayed) == (receipt.body, True)
    assert await intake.recall(house.key.api_key_id, named("k", "other")) is None
    assert await intake.recall(house.key.api_key_id, named("unknown")) is None


async def test_one_bad_request_fails_alone(house: House, wire: Wire) -> None:
    """Validation lets nothing through that the database refuses; should it ever, only that one suffers."""
    await wire.execute("spoil")
    await wire.execute("spoil_subject")
    posts = [
        house.post(
            msgspec.structs.replace(mail(f"p{i}@inbox.test"), subject="bad" if i == 7 else "good"),
            named(f"k{i}"),
        )
        for i in range(20)
    ]
    outcomes = await asyncio.gather(*map(house.intake().accept, posts), return_exceptions=True)
    failed = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Exception)]
    assert failed == [7]
    assert "spoiled" in str(outcomes[7])
    await assert_books(wire, 19)
    assert await wire.value(int, "keys") == 19  # the failed one's key is free for another try


async def test_a_client_that_hangs_up_takes_nobody_along(house: House, wire: Wire) -> None:
    intake = house.intake()
    tasks = [asyncio.create_task(intake.accept(house.post(mail(f"p{i}@inbox.test")))) for i in range(10)]
    await asyncio.sleep(0)  # every one has entered
    tasks[0].cancel()
    tasks[5].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    gone = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
    assert gone == [0, 5]
    await intake.drain()
    await assert_books(wire, 10)


async def test_a_group_is_bounded(house: House, wire: Wire) -> None:
    many = [f"p{i}@inbox.test" for i in range(50)]
    posts = [house.post(mail(*many, text=f"{n}" * 100_000)) for n in range(30)]
    await asyncio.gather(*map(house.intake().accept, posts))
    assert max(n for _, n in house.told) <= MAX_GROUP_JOBS
    await assert_books(wire, 1500)


async def test_ids_are_of_the_databases_day(house: House, wire: Wire) -> None:
    rows = RowMaker(b"k", random.Random(1).getrandbits).make(
        [mail("a@b.test", "c@b.test"), mail()], Moment(house.clock.now_ms())
    )
    ids = [job.job_id for r in rows for job in r.jobs]
    assert ids == sorted(ids)
    assert {job.message_id for job in rows[0].jobs} == {ids[0]}
    assert {day_of(i) for i in ids} == {house.clock.today()}
    await house.intake().accept(house.post(mail()))
    assert await wire.column(date, "days") == [house.clock.today()]


async def test_a_key_that_another_process_holds_is_said_to_be_in_progress(house: House, wire: Wire) -> None:
    """And its neighbours in the group do not have to wait for its end."""
    intake = house.intake()
    async with wire.transaction():
        await wire.execute("take_key", house.key.api_key_id, "held")
        held = asyncio.create_task(intake.accept(house.post(mail(), named("held"))))
        free = asyncio.create_task(intake.accept(house.post(mail(), named("free"))))
        with pytest.raises(KeyInUse) as raised:
            await held
        assert raised.value.retry_after > 0
        assert not (await free).replayed
    await assert_books(wire, 1)


async def test_who_waited_for_a_key_in_another_process_gets_its_answer(house: House, wire: Wire) -> None:
    name = IdempotencyName(house.key.api_key_id, "slow")
    async with house.database.transaction() as tx:
        promise = Promise(named("slow").body_hash, b"the answer")
        assert await acceptance.claim_keys(tx, {name: promise}) == {name}
        waiting = asyncio.create_task(house.intake().accept(house.post(mail(), named("slow"))))
        while not await wire.value(bool, "somebody_waits"):  # noqa: ASYNC110  # only the server knows
            await asyncio.sleep(0.01)
    receipt = await waiting
    assert (receipt.body, receipt.replayed) == (b"the answer", True)
    await assert_books(wire, 0)


async def test_without_a_database_there_is_no_promise(house: House, pg_dsn: str, queries: Queries) -> None:
    away = await open_pool(pg_dsn, PoolKind.GENERAL, queries, max_size=1)
    await away.close()
    intake = House(away, house.clock, house.key).intake()
    posts = [house.post(mail(), named("same")) for _ in range(20)]
    outcomes = await asyncio.gather(*map(intake.accept, posts), return_exceptions=True)
    assert all(isinstance(outcome, NotNow) for outcome in outcomes)
