"""Cancelling and rescheduling over HTTP: the answer of every state, and the race with claims."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from api_house import Answer, ApiHouse, running_api
from recorded_events import POLICY, deferred, open_desk, sent
from stored_jobs import Eyes, Letter, accept, open_eyes, residual

from posthouse.domain.ids import JobId
from posthouse.domain.job import OPEN_STATES, Status
from posthouse.domain.stream import Stream
from posthouse.status.changes import Changes
from posthouse.storage.db import Database
from posthouse.storage.keys import KeyScope

MAIL = {"from": "Shop <orders@shop.example>", "to": "jane@inbox.test", "subject": "Hi", "text": "Hello"}
WAITING = {Status.PENDING, Status.QUEUED}


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


@pytest_asyncio.fixture
async def eyes(database: Database) -> AsyncIterator[Eyes]:
    opened = await open_eyes(database.dsn)
    yield opened
    await opened.close()


async def posted(api: ApiHouse, **fields: object) -> list[str]:
    """Ids of the recipients of a mail just accepted; the first is the message's."""
    answer = await api.call("POST", "/v1/emails", {**MAIL, **fields})
    assert answer.status == 202, answer.body
    return [r["id"] for r in msgspec.convert(answer.json()["recipients"], list[dict[str, str]])]


async def stands(eyes: Eyes, job_id: str, status: Status, *, attempt: int = 0) -> None:
    """Put a pending job into a state, its books with it."""
    await eyes.run(
        f"UPDATE email_job SET status = '{status}', attempt = {attempt} WHERE job_id = '{job_id}';"
        "INSERT INTO job_delta (day, stream, campaign_id, from_status, to_status, n)"
        f" SELECT (created_at AT TIME ZONE 'UTC')::date, stream, campaign_id, 'PENDING', '{status}', 1"
        f" FROM email_job WHERE job_id = '{job_id}' AND '{status}' <> 'PENDING'"
    )


def later(**distance: float) -> str:
    return (datetime.now(UTC) + timedelta(**distance)).isoformat()


async def cancel(api: ApiHouse, email_id: str) -> Answer:
    return await api.call("POST", f"/v1/emails/{email_id}/cancel")


async def reschedule(api: ApiHouse, email_id: str, at: str) -> Answer:
    return await api.call("PATCH", f"/v1/emails/{email_id}", {"scheduled_at": at})


def statuses(answer: Answer) -> list[str]:
    return [r["status"] for r in msgspec.convert(answer.json()["recipients"], list[dict[str, str]])]


@pytest.mark.parametrize("attempt", [0, 1])
@pytest.mark.parametrize("status", Status)
async def test_what_a_cancel_is_told_in_every_state(
    api: ApiHouse, eyes: Eyes, status: Status, attempt: int
) -> None:
    (job_id,) = await posted(api)
    await stands(eyes, job_id, status, attempt=attempt)
    answer = await cancel(api, job_id)
    after = (await eyes.job(JobId(UUID(job_id)))).status
    if status in WAITING or status is Status.CANCELLED:
        assert (answer.status, statuses(answer), after) == (200, ["cancelled"], Status.CANCELLED)
        assert answer.json()["object"] == "email"
        assert (answer.json()["id"], answer.json()["status"]) == (job_id, "cancelled")
    elif status in OPEN_STATES:
        assert (answer.status, answer.code, after) == (409, "already_sending", status)
    else:
        assert (answer.status, answer.code, after) == (409, "already_ended", status)
        assert f"it is {status.lower()}" in str(answer.json()["detail"])
    assert await residual(api.deps.database) == []


@pytest.mark.parametrize("attempt", [0, 1])
@pytest.mark.parametrize("status", Status)
async def test_what_a_reschedule_is_told_in_every_state(
    api: ApiHouse, eyes: Eyes, status: Status, attempt: int
) -> None:
    (job_id,) = await posted(api)
    await stands(eyes, job_id, status, attempt=attempt)
    answer = await reschedule(api, job_id, later(days=2))
    after = (await eyes.job(JobId(UUID(job_id)))).status
    if status in WAITING:
        assert (answer.status, statuses(answer), after) == (200, ["pending"], Status.PENDING)
    elif status in OPEN_STATES:
        assert (answer.status, answer.code, after) == (409, "already_sending", status)
    else:
        assert (answer.status, answer.code, after) == (409, "already_ended", status)
    assert await residual(api.deps.database) == []


async def test_the_timeline_says_who_cancelled(api: ApiHouse) -> None:
    (job_id,) = await posted(api)
    assert (await cancel(api, job_id)).status == 200
    assert (await cancel(api, job_id)).status == 200
    mail = (await api.call("GET", f"/v1/emails/{job_id}")).json()
    assert (mail["object"], mail["last_event"]) == ("email", "canceled")
    events = msgspec.convert(mail["timeline"], list[dict[str, object]])
    assert [event["type"] for event in events] == ["accepted", "cancelled"]
    assert (events[1]["origin"], events[1]["reason"]) == (
        "house",
        "cancelled over the API with the key test",
    )


async def test_of_several_recipients_those_that_wait_are_cancelled(api: ApiHouse, eyes: Eyes) -> None:
    ids = await posted(api, to=["a@inbox.test", "b@inbox.test", "c@inbox.test"])
    await stands(eyes, ids[0], Status.SENT, attempt=1)
    assert statuses(await cancel(api, ids[1])) == ["cancelled"]
    for _ in range(2):  # asking again is answered alike
        answer = await cancel(api, ids[0])
        assert (answer.status, answer.json()["id"], answer.json()["status"]) == (200, ids[0], None)
        assert statuses(answer) == ["sent", "cancelled", "cancelled"]
    refused = await reschedule(api, ids[0], later(days=1))
    assert (refused.status, refused.code) == (409, "already_ended")
    assert "its recipients' copies are cancelled, sent" in str(refused.json()["detail"])
    assert await residual(api.deps.database) == []


async def test_a_retry_that_waits_can_be_moved_and_cancelled(api: ApiHouse, queue_database: Database) -> None:
    eyes = await open_eyes(queue_database.dsn)
    desk = await open_desk(queue_database, eyes)
    held = await desk.sending()
    await desk.record([deferred(held, datetime.now(UTC) + timedelta(hours=1))])
    moved = await reschedule(api, str(held.job_id), later(hours=2))
    assert (moved.status, statuses(moved)) == (200, ["pending"])
    assert (await desk.job(held)).due_at > datetime.now(UTC) + timedelta(hours=1, minutes=30)
    assert (await cancel(api, str(held.job_id))).status == 200
    assert (await desk.job(held)).status is Status.CANCELLED
    await eyes.close()


async def test_a_default_expiry_moves_along_and_one_that_was_given_holds(api: ApiHouse) -> None:
    (job_id,) = await posted(api, scheduled_at=later(days=1))
    before = (await api.call("GET", f"/v1/emails/{job_id}")).json()
    assert before["last_event"] == "scheduled"
    assert (await reschedule(api, job_id, later(days=3))).status == 200
    after = (await api.call("GET", f"/v1/emails/{job_id}")).json()
    for mail in (before, after):
        due, expires = (datetime.fromisoformat(str(mail[name])) for name in ("due_at", "expires_at"))
        assert expires - due == timedelta(hours=24)
        assert mail["scheduled_at"] == mail["due_at"]
    (given,) = await posted(api, expires_at=later(days=2))
    refused = await reschedule(api, given, later(days=3))
    assert (refused.status, refused.code, refused.pointer) == (422, "validation_error", "/scheduled_at")
    assert (await reschedule(api, given, later(days=1))).status == 200


async def test_a_mail_waits_for_thirty_days_after_it_was_accepted_at_most(api: ApiHouse) -> None:
    (job_id,) = await posted(api)
    for at in (later(days=30, seconds=5), "9999-12-31T23:59:59-14:00"):
        refused = await reschedule(api, job_id, at)
        assert (at, refused.status, refused.pointer) == (at, 422, "/scheduled_at")
    assert (await reschedule(api, job_id, later(days=29, hours=23))).status == 200


async def test_what_is_moved_into_the_past_is_due_now_and_wakes_a_worker(
    api: ApiHouse, queue_database: Database, eyes: Eyes
) -> None:
    for at in (later(seconds=-5), "0001-01-01T00:00:00+14:00"):
        (job_id,) = await posted(api, scheduled_at=later(days=1))
        api.woken.clear()
        assert (await reschedule(api, job_id, at)).status == 200
        assert api.woken == [Stream.TRANSACTIONAL]
        desk = await open_desk(queue_database, eyes)
        assert [str(job.job_id) for job in await desk.claim()] == [job_id]
    shown = (await api.call("GET", f"/v1/emails/{job_id}")).json()
    assert shown["scheduled_at"] is None


async def test_a_change_says_what_it_wants(api: ApiHouse) -> None:
    (job_id,) = await posted(api)
    for body, pointer in (
        ({}, "/scheduled_at"),
        ({"scheduled_at": None}, "/scheduled_at"),
        ({"scheduled_at": "tomorrow"}, "/scheduled_at"),
        ({"scheduled_at": "2030-01-01T00:00:00"}, "/scheduled_at"),
        ({"scheduled_at": later(days=1), "to": "x@y.test"}, "/to"),
    ):
        answer = await api.call("PATCH", f"/v1/emails/{job_id}", body)
        assert (body, answer.status, answer.pointer) == (body, 422, pointer)


async def test_who_may_change_what(api: ApiHouse) -> None:
    (job_id,) = await posted(api)
    readers = await api.another_key(scopes=frozenset({KeyScope.READ}))
    strangers = [
        await api.another_key(sandbox=True),
        await api.another_key(stream=Stream.MARKETING),
        await api.another_key(from_domains=["help.example"]),
    ]
    body = {"scheduled_at": later(days=1)}
    calls: list[tuple[str, str, object]] = [("POST", "/cancel", None), ("PATCH", "", body)]
    for method, path, sent_body in calls:
        refused = await api.call(method, f"/v1/emails/{job_id}{path}", sent_body, secret=readers)
        assert (refused.status, refused.code) == (403, "restricted_api_key")
        for secret in strangers:
            hidden = await api.call(method, f"/v1/emails/{job_id}{path}", sent_body, secret=secret)
            assert (hidden.status, hidden.code) == (404, "not_found")
        for nobody in ("x", "01900000-0000-7000-8000-000000000000"):
            assert (await api.call(method, f"/v1/emails/{nobody}{path}", sent_body)).code == "not_found"
    assert (await api.call("GET", f"/v1/emails/{job_id}")).json()["status"] == "pending"


async def test_sandboxed_mail_is_for_test_keys_only(api: ApiHouse) -> None:
    secret = await api.another_key(sandbox=True)
    answer = await api.call("POST", "/v1/emails", MAIL, secret=secret)
    path = f"/v1/emails/{answer.json()['id']}"
    for suffix in ("", "/events"):
        assert (await api.call("GET", path + suffix, secret=secret)).status == 200
        assert (await api.call("GET", path + suffix)).code == "not_found"
    assert (await api.call("POST", f"{path}/cancel")).code == "not_found"
    assert (await api.call("POST", f"{path}/cancel", secret=secret)).status == 200


async def test_events_are_listed_oldest_first_in_pages(api: ApiHouse) -> None:
    ids = await posted(api, to=["a@inbox.test", "b@inbox.test"])
    assert (await cancel(api, ids[0])).status == 200
    whole = (await api.call("GET", f"/v1/emails/{ids[0]}/events?limit=100")).json()
    assert (whole["object"], whole["has_more"], whole["next_cursor"]) == ("list", False, None)
    everything = msgspec.convert(whole["data"], list[dict[str, object]])
    assert [event["type"] for event in everything] == ["accepted"] * 2 + ["cancelled"] * 2
    found: list[dict[str, object]] = []
    cursor = ""
    for _ in range(4):
        page = (await api.call("GET", f"/v1/emails/{ids[0]}/events?limit=1{cursor}")).json()
        found += msgspec.convert(page["data"], list[dict[str, object]])
        cursor = f"&cursor={page['next_cursor']}"
    assert (found, page["has_more"]) == (everything, False)
    one = (await api.call("GET", f"/v1/emails/{ids[1]}/events")).json()
    assert one["data"] == [event for event in everything if event["recipient_id"] == ids[1]]
    for query in ("limit=0", "limit=101", "cursor=x", "cursor=%00"):
        assert (await api.call("GET", f"/v1/emails/{ids[0]}/events?{query}")).status in (400, 422)


async def test_a_job_is_claimed_or_cancelled_never_both(queue_database: Database, eyes: Eyes) -> None:
    """Claims, cancels and reschedules at once, over sets that overlap."""
    desk = await open_desk(queue_database, eyes)
    ids = await accept(queue_database, [Letter()] * 400)
    await eyes.run(
        f"UPDATE email_job SET status = 'QUEUED' WHERE job_id = ANY('{{{','.join(map(str, ids[::7]))}}}');"
        "INSERT INTO job_delta (day, stream, campaign_id, from_status, to_status, n)"
        " SELECT (created_at AT TIME ZONE 'UTC')::date, stream, campaign_id, 'PENDING', 'QUEUED', count(*)"
        " FROM email_job WHERE status = 'QUEUED' GROUP BY 1, 2, 3"
    )
    changes, rng = Changes(queue_database, POLICY, random.Random(1)), random.Random(2)
    claimed: list[JobId] = []
    cancelled: set[JobId] = set()

    async def claim() -> None:
        for _ in range(12):
            jobs = await desk.claim(limit=10)
            claimed.extend(job.job_id for job in jobs)
            await desk.record([sent(job.held) for job in jobs])

    async def change(sets: Sequence[Sequence[JobId]]) -> None:
        for some in sets:
            now = datetime.now(UTC)
            if rng.random() < 0.4:
                await changes.reschedule(some, now, None)
                continue
            after = await changes.cancel(some, "asked to", now)
            cancelled.update(job_id for job_id, one in after.items() if one.done)

    def samples() -> list[list[JobId]]:
        return [rng.sample(ids, 5) for _ in range(20)]

    await asyncio.gather(*(claim() for _ in range(3)), *(change(samples()) for _ in range(4)))
    assert claimed
    assert cancelled
    assert len(claimed) == len(set(claimed))
    assert cancelled.isdisjoint(claimed)
    for job in await eyes.standing(ids):
        expected = {Status.SENT} if job.job_id in claimed else WAITING
        assert job.status in ({Status.CANCELLED} if job.job_id in cancelled else expected)
    assert await residual(queue_database) == []
