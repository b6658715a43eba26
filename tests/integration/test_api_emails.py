"""POST and GET of mails over HTTP, as a client meets them."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
import pytest_asyncio
from api_house import ApiHouse, not_a_key, running_api

from posthouse.domain.stream import Stream
from posthouse.storage import keys
from posthouse.storage.db import Database
from posthouse.web.api.auth import MEMORY

MAIL = {"from": "Shop <orders@shop.example>", "to": "jane@inbox.test", "subject": "Hi", "text": "Hello"}


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


async def accepted_id(api: ApiHouse, **fields: object) -> str:
    answer = await api.call("POST", "/v1/emails", {**MAIL, **fields})
    assert answer.status == 202, answer.body
    return str(answer.json()["id"])


async def test_a_mail_is_accepted_and_can_be_asked_for(api: ApiHouse) -> None:
    answer = await api.call(
        "POST",
        "/v1/emails",
        {
            **MAIL,
            "to": ["Jane <jane@inbox.test>"],
            "cc": "bob@inbox.test",
            "bcc": "eve@inbox.test",
            "reply_to": "help@shop.example",
            "tags": [{"name": "kind", "value": "receipt"}],
            "metadata": {"order": "17"},
        },
    )
    assert answer.status == 202
    receipt = answer.json()
    assert receipt["status"] == "pending"
    recipients = msgspec.convert(receipt["recipients"], list[dict[str, str]])
    assert [r["email"] for r in recipients] == ["jane@inbox.test", "bob@inbox.test", "eve@inbox.test"]
    assert receipt["id"] == recipients[0]["id"]
    assert all(UUID(r["id"]).version == 7 for r in recipients)

    mail = (await api.call("GET", f"/v1/emails/{receipt['id']}")).json()
    assert mail["status"] == "pending"
    assert (mail["from"], mail["to"], mail["cc"], mail["reply_to"]) == (
        "Shop <orders@shop.example>",
        ["Jane <jane@inbox.test>"],
        ["bob@inbox.test"],
        ["help@shop.example"],
    )
    assert mail["tags"] == [{"name": "kind", "value": "receipt"}]
    assert mail["metadata"] == {"order": "17"}
    timeline = msgspec.convert(mail["timeline"], list[dict[str, object]])
    assert [event["type"] for event in timeline] == ["accepted"] * 3
    assert {event["recipient_id"] for event in timeline} == {r["id"] for r in recipients}

    one = (await api.call("GET", f"/v1/emails/{recipients[1]['id']}")).json()
    assert one["id"] == receipt["id"]
    shown = msgspec.convert(one["recipients"], list[dict[str, object]])
    assert [r["email"] for r in shown] == ["bob@inbox.test"]
    assert api.told == {Stream.TRANSACTIONAL: 3}


async def test_what_is_not_there_is_not_found(api: ApiHouse) -> None:
    for email_id in (
        "x",
        "01900000-0000-7000-8000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "00000000-0000-0000-0000-000000000000",
        "%00",
        "..%2f",
    ):
        answer = await api.call("GET", f"/v1/emails/{email_id}")
        assert (email_id, answer.status, answer.code) == (email_id, 404, "not_found")


async def test_a_key_sees_only_what_it_could_have_sent(api: ApiHouse) -> None:
    email_id = await accepted_id(api)
    for key in (
        await api.another_key(stream=Stream.MARKETING),
        await api.another_key(from_domains=["help.example"]),
    ):
        assert (await api.call("GET", f"/v1/emails/{email_id}", secret=key)).status == 404
    same = await api.another_key(stream=Stream.TRANSACTIONAL, from_domains=["SHOP.example"])
    assert (await api.call("GET", f"/v1/emails/{email_id}", secret=same)).status == 200


async def test_twenty_at_once_with_one_key_get_one_answer(api: ApiHouse) -> None:
    headers = {"Idempotency-Key": "order-17"}
    posts = [api.call("POST", "/v1/emails", MAIL, headers=headers) for _ in range(20)]
    answers = await asyncio.gather(*posts)
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert api.told == {Stream.TRANSACTIONAL: 1}
    other = await api.call("POST", "/v1/emails", {**MAIL, "subject": "Other"}, headers=headers)
    assert (other.status, other.code) == (422, "invalid_idempotent_request")


async def test_a_replay_needs_no_longer_be_a_good_mail(api: ApiHouse) -> None:
    """A client that repeats after a day must learn that its mail was accepted, not that it is too late."""
    made = await api.call(
        "POST", "/v1/templates", {"key": "t", "subject": "{{ a }}", "text": "x", "publish": True}
    )
    assert made.status == 201
    mail = {
        "from": "a@shop.example",
        "to": "b@c.test",
        "template": {"key": "t", "variables": {"a": 1}},
    }
    headers = {"Idempotency-Key": "k"}
    first = await api.call("POST", "/v1/emails", mail, headers=headers)
    needs_more = {"subject": "{{ a }} {{ b }}", "text": "x", "publish": True}
    assert (await api.call("POST", "/v1/templates/t/versions", needs_more)).status == 201
    api.clock.advance(2.0)  # past the memory of templates
    assert (await api.call("POST", "/v1/emails", mail)).code == "missing_template_variables"
    again = await api.call("POST", "/v1/emails", mail, headers=headers)
    assert (again.status, again.body, again.headers["Idempotent-Replayed"]) == (202, first.body, "true")


async def test_an_idempotency_key_is_visible_ascii(api: ApiHouse) -> None:
    for key in ("", " ", "two words", "x" * 257, "\u00e9"):
        answer = await api.call("POST", "/v1/emails", MAIL, headers={"Idempotency-Key": key})
        assert (key, answer.status, answer.code) == (key, 400, "invalid_idempotency_key")


async def test_an_error_frees_the_idempotency_key(api: ApiHouse) -> None:
    headers = {"Idempotency-Key": "k"}
    assert (await api.call("POST", "/v1/emails", {**MAIL, "to": "x"}, headers=headers)).status == 422
    assert (await api.call("POST", "/v1/emails", MAIL, headers=headers)).status == 202


async def test_without_a_valid_key_nothing_is_said(api: ApiHouse) -> None:
    operations = (
        ("POST", "/v1/emails"),
        ("GET", "/v1/emails"),
        ("GET", "/v1/emails/x"),
        ("POST", "/v1/templates"),
        ("POST", "/v1/templates/t/versions"),
        ("POST", "/v1/templates/t/versions/1/publish"),
        ("GET", "/v1/templates/t"),
        ("GET", "/v1/suppressions"),
        ("POST", "/v1/suppressions"),
        ("DELETE", "/v1/suppressions/a@b.test"),
    )
    for (method, path), authorization in itertools.product(operations, ("", "Bearer", "Basic YTpi")):
        answer = await api.call(method, path, raw=b"not even json", headers={"authorization": authorization})
        assert (path, answer.status, answer.code) == (path, 401, "missing_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
    for (method, path), secret in itertools.product(operations, ("ph_live_x", not_a_key())):
        answer = await api.call(method, path, raw=b"not even json", secret=secret)
        assert (path, answer.status, answer.code) == (path, 403, "invalid_api_key")


async def test_a_revoked_key_is_refused_within_its_memory(api: ApiHouse) -> None:
    await accepted_id(api)
    assert await keys.revoke(api.deps.database, api.key.api_key_id)
    assert not await keys.revoke(api.deps.database, api.key.api_key_id)
    api.clock.advance(MEMORY - 0.1)
    await accepted_id(api)  # remembered
    api.clock.advance(0.2)
    assert (await api.call("POST", "/v1/emails", MAIL)).code == "invalid_api_key"
    listed = await keys.list_all(api.deps.database)
    assert [key.revoked_at is not None for key in listed] == [True]
    assert MEMORY <= 5.0


async def test_a_template_is_checked_when_the_mail_is_accepted(api: ApiHouse) -> None:
    mail: dict[str, object] = {"from": "a@shop.example", "to": "b@c.test", "template": {"key": "welcome"}}
    missing = await api.call("POST", "/v1/emails", mail)
    assert (missing.status, missing.code, missing.pointer) == (422, "template_not_found", "/template/key")
    draft = {"key": "welcome", "subject": "Hi {{ name }}", "html": "<p>{{ name }}</p>"}
    assert (await api.call("POST", "/v1/templates", draft)).status == 201
    assert (await api.call("POST", "/v1/emails", mail)).code == "template_not_found"  # a draft is no template
    assert (await api.call("POST", "/v1/templates/welcome/versions/1/publish")).status == 200
    unfilled = await api.call("POST", "/v1/emails", mail)
    assert (unfilled.status, unfilled.code) == (422, "missing_template_variables")
    filled = {**mail, "template": {"id": "welcome", "variables": {"name": "Jané"}}}
    email_id = (await api.call("POST", "/v1/emails", filled)).json()["id"]
    shown = (await api.call("GET", f"/v1/emails/{email_id}")).json()
    assert shown["template"] == {"key": "welcome", "version": None}


async def test_the_request_id_comes_back(api: ApiHouse) -> None:
    answer = await api.call("GET", "/v1/emails/x", headers={"X-Request-Id": "abc-1.2_3"})
    assert answer.headers["X-Request-Id"] == answer.json()["instance"] == "abc-1.2_3"
    for hostile in ("a b", "x" * 129, "<script>"):
        answer = await api.call("GET", "/healthz", headers={"X-Request-Id": hostile})
        assert answer.headers["X-Request-Id"] != hostile


async def test_readiness_is_about_partitions_and_the_database(api: ApiHouse) -> None:
    assert (await api.call("GET", "/readyz")).status == 200
    assert (await api.call("GET", "/healthz")).status == 200
    metrics = await api.call("GET", "/metrics")
    assert b"posthouse_accepted_total" in metrics.body
