"""Templates over HTTP: lists, versions, and what archiving one does to mail."""

from collections.abc import AsyncIterator

import msgspec
import pytest_asyncio
from api_house import ApiHouse, running_api

from posthouse.storage.db import Database
from posthouse.web.api.cursor import to_cursor

Fields = dict[str, object]


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


async def make(api: ApiHouse, key: str, **fields: object) -> None:
    body = {"key": key, "subject": "s", "text": "t", "publish": True, **fields}
    assert (await api.call("POST", "/v1/templates", body)).status == 201


async def pages(api: ApiHouse, path: str, query: str, field: str) -> list[list[object]]:
    """What every page of a list has in one field."""
    found, cursor = [], ""
    while True:
        page = (await api.call("GET", f"{path}?{query}{cursor}")).json()
        found.append([entry[field] for entry in msgspec.convert(page["data"], list[Fields])])
        if not page["has_more"]:
            assert page["next_cursor"] is None
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def test_templates_are_listed_newest_first_or_by_key(api: ApiHouse) -> None:
    for key in ("b", "a", "d", "c"):
        await make(api, key)
    assert await pages(api, "/v1/templates", "limit=3", "key") == [["c", "d", "a"], ["b"]]
    assert await pages(api, "/v1/templates", "limit=2&order=key", "key") == [["a", "b"], ["c", "d"]]


async def test_a_list_says_which_version_mail_is_made_from(api: ApiHouse) -> None:
    await make(api, "t")
    for _ in range(25):  # more drafts than one answer shows
        assert (
            await api.call("POST", "/v1/templates/t/versions", {"subject": "s", "text": "t"})
        ).status == 201
    (listed,) = msgspec.convert((await api.call("GET", "/v1/templates")).json()["data"], list[Fields])
    assert (listed["latest_version"], listed["published_version"]) == (26, 1)
    one = (await api.call("GET", "/v1/templates/t")).json()
    assert (one["latest_version"], one["published_version"]) == (26, 1)
    assert len(msgspec.convert(one["versions"], list[Fields])) == 20


async def test_versions_are_paged_without_their_bodies_and_read_one_by_one(api: ApiHouse) -> None:
    await make(api, "t", html="<p>{{ a }}</p>")
    for number in (2, 3):
        body = {"subject": f"s{number}", "text": "t"}
        assert (await api.call("POST", "/v1/templates/t/versions", body)).status == 201
    assert await pages(api, "/v1/templates/t/versions", "limit=2", "version") == [[3, 2], [1]]
    assert await pages(api, "/v1/templates/t/versions", "", "has_html") == [[False, False, True]]
    first = (await api.call("GET", "/v1/templates/t/versions/1")).json()
    assert (first["html"], first["text"], first["state"]) == ("<p>{{ a }}</p>", "t", "published")
    for path in (
        "t/versions/4",
        "t/versions/-1",
        "t/versions/99999999999999999999",
        "u/versions/1",
        "u/versions",
    ):
        assert ((await api.call("GET", f"/v1/templates/{path}")).code, path) == ("not_found", path)


async def test_cursors_of_templates_are_checked(api: ApiHouse) -> None:
    await make(api, "t")
    for place in ({"id": 2**31, "key": "a"}, {"id": -1, "key": "a"}, {"id": "x"}, 7):
        answer = await api.call("GET", f"/v1/templates?cursor={to_cursor(place)}")
        assert (answer.status, answer.code) == (422, "invalid_cursor")
    nul = await api.call("GET", f"/v1/templates?order=key&cursor={to_cursor({'id': 1, 'key': chr(0)})}")
    assert (nul.status, nul.code) == (422, "invalid_text")
    beyond = await api.call("GET", f"/v1/templates/t/versions?cursor={to_cursor({'version': 2**40})}")
    assert (beyond.status, beyond.code) == (422, "invalid_cursor")
    assert (await api.call("GET", "/v1/templates?order=best")).status == 400


async def test_new_mail_may_not_name_an_archived_template(api: ApiHouse) -> None:
    await make(api, "t")
    mail = {"from": "a@shop.example", "to": "b@c.test", "template": {"key": "t"}}
    accepted = await api.call("POST", "/v1/emails", mail)
    assert accepted.status == 202
    archived = (await api.call("POST", "/v1/templates/t/archive")).json()
    again = (await api.call("POST", "/v1/templates/t/archive")).json()
    assert archived["archived_at"] is not None
    assert again["archived_at"] == archived["archived_at"]
    api.clock.advance(2.0)  # past what the API remembers of a template
    refused = await api.call("POST", "/v1/emails", mail)
    assert (refused.status, refused.code, refused.pointer) == (422, "template_archived", "/template/key")
    assert await pages(api, "/v1/templates", "", "key") == [[]]
    assert await pages(api, "/v1/templates", "archived=true", "key") == [["t"]]
    taken_back = await api.call("POST", "/v1/templates/t/unarchive")
    assert (taken_back.status, taken_back.json()["archived_at"]) == (200, None)
    api.clock.advance(2.0)
    assert (await api.call("POST", "/v1/emails", mail)).status == 202
    for way in ("archive", "unarchive"):
        assert (await api.call("POST", f"/v1/templates/nope/{way}")).status == 404


async def test_two_versions_are_compared_part_by_part(api: ApiHouse) -> None:
    await make(api, "t", html="<p>one</p>\n<p>same</p>", variables=[{"name": "a"}])
    second = {"subject": "s", "html": "<p>two</p>\n<p>same</p>", "variables": [{"name": "a", "default": 1}]}
    assert (await api.call("POST", "/v1/templates/t/versions", second)).status == 201
    diff = (await api.call("GET", "/v1/templates/t/diff?from=1&to=2")).json()
    lines = {
        part: msgspec.convert(diff[part], Fields)["lines"]
        for part in ("subject", "html", "text", "variables")
    }
    assert lines == {
        "subject": [],
        "html": ["@@ -1,2 +1,2 @@", "-<p>one</p>", "+<p>two</p>", " <p>same</p>"],
        "text": ["@@ -1 +0,0 @@", "-t"],
        "variables": ["@@ -1 +1 @@", "-a: required", "+a: default 1"],
    }
    assert (diff["from"], diff["to"]) == (1, 2)
    for path in ("t/diff?from=1&to=3", "u/diff?from=1&to=1", f"t/diff?from={10**30}&to=-1"):
        assert ((await api.call("GET", f"/v1/templates/{path}")).status, path) == (404, path)
    assert (await api.call("GET", "/v1/templates/t/diff?from=1")).status == 400
