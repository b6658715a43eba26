"""Why an address is not mailed, over HTTP: the same answer as the claim's, with what caused it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest_asyncio
from api_house import ApiHouse, running_api
from recorded_events import Desk, open_desk, sent, told
from stored_jobs import Letter, open_eyes

from posthouse.domain.event import BounceClass, EventType
from posthouse.domain.stream import Stream
from posthouse.storage.db import Database

Fields = dict[str, object]


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


@pytest_asyncio.fixture
async def desk(database: Database, api: ApiHouse) -> AsyncIterator[Desk]:
    assert api.base
    eyes = await open_eyes(database.dsn)
    yield await open_desk(database, eyes)
    await eyes.close()


async def why(api: ApiHouse, address: str, *, secret: str | None = None) -> dict[object, list[Fields]]:
    """What stops mail to an address, for each stream."""
    answer = await api.call("GET", f"/v1/suppressions/why?address={address}", secret=secret)
    assert answer.status == 200, answer.body
    found = {}
    for one in msgspec.convert(answer.json()["streams"], list[Fields]):
        found[one["stream"]] = msgspec.convert(one["because"], list[Fields])
        assert one["would_be_sent"] is not bool(one["because"])
    return found


async def test_nothing_stops_mail_to_an_unknown_address(api: ApiHouse) -> None:
    assert await why(api, "a@b.test") == {"transactional": [], "marketing": []}
    one = await api.call("GET", "/v1/suppressions/why?address=A@b.test&stream=marketing")
    assert one.json() == {
        "address": "a@b.test",
        "streams": [{"stream": "marketing", "would_be_sent": True, "because": []}],
    }
    for query in ("", "address=nobody", "address=a@b.test&stream=other"):
        assert (await api.call("GET", f"/v1/suppressions/why?{query}")).status in (400, 422)


async def test_a_scope_stops_its_stream_and_what_has_ended_stops_nothing(api: ApiHouse) -> None:
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    for fields in ({"reason": "UNSUBSCRIBE"}, {"reason": "MANUAL", "expires_at": past}):
        body = {"address": "a/b@c.test", **fields}
        assert (await api.call("POST", "/v1/suppressions", body)).status == 201
    found = await why(api, "a/b@c.test")
    assert found["transactional"] == []
    (entry,) = found["marketing"]
    assert (entry["reason"], entry["source"], entry["cause"]) == ("UNSUBSCRIBE", "api", None)
    assert "DELETE /v1/suppressions/a%2Fb@c.test." in str(entry["lift"])


async def test_a_bounce_and_a_complaint_name_the_mail_and_the_words_of_the_relay(
    api: ApiHouse, desk: Desk
) -> None:
    held = await desk.sending(Letter("gone@inbox.test"))
    bounced = told(held, EventType.BOUNCED, BounceClass.HARD)
    await desk.record([sent(held), bounced, told(held, EventType.COMPLAINED)])
    found = await why(api, "gone@inbox.test")
    assert found["marketing"] == found["transactional"]
    by_reason = {entry["reason"]: entry for entry in found["transactional"]}
    assert set(by_reason) == {"BOUNCE", "SPAM"}
    cause = msgspec.convert(by_reason["BOUNCE"]["cause"], Fields)
    assert cause["recipient_id"] == cause["email_id"] == str(held.job_id)
    assert (cause["event"], cause["bounce"], cause["diagnostic"]) == (
        "bounced",
        "hard",
        "250 2.0.0 as the relay said it",
    )
    assert msgspec.convert(by_reason["SPAM"]["cause"], Fields)["event"] == "complained"
    assert "force=true" in str(by_reason["SPAM"]["lift"])


async def test_a_key_is_told_of_the_entry_but_not_of_mail_that_it_may_not_see(
    api: ApiHouse, desk: Desk
) -> None:
    held = await desk.sending(Letter("gone@inbox.test"))
    await desk.record([sent(held), told(held, EventType.BOUNCED, BounceClass.HARD)])
    secret = await api.another_key(stream=Stream.MARKETING)
    (entry,) = (await why(api, "gone@inbox.test", secret=secret))["marketing"]
    assert (entry["reason"], entry["cause"]) == ("BOUNCE", None)
    other = await api.another_key(from_domains=["other.example"])
    (entry,) = (await why(api, "gone@inbox.test", secret=other))["marketing"]
    assert entry["cause"] is None
