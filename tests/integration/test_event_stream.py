"""Every event goes from its transaction to the topic, at least once, in the form that the contract names."""

import asyncio
import json
import random
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from recorded_events import Desk, open_desk, sent, told
from stored_jobs import PATIENCE, Letter, accept, open_eyes

from posthouse.bus.kafka.events import KafkaEvents
from posthouse.bus.kafka.member import KafkaMessage, Member
from posthouse.bus.kafka.producer import Producer
from posthouse.bus.kafka.topics import EMAIL_EVENTS, full_name
from posthouse.config import KafkaSettings
from posthouse.domain.errors import NotNow
from posthouse.domain.event import BounceClass, EventType
from posthouse.domain.outgoing import EmailEvent
from posthouse.storage import outbox
from posthouse.storage.db import Database
from posthouse.worker.outgoing import publish_events

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "count_events.py"


class Heard:
    """bus.port.EventStream that keeps what it is told, or is away."""

    def __init__(self) -> None:
        self.events: list[EmailEvent] = []
        self.away = False

    async def publish(self, events: Sequence[EmailEvent]) -> None:
        if self.away:
            raise NotNow("away")
        await asyncio.sleep(0)
        self.events += events


@pytest.fixture
async def desk(queue_database: Database) -> AsyncIterator[Desk]:
    eyes = await open_eyes(queue_database.dsn)
    yield await open_desk(queue_database, eyes)
    await eyes.close()


async def put_by(desk: Desk, *, wanted: bool = True) -> None:
    await outbox.put_events_by(desk.db, rng=random.Random(1), wanted=wanted)


async def test_without_a_stream_nothing_is_put_by(desk: Desk) -> None:
    await desk.sending()
    assert not await outbox.are_put_by(desk.db)
    heard = Heard()
    assert await publish_events(desk.db, heard) == 0


async def test_every_event_of_every_statement_goes_out_once(desk: Desk) -> None:
    await put_by(desk)
    expired = await accept(desk.db, [Letter("late@inbox.test", expires_in=-Letter().expires_in)])
    held = await desk.sending()
    await desk.record([sent(held)])
    await desk.record([told(held, EventType.DELIVERED), told(held, EventType.BOUNCED, BounceClass.HARD)])
    refused = await accept(desk.db, [Letter("ann@inbox.test")])
    await desk.sending(Letter("bob@inbox.test"))  # whose claim finds that Ann may not be mailed

    heard = Heard()
    published = await publish_events(desk.db, heard)

    stored = [event for job in (*expired, held.job_id, *refused) for event in await desk.eyes.events(job)]
    types = [event.type for event in heard.events]
    assert {"accepted", "expired", "suppressed", "sent", "delivered", "bounced"} <= set(types)
    assert published == len(types)
    assert types.count(EventType.ACCEPTED) == 4
    assert len(types) - 4 == len(stored)  # which are told without their acceptances
    assert await publish_events(desk.db, heard) == 0
    bounced = next(event for event in heard.events if event.type is EventType.BOUNCED)
    assert (bounced.recipient, bounced.recipient_domain) == ("ann@inbox.test", "inbox.test")
    assert (bounced.bounce_class, bounced.attempt, bounced.relay) == (BounceClass.HARD, 1, "mail")


async def test_an_event_that_was_there_already_does_not_go_out_again(desk: Desk) -> None:
    held = await desk.sending()
    delivered = told(held, EventType.DELIVERED)
    await put_by(desk)
    await desk.record([delivered])
    await desk.record([delivered])
    heard = Heard()
    assert await publish_events(desk.db, heard) == 1


async def test_what_the_stream_did_not_take_waits(desk: Desk) -> None:
    await put_by(desk)
    await accept(desk.db, [Letter()])
    heard = Heard()
    heard.away = True
    with pytest.raises(NotNow):
        await publish_events(desk.db, heard)
    assert await outbox.oldest(desk.db) > 0.0
    heard.away = False
    assert await publish_events(desk.db, heard) == 1
    assert await outbox.oldest(desk.db) == 0.0


async def test_a_transaction_that_commits_late_is_not_left_behind(desk: Desk) -> None:
    held = await desk.sending()
    await put_by(desk)
    heard = Heard()
    async with desk.db.transaction() as late:
        await late.script(
            "INSERT INTO email_event (job_id, event_id, occurred_at, attempt, type, origin) "
            f"VALUES ('{held.job_id}', '{UUID(int=1)}', now(), 1, 'opened', 'reader')"
        )
        await desk.record([sent(held)])
        assert await publish_events(desk.db, heard) == 1
    assert await publish_events(desk.db, heard) == 1
    assert [event.type for event in heard.events] == [EventType.SENT, EventType.OPENED]


async def test_publishers_share_the_work_and_publish_nothing_twice(desk: Desk) -> None:
    await put_by(desk)
    await accept(desk.db, [Letter() for _ in range(1200)])
    heard = Heard()
    await asyncio.gather(*(publish_events(desk.db, heard) for _ in range(3)))
    await publish_events(desk.db, heard)
    assert len(heard.events) == len({event.event_id for event in heard.events}) == 1200


async def test_leaving_forgets_what_waits(desk: Desk) -> None:
    await put_by(desk)
    await accept(desk.db, [Letter()])
    await put_by(desk, wanted=False)
    await accept(desk.db, [Letter()])
    assert not await outbox.are_put_by(desk.db)
    assert await publish_events(desk.db, Heard()) == 0


async def test_events_are_on_the_topic_and_the_example_counts_them(
    desk: Desk, kafka: KafkaSettings, tmp_path: Path
) -> None:
    await put_by(desk)
    held = await desk.sending(Letter("ann@gmail.example"))
    opened = told(held, EventType.OPENED)
    await desk.record([sent(held), opened])
    async with Producer(kafka).running() as producer:
        assert await publish_events(desk.db, KafkaEvents(kafka, producer)) == 3
        # The process died after the topic had it: the same again, which is what at least once means.
        await put_by(desk, wanted=False)
        await put_by(desk)
        await desk.eyes.run(f"INSERT INTO event_outbox (job_id, event_id) "
                            f"VALUES ('{held.job_id}', '{opened.event_id}')")  # fmt: skip
        assert await publish_events(desk.db, KafkaEvents(kafka, producer)) == 1
    records = await read(kafka, 4)
    assert {record.key() for record in records} == {str(held.job_id).encode()}
    assert [json.loads(record.value() or b"")["type"] for record in records] == [
        "accepted", "sent", "opened", "opened",
    ]  # fmt: skip

    database = tmp_path / "counts.sqlite"
    for _ in range(2):  # its second life counts nothing twice
        await run_example(kafka, database)
    with sqlite3.connect(database) as counts:
        rows = counts.execute("SELECT provider, type, n FROM counts ORDER BY type").fetchall()
    assert rows == [("gmail.example", kind, 1) for kind in ("accepted", "opened", "sent")]


async def read(kafka: KafkaSettings, count: int) -> list[KafkaMessage]:
    found: list[KafkaMessage] = []
    async with asyncio.timeout(PATIENCE), Member(kafka, "test.reader", EMAIL_EVENTS).running() as member:
        while len(found) < count:
            found += await member.fetch(100, 0.1)
    return found


async def run_example(kafka: KafkaSettings, database: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLE), "--bootstrap-servers", kafka.bootstrap_servers),
        *("--topic", full_name(kafka, EMAIL_EVENTS), "--group", f"{kafka.prefix}example"),
        *("--database", str(database), "--until-idle", "2"),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
