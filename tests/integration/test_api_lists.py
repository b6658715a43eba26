"""Templates, suppressions and relays' callbacks over HTTP."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest_asyncio
from api_house import Answer, ApiHouse, running_api

from posthouse.domain.ids import AddressKey
from posthouse.storage.db import Database
from posthouse.storage.suppressions import Place
from posthouse.web.api.cursor import to_cursor


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


async def test_a_template_from_draft_to_its_second_version(api: ApiHouse) -> None:
    draft = {
        "key": "receipt",
        "name": "Receipt",
        "subject": "Order {{ order }}",
        "html": "<p>{{ order }}</p>",
        "variables": [{"name": "order"}, {"name": "greeting", "default": "Hello"}],
        "tracking": False,
    }
    made = await api.call("POST", "/v1/templates", draft)
    assert (made.status, made.json()) == (201, {"key": "receipt", "version": 1, "state": "draft"})
    assert (await api.call("POST", "/v1/templates", draft)).code == "template_exists"
    assert (await api.call("GET", "/v1/templates/receipt")).json()["published_version"] is None
    for _ in range(2):  # publishing again changes nothing
        published = await api.call("POST", "/v1/templates/receipt/versions/1/publish")
        assert (published.status, published.json()["state"]) == (200, "published")
    second = await api.call(
        "POST", "/v1/templates/receipt/versions", {"subject": "s", "text": "t", "publish": True}
    )
    assert second.json()["version"] == 2
    template = (await api.call("GET", "/v1/templates/receipt")).json()
    assert template["published_version"] == 2
    versions = msgspec.convert(template["versions"], list[dict[str, object]])
    assert [(v["version"], v["state"], v["tracking"]) for v in versions] == [
        (2, "published", True),
        (1, "published", False),
    ]
    assert versions[1]["variables"] == [
        {"name": "order", "required": True, "default": None},
        {"name": "greeting", "required": False, "default": "Hello"},
    ]


BAD_TEMPLATES: list[tuple[dict[str, object], str, str]] = [
    ({"key": "Not A Key"}, "validation_error", "/key"),
    ({"subject": "{{ a"}, "invalid_template", "/subject"),
    ({"html": "{% if %}"}, "invalid_template", "/html"),
    ({"text": "{% include 'x' %}"}, "invalid_template", "/text"),
    ({"text": "a\x00"}, "invalid_text", "/text"),
    ({"name": ""}, "validation_error", "/name"),
    ({"variables": [{"name": "1x"}]}, "validation_error", "/variables/0/name"),
    ({"variables": [{"name": "x"}, {"name": "x"}]}, "validation_error", "/variables"),
    ({"variables": [{"name": "x", "default": []}]}, "validation_error", "/variables/0/default"),
    ({"variables": [{"name": "x", "default": "\x00"}]}, "invalid_text", "/variables/0/default"),
    ({"body": "x"}, "unknown_field", "/body"),
]


async def test_a_bad_template_is_refused_where_it_is_bad(api: ApiHouse) -> None:
    for fields, code, pointer in BAD_TEMPLATES:
        answer = await api.call("POST", "/v1/templates", {"key": "t", "subject": "s", "text": "t", **fields})
        assert (fields, answer.status, answer.code, answer.pointer) == (fields, 422, code, pointer)


async def test_unknown_templates_are_not_found(api: ApiHouse) -> None:
    for method, path in (
        ("GET", "/v1/templates/nope"),
        ("GET", "/v1/templates/%F0%9F%92%A9"),
        ("POST", "/v1/templates/nope/versions/1/publish"),
        ("POST", "/v1/templates/nope/versions/99999999999999999999/publish"),
        ("POST", "/v1/templates/nope/versions/-1/publish"),
    ):
        answer = await api.call(method, path)
        assert (path, answer.status, answer.code) == (path, 404, "not_found")


async def test_versions_added_at_once_are_numbered_one_after_another(api: ApiHouse) -> None:
    version = {"subject": "s", "text": "t"}
    assert (await api.call("POST", "/v1/templates", {"key": "t", **version})).status == 201
    answers = [await api.call("POST", "/v1/templates/t/versions", version) for _ in range(3)]
    assert [answer.json()["version"] for answer in answers] == [2, 3, 4]


async def all_pages(api: ApiHouse, query: str) -> list[list[str]]:
    pages, cursor = [], ""
    while True:
        page = (await api.call("GET", f"/v1/suppressions?{query}{cursor}")).json()
        pages.append(
            [str(entry["address"]) for entry in msgspec.convert(page["data"], list[dict[str, object]])]
        )
        if not page["has_more"]:
            assert page["next_cursor"] is None
            return pages
        cursor = f"&cursor={page['next_cursor']}"


async def test_suppressions_are_listed_newest_first_in_pages(api: ApiHouse) -> None:
    for i in range(7):
        body = {"address": f"P{i}@inbox.test", "reason": "BOUNCE", "note": f"import {i}"}
        assert (await api.call("POST", "/v1/suppressions", body)).status == 201
    (everything,) = await all_pages(api, "limit=100")
    pages = await all_pages(api, "limit=3")
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [address for page in pages for address in page] == everything
    assert sorted(everything) == [f"p{i}@inbox.test" for i in range(7)]
    newest_first = (await api.call("GET", "/v1/suppressions")).json()["data"]
    times = [entry["added_at"] for entry in msgspec.convert(newest_first, list[dict[str, object]])]
    assert times == sorted(times, key=str, reverse=True)
    assert await all_pages(api, "address=P3@INBOX.test") == [["p3@inbox.test"]]


async def test_spellings_of_one_address_share_one_entry(api: ApiHouse) -> None:
    for spelling in ("Jane@MÜNCHEN.de", "jane@xn--mnchen-3ya.de"):
        answer = await api.call("POST", "/v1/suppressions", {"address": spelling})
        assert (answer.json()["address"], answer.json()["reason"]) == ("jane@xn--mnchen-3ya.de", "MANUAL")
    assert await all_pages(api, "limit=100") == [["jane@xn--mnchen-3ya.de"]]


async def test_unsubscribing_never_stops_transactional_mail(api: ApiHouse) -> None:
    entry = {"address": "a@b.test", "reason": "UNSUBSCRIBE"}
    assert (await api.call("POST", "/v1/suppressions", entry)).json()["scope"] == "marketing"
    refused = await api.call("POST", "/v1/suppressions", {**entry, "scope": "all"})
    assert (refused.status, refused.pointer) == (422, "/scope")


async def test_a_complaint_is_removed_only_by_force_and_with_a_reason(api: ApiHouse) -> None:
    temporary = {"address": "a@b.test", "reason": "SPAM", "expires_at": "2030-01-01T00:00:00Z"}
    assert (await api.call("POST", "/v1/suppressions", temporary)).pointer == "/expires_at"
    assert (
        await api.call("POST", "/v1/suppressions", {"address": "a@b.test", "reason": "SPAM"})
    ).status == 201
    path = "/v1/suppressions/A@b.test"
    assert (await api.call("DELETE", path)).code == "complaint_needs_force"
    assert (await api.call("DELETE", f"{path}?force=true")).status == 422
    removed = await api.call("DELETE", f"{path}?force=true&reason=asked+by+phone")
    assert removed.status == 200
    assert (await api.call("DELETE", f"{path}?force=true&reason=again")).status == 404
    assert await all_pages(api, "") == [[]]


async def test_an_address_with_a_slash_can_be_removed(api: ApiHouse) -> None:
    assert (await api.call("POST", "/v1/suppressions", {"address": "a/b@c.test"})).status == 201
    assert (await api.call("DELETE", "/v1/suppressions/a%2Fb@c.test")).status == 200


async def test_a_list_is_asked_for_properly(api: ApiHouse) -> None:
    for query in (
        "limit=0",
        "limit=101",
        "limit=x",
        "cursor=",
        "cursor=x",
        "cursor=%00",
        "cursor=" + "W" * 4000,
        "cursor=" + to_cursor({"a": 1}),
        "cursor=" + to_cursor(Place(datetime(1, 1, 1), AddressKey(""), "", "")),  # noqa: DTZ001  # no zone
        "cursor=" + to_cursor(Place(datetime(2026, 1, 1, tzinfo=UTC), AddressKey("\x00"), "", "")),
        "address=nobody",
        "address=%00@b.test",
    ):
        answer = await api.call("GET", f"/v1/suppressions?{query}")
        assert (query, answer.status) in ((query, 400), (query, 422))
        assert answer.json()["detail"]


async def test_a_callback_with_anothers_signature_is_refused_for_good(api: ApiHouse) -> None:
    path = "/hooks/sendgrid/mail-one"

    async def said(body: bytes) -> Answer:
        return await api.call("POST", path, raw=body, headers={"X-Signature": "9", "X-Token": "one"})

    assert [(await said(b"delivered")).status for _ in range(2)] == [200, 200]
    forged = await said(b"bounced!!")
    assert (forged.status, forged.code) == (406, "replayed_signature")
    assert [callback.body for callback in api.inbox.callbacks] == [b"delivered"]


async def test_callbacks_are_stored_before_they_are_answered(api: ApiHouse) -> None:
    body = b'[{"event":"delivered"}]\r\n\x00\xff'
    path = "/hooks/sendgrid/mail-one"
    forged = 'posthouse_callbacks_total{account="mail-one",relay="sendgrid",result="bad_signature"}'
    assert f"{forged} 0.0" in (await api.call("GET", "/metrics")).body.decode()
    stored = await api.call("POST", path, raw=body, headers={"X-Signature": str(len(body))})
    assert (stored.status, stored.body) == (200, b"")
    assert [callback.body for callback in api.inbox.callbacks] == [body]
    assert (await api.call("POST", path, raw=body)).code == "bad_signature"
    assert (await api.call("POST", "/hooks/sendgrid/other", raw=body)).status == 404
    assert (await api.call("POST", "/hooks/ses/mail-one", raw=body)).status == 404
    large = b"x" * 600_000  # within the API's own limit, above the receiver's
    assert (await api.call("POST", path, raw=large, headers={"X-Signature": "600000"})).status == 413
    api.inbox.away = True
    away = await api.call("POST", path, raw=body, headers={"X-Signature": str(len(body))})
    assert (away.status, away.headers["Retry-After"]) == (503, "5")
    assert len(api.inbox.callbacks) == 1
    counted = (await api.call("GET", "/metrics")).body.decode()
    assert (
        'posthouse_callbacks_total{account="unknown",relay="unknown",result="unknown_account"} 2.0' in counted
    )
    assert 'posthouse_callbacks_total{account="mail-one",relay="sendgrid",result="stored"} 1.0' in counted
    assert f"{forged} 1.0" in counted, "an increase from 0, as an alert on a single one needs"
