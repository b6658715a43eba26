"""Templates as the mail that they would become: over HTTP, by the code that makes real mail."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from api_house import ApiHouse, running_api

from posthouse.storage.db import Database

Fields = dict[str, object]

#: It takes seconds in any engine that does not stop it.
BOMB = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"
ADDRESS = "<p>Shop Ltd, 12 High Street, London SW1A 1AA</p>"
WAY_OUT = '<a href="{{ unsubscribe_url }}">Leave</a>'


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


async def rendered(api: ApiHouse, **fields: object) -> Fields:
    answer = await api.call("POST", "/v1/templates/render", {"subject": "s", **fields})
    assert answer.status == 200, answer.body
    return answer.json()


async def warned(api: ApiHouse, **fields: object) -> dict[object, object]:
    """The codes of the warnings, each with what it points to."""
    found = msgspec.convert((await rendered(api, **fields))["warnings"], list[Fields])
    return {warning["code"]: warning.get("pointer", "") for warning in found}


async def test_a_stored_version_is_shown_as_the_mail_it_becomes(api: ApiHouse) -> None:
    template = {
        "key": "receipt",
        "subject": "Order {{ order.id }}",
        "html": "<style>p { color: red }</style><p>Hello {{ name }}, see <a href='https://shop.example/o'>it</a></p>",
        "text": "Hello {{ name }}: {{ greeting }}\n",
        "variables": [{"name": "greeting", "default": "welcome"}],
    }
    assert (await api.call("POST", "/v1/templates", template)).status == 201
    body = {"variables": {"name": "Ann & Bo", "order": {"id": 7}}, "to": "Ann <ann@inbox.test>"}
    shown = (await api.call("POST", "/v1/templates/receipt/render", body)).json()
    assert shown["subject"] == "Order 7"
    assert '<p style="color: red;">Hello Ann &amp; Bo' in str(shown["html"])
    assert "https://shop.example/o" in str(shown["html"])  # not where a tracked link would lead
    assert shown["text"] == "Hello Ann & Bo: welcome"
    assert shown["template_version"] == 1
    assert shown["suggested_variables"] == ["greeting", "name", "order.id"]
    assert shown["warnings"] == []
    untracked = {**template, "tracking": False}
    del untracked["key"]
    assert (await api.call("POST", "/v1/templates/receipt/versions", untracked)).status == 201
    other = (await api.call("POST", "/v1/templates/receipt/render", {**body, "version": 2})).json()
    assert int(str(other["size"])) < int(str(shown["size"]))  # no pixel and no long links


async def test_the_published_version_is_shown_unless_another_is_asked_for(api: ApiHouse) -> None:
    first = {"key": "t", "subject": "one", "text": "t"}
    assert (await api.call("POST", "/v1/templates", first)).status == 201
    assert (await api.call("POST", "/v1/templates/t/versions", {"subject": "two", "text": "t"})).status == 201
    assert (await api.call("POST", "/v1/templates/t/render", {})).json()["subject"] == "two"
    assert (await api.call("POST", "/v1/templates/t/versions/1/publish")).status == 200
    assert (await api.call("POST", "/v1/templates/t/render", {})).json()["subject"] == "one"
    assert (await api.call("POST", "/v1/templates/t/render", {"version": 2})).json()["subject"] == "two"
    assert (await api.call("POST", "/v1/templates/t/render", {"version": 3})).status == 404
    assert (await api.call("POST", "/v1/templates/nope/render", {})).status == 404


async def test_what_is_missing_stands_empty_and_is_named(api: ApiHouse) -> None:
    shown = await rendered(
        api,
        subject="For {{ name }}",
        text="{{ order.total }} {{ order.lines[0] }} {{ note|default('none') }} "
        "{% for i in items %}{{ i.a }}{% endfor %}.",
        variables={"order": {"lines": ["x"]}},
    )
    assert (shown["subject"], shown["text"]) == ("For", " x none .")
    (warning,) = msgspec.convert(shown["warnings"], list[Fields])
    assert warning["code"] == "missing_variables"
    assert "items, name, order.total" in str(warning["message"])


async def test_marketing_must_show_a_way_out_and_an_address(api: ApiHouse) -> None:
    bare = await warned(api, html="<p>News</p>", text="News", stream="marketing")
    assert bare == {"no_unsubscribe_link": "/html", "no_postal_address": "/html"}
    good = await warned(api, html=f"{ADDRESS}{WAY_OUT}", text=f"{ADDRESS} {WAY_OUT}", stream="marketing")
    assert good == {}
    named = f"{{{{ company_address }}}} {WAY_OUT}"
    assert await warned(api, text=named, stream="marketing", variables={"company_address": "here"}) == {}
    assert await warned(api, text="News") == {}  # transactional


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"html": "<p>x</p>"}, {"no_text": "/text"}),
        ({"html": f"<p>{'x' * 105_000}</p>", "text": "x"}, {"html_too_large": "/html"}),
        ({"html": '<a href="http://a.test/">x</a>', "text": "x"}, {"insecure_link": "/html"}),
        ({"html": "<img src='http://a.test/a.png' alt='a'>", "text": "x"}, {"insecure_link": "/html"}),
        ({"text": "see http://a.test/"}, {"insecure_link": "/text"}),
        ({"html": '<html xmlns="http://www.w3.org/1999/xhtml"><p>x</p></html>', "text": "x"}, {}),
        ({"subject": " ", "text": "x"}, {"no_subject": "/subject"}),
    ],
)
async def test_each_warning_has_its_code_and_its_place(
    api: ApiHouse, fields: Fields, warning: dict[object, object]
) -> None:
    assert await warned(api, **fields) == warning


async def test_a_template_that_does_not_end_is_stopped_and_others_are_answered(api: ApiHouse) -> None:
    bomb = asyncio.create_task(api.call("POST", "/v1/templates/render", {"subject": "s", "text": BOMB}))
    while not bomb.done():
        assert (await api.call("GET", "/v1/templates")).status == 200
    answer = await bomb
    assert (answer.status, answer.code) == (422, "template_too_expensive")


async def test_what_cannot_become_a_mail_is_refused_with_its_reason(api: ApiHouse) -> None:
    for fields, code, pointer in (
        ({"text": "{{ a"}, "invalid_template", "/text"),
        ({}, "invalid_template", ""),
        ({"text": "{{ a.b.c }}", "variables": {"a": "x"}}, "missing_variable", ""),
        ({"text": "x", "variables": {"a": "\x00"}}, "invalid_text", "/variables"),
        ({"text": "x", "variables": []}, "validation_error", "/variables"),
        ({"text": "x", "to": "nobody"}, "invalid_address", "/to"),
        ({"text": "x\x00"}, "invalid_text", "/text"),
        ({"text": "x", "declared": [{"name": "a"}, {"name": "a"}]}, "validation_error", "/declared"),
        ({"text": "x", "stream": "other"}, "validation_error", "/stream"),
        ({"html": "<div>" * 300, "text": "x"}, "html_refused", ""),
    ):
        answer = await api.call("POST", "/v1/templates/render", {"subject": "s", **fields})
        assert (fields, answer.status, answer.code) == (fields, 422, code)
        assert answer.pointer == pointer if pointer else "errors" not in answer.json()


async def test_what_is_not_stored_is_not_kept(api: ApiHouse) -> None:
    first = await rendered(api, subject="a", text="one")
    second = await rendered(api, subject="b", text="two")
    assert (first["text"], second["text"], first["template_version"]) == ("one", "two", None)
