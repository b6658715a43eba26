"""The reference says what the API does: every route, every example, nothing stale, nothing from elsewhere."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import pytest

from posthouse.web.application import v1_routes
from posthouse.web.reference import document, page
from posthouse.web.reference.endpoint import Body, Endpoint, Place
from posthouse.web.reference.endpoints import ENDPOINTS

ROOT: Final = Path(__file__).parents[2]
BODIES: Final = [(e.id, body) for e in ENDPOINTS for body in (*e.posts, e.answer) if body.kind is not None]


def served() -> set[tuple[str, str]]:
    """Method and path of every route under /v1, paths as OpenAPI writes them."""
    return {
        (method.lower(), re.sub(r":\w+}", "}", f"/v1{path}"))
        for handler in v1_routes(None)  # type: ignore[arg-type]  # none of them is called
        for path in handler.paths
        for method in handler.http_methods
        if method in ("GET", "POST", "PATCH", "DELETE")
    }


def test_every_route_is_described_and_nothing_else() -> None:
    assert {(e.method.value, e.path) for e in ENDPOINTS} == served()


def test_the_document_that_is_checked_in_is_fresh() -> None:
    assert (ROOT / "docs" / "openapi.json").read_bytes() == document.encoded(), "run: make docs"


@pytest.mark.parametrize(("name", "body"), BODIES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(BODIES)])
def test_every_example_is_what_it_says(name: str, body: Body) -> None:
    assert body.example is not None, name
    msgspec.json.decode(msgspec.json.encode(body.example), type=body.kind)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.id)
def test_the_places_of_a_path_are_its_parameters(endpoint: Endpoint) -> None:
    named = [p.name for p in endpoint.parameters if p.place is Place.PATH]
    assert sorted(re.findall(r"{(\w+)}", endpoint.path)) == sorted(named)
    assert all(p.example is not None for p in endpoint.parameters if p.place is Place.PATH)


def test_operations_have_names_of_their_own() -> None:
    assert len({endpoint.id for endpoint in ENDPOINTS}) == len(ENDPOINTS)


def test_every_reference_leads_to_a_schema() -> None:
    schemas = msgspec.json.decode(document.encoded(), type=dict[str, object])["components"]
    assert isinstance(schemas, Mapping)
    known = {f"#/components/schemas/{name}" for name in schemas["schemas"]}
    used = set(re.findall(r'"(#/components/schemas/[^"]+)"', document.encoded().decode()))
    assert used <= known
    assert [name for name in known if "posthouse." in name] == [], "two types have one name"


def test_the_page_shows_every_endpoint_and_loads_nothing() -> None:
    shown = page.reference_page().decode()
    for endpoint in ENDPOINTS:
        assert f'id="{endpoint.id}"' in shown
    assert "<script" not in shown
    assert re.findall(r'(?:src|href)="(?!#|/openapi\.json)[^"]*"', shown) == []


def test_words_in_backticks_are_code_and_nothing_of_a_text_becomes_markup() -> None:
    assert page.in_code("a `b` <c> `<d>`") == "a <code>b</code> &lt;c&gt; <code>&lt;d&gt;</code>"
    assert page.with_links("list of <Tag>", {"Tag": {}}) == 'list of &lt;<a href="#type-Tag">Tag</a>&gt;'


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "maxLength": 998}, "text, at most 998 characters"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer or null"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Tag"}}, "list of Tag"),
        ({"enum": ["a", "b"]}, "a | b"),
        ({}, "any JSON"),
    ],
)
def test_types_are_said_in_words(schema: dict[str, object], words: str) -> None:
    assert page.kind_of(schema) == words
