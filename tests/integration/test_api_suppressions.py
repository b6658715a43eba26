"""Suppressions over HTTP: what a list shows of them, and what stays of those that were taken away."""

from collections.abc import AsyncIterator

import msgspec
import pytest_asyncio
from api_house import ApiHouse, running_api

from posthouse.storage.db import Database

Fields = dict[str, object]


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


async def add(api: ApiHouse, address: str, **fields: object) -> None:
    assert (await api.call("POST", "/v1/suppressions", {"address": address, **fields})).status == 201


async def listed(api: ApiHouse, query: str) -> list[object]:
    page = (await api.call("GET", f"/v1/suppressions?{query}")).json()
    return sorted((entry["address"] for entry in msgspec.convert(page["data"], list[Fields])), key=str)


async def test_a_list_of_one_reason_or_one_scope(api: ApiHouse) -> None:
    await add(api, "bounced@a.test", reason="BOUNCE")
    await add(api, "left@a.test", reason="UNSUBSCRIBE")
    await add(api, "stopped@a.test", scope="marketing")
    assert await listed(api, "reason=BOUNCE") == ["bounced@a.test"]
    assert await listed(api, "scope=marketing") == ["left@a.test", "stopped@a.test"]
    assert await listed(api, "scope=marketing&reason=MANUAL") == ["stopped@a.test"]
    assert await listed(api, "scope=all&reason=SPAM") == []
    for query in ("reason=bounce", "scope=none"):
        assert (await api.call("GET", f"/v1/suppressions?{query}")).status == 400


async def test_what_was_removed_is_remembered_with_who_and_why(api: ApiHouse) -> None:
    await add(api, "a/b@c.test", reason="SPAM")
    await add(api, "a/b@c.test", reason="UNSUBSCRIBE")
    path = "/v1/suppressions/a%2Fb@c.test"
    before = (await api.call("GET", path)).json()
    assert [e["reason"] for e in msgspec.convert(before["suppressions"], list[Fields])] == [
        "SPAM",
        "UNSUBSCRIBE",
    ]
    assert before["removals"] == []
    assert (await api.call("DELETE", path)).status == 409
    assert (await api.call("GET", path)).json() == before
    assert (await api.call("DELETE", f"{path}?force=true&reason=+asked+by+phone+")).status == 200
    after = (await api.call("GET", path)).json()
    assert after["suppressions"] == []
    removals = msgspec.convert(after["removals"], list[Fields])
    assert {(one["reason"], one["scope"], one["why"]) for one in removals} == {
        ("SPAM", "all", "asked by phone"),
        ("UNSUBSCRIBE", "marketing", "asked by phone"),
    }
    assert {one["removed_by"] for one in removals} == {str(api.key.api_key_id)}


async def test_a_reason_is_text_that_can_be_stored(api: ApiHouse) -> None:
    await add(api, "a@b.test")
    for reason in ("%00", "x" * 1001):
        answer = await api.call("DELETE", f"/v1/suppressions/a@b.test?reason={reason}")
        assert (answer.status, answer.pointer) == (422, "/reason")
    assert await listed(api, "") == ["a@b.test"]
    assert (await api.call("GET", "/v1/suppressions/nobody")).status == 422
