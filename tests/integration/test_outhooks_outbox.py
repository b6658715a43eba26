"""From stored events to deliveries: nothing that commits late is missed, and an outage loses nothing."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from outhook_house import ALL, accepted_mails, happen, outhook_house
from receiver import receiving
from recorded_events import open_desk, sent
from stored_jobs import Letter, accept, open_eyes

from posthouse.domain.errors import NotNow
from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import EventId, JobId, own_event_id
from posthouse.domain.webhook import EventName, Interest
from posthouse.outhooks import fanout, standing
from posthouse.outhooks.desk import Since
from posthouse.storage import recording, webhook_outbox, webhooks
from posthouse.storage.db import Database
from posthouse.worker import outhooks as worker

SENT = Interest(frozenset({EventName.SENT}))


async def test_an_event_that_commits_late_is_told(database: Database) -> None:
    """It began before one that was told already: a cursor over times or ids would have passed it."""
    async with receiving() as app, outhook_house(database, [app]) as house:
        await house.endpoint(app, Interest(frozenset({EventName.DELIVERED})))
        early, late = await accepted_mails(database, 2)
        async with database.transaction() as tx:
            await recording.insert_events(tx, [event(early)])
            await happen(database, [late], EventType.DELIVERED)
            await house.settle()
            assert len(app.ids) == 1
        await house.settle()
        assert len(set(app.ids)) == 2


def event(job: JobId) -> Event:
    return Event(
        job_id=job,
        event_id=EventId(own_event_id(job, 0, "late")),
        attempt=0,
        type=EventType.DELIVERED,
        origin=Origin.RELAY,
        occurred_at=datetime.now(UTC),
    )


async def test_what_workers_store_is_told_too(database: Database, queue_database: Database) -> None:
    """Claims and acceptances by a relay are statements of their own: most events of a house are theirs."""
    eyes = await open_eyes(database.dsn)
    async with receiving() as app, outhook_house(database, [app]) as house:
        await house.endpoint(
            app, Interest(frozenset({EventName.SENT, EventName.SUPPRESSED, EventName.EXPIRED}))
        )
        desk = await open_desk(queue_database, eyes)
        held = await desk.sending()
        assert (await desk.record([sent(held)])).stored == 1
        await eyes.run(
            "INSERT INTO email_suppression (address_key, scope, reason, source) "
            "VALUES ('bob@inbox.test', 'all', 'BOUNCE', 'event')"
        )
        await accept(database, [Letter("bob@inbox.test"), Letter(expires_in=-timedelta(hours=1))])
        assert await desk.claim() == []
        await house.settle()
        assert sorted(told.type for told in app.told.values()) == [
            "email.expired",
            "email.sent",
            "email.suppressed",
        ]
    await eyes.close()


async def test_an_outage_of_ours_keeps_the_answers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app, SENT)
        await happen(database, await accepted_mails(database, 3), EventType.SENT)

        async def refuse(*_: object) -> None:
            raise NotNow("The database is not available.")

        with monkeypatch.context() as patch:
            patch.setattr(standing, "record", refuse)
            while len(app.ids) < 3:
                await house.worker.turn()
                await house.worker.wait(1.0)
            with pytest.raises(NotNow):
                await house.worker.turn()
        await house.settle()
        assert len(app.ids) == 3, "none was sent twice"
        assert {one.state for one in await house.log(endpoint.endpoint_id)} == {"delivered"}


async def test_a_redelivery_goes_part_by_part(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "REDELIVERED", 2)
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app, SENT)
        since = house.clock.now()
        await happen(database, await accepted_mails(database, 5), EventType.SENT)
        await house.settle()
        await house.desk.redeliver(endpoint, Since(since, only_failed=False), house.clock.now())
        await house.settle()
        assert sorted(app.ids) == sorted([*app.told, *app.told])
        assert await webhooks.redeliver_some(database, 10, house.clock.now()) is None


async def test_what_was_told_is_forgotten_after_its_time(database: Database) -> None:
    async with receiving() as app, outhook_house(database, [app]) as house:
        endpoint = await house.endpoint(app, SENT)
        await happen(database, await accepted_mails(database, 3), EventType.SENT)
        await house.settle()
        assert await webhook_outbox.forget(database, house.clock.now() - timedelta(days=1), 10) == 0
        house.clock.advance(1)
        assert await webhook_outbox.forget(database, house.clock.now(), 2) == 2
        assert await webhook_outbox.forget(database, house.clock.now(), 2) == 1
        assert await house.log(endpoint.endpoint_id) == []


async def test_two_processors_share_the_events(database: Database) -> None:
    async with (
        receiving() as app,
        outhook_house(database, [app]) as one,
        outhook_house(database, [app]) as two,
    ):
        await one.endpoint(app, Interest(ALL))
        await happen(database, await accepted_mails(database, 300), EventType.SENT)
        await asyncio.gather(*(both.settle() for both in (one, two)))
        assert len(app.ids) == len(set(app.ids)) == 600
        assert await fanout.fan_out(database, one.clock.now(), random.Random(1)) == 0
