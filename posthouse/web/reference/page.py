"""The reference as one page: no script, nothing from elsewhere, readable without styles."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import jinja2
import msgspec
from markupsafe import Markup, escape

from posthouse.web.reference.document import document
from posthouse.web.reference.endpoint import Body, Endpoint, Parameter
from posthouse.web.reference.endpoints import ENDPOINTS

_FOLDER = files("posthouse.web") / "pages"
_STYLE = (_FOLDER / "reference.css").read_text(encoding="utf-8")
_ENVIRONMENT = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")

#: Sent with the page: nothing is loaded, nothing runs, nobody frames it.
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    kind: str
    required: bool


@dataclass(frozen=True, slots=True)
class _Schema:
    description: str
    kind: str
    fields: tuple[_Field, ...]


def in_code(text: str) -> Markup:
    """A text whose `words` in backticks are code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped first


def with_links(kind: str, schemas: Mapping[str, object]) -> Markup:
    """A type in words, in which each type of ours leads to what it is made of."""
    parts = re.split(r"(\w+)", kind)
    linked = (
        Markup('<a href="#type-{0}">{0}</a>').format(part) if part in schemas else escape(part)
        for part in parts
    )
    return Markup("").join(linked)


_ENVIRONMENT.filters.update(code=in_code, linked=with_links)
_TEMPLATE = _ENVIRONMENT.from_string((_FOLDER / "reference.html.j2").read_text(encoding="utf-8"))


def reference_page(endpoints: Sequence[Endpoint] = ENDPOINTS) -> bytes:
    """The page, made once at the start."""
    doc = document(endpoints)
    groups: dict[str, list[dict[str, object]]] = {}
    for endpoint in endpoints:
        groups.setdefault(endpoint.group, []).append(_operation(endpoint, doc))
    schemas = {name: _schema(found) for name, found in _object(_object(doc["components"])["schemas"]).items()}
    return _TEMPLATE.render(doc=doc, style=Markup(_STYLE), groups=groups, schemas=schemas).encode()  # noqa: S704  # our own file


def _operation(endpoint: Endpoint, doc: Mapping[str, object]) -> dict[str, object]:
    described = _object(_object(_object(doc["paths"])[endpoint.path])[endpoint.method.value])
    content = [_object(described["requestBody"])["content"]] if endpoint.posts else []
    answers = _object(described["responses"])
    refusals = [status for status in answers if status >= "400"]
    return {
        "id": endpoint.id,
        "method": endpoint.method.value,
        "path": endpoint.path,
        "summary": endpoint.summary,
        "description": str(described["description"]).split("\n\n"),
        "parameters": [_parameter(p) for p in endpoint.parameters],
        "bodies": [
            *(_body("Request", body, _object(kinds)) for kinds in content for body in endpoint.posts),
            _body(
                f"{endpoint.status.value} {endpoint.status.phrase}",
                endpoint.answer,
                _object(_object(answers[str(endpoint.status.value)])["content"]),
            ),
        ],
        "refusals": ", ".join(refusals),
    }


def _parameter(parameter: Parameter) -> dict[str, object]:
    (schema,), _ = msgspec.json.schema_components([parameter.kind])
    return {
        "name": parameter.name,
        "required": parameter.required,
        "place": parameter.place.value,
        "kind": kind_of(schema),
        "description": parameter.description,
    }


def _body(title: str, body: Body, content: Mapping[str, object]) -> dict[str, str]:
    shown = body.example
    example = shown if isinstance(shown, str) else msgspec.json.format(msgspec.json.encode(shown), indent=2)
    return {
        "title": title if body.media_type == "application/json" else f"{title} ({body.media_type})",
        "kind": kind_of(_object(content[body.media_type])["schema"]),
        "example": example.decode() if isinstance(example, bytes) else example,
    }


def _schema(found: object) -> _Schema:
    schema = _object(found)
    required = schema.get("required", [])
    assert isinstance(required, list)
    fields = tuple(
        _Field(name, kind_of(kind), name in required)
        for name, kind in _object(schema.get("properties", {})).items()
    )
    return _Schema(str(schema.get("description", "")), kind_of(schema), fields)


def kind_of(schema: object) -> str:
    """A schema's type in words: `text, at most 200 characters`, `list of Tag`."""
    found = _object(schema)
    if "$ref" in found:
        return str(found["$ref"]).rpartition("/")[2]
    if "enum" in found:
        return " | ".join(str(value) for value in _list(found["enum"]))
    if "anyOf" in found:
        return " or ".join(kind_of(option) for option in _list(found["anyOf"]))
    if found.get("type") == "array":
        return f"list of {kind_of(found.get('items', {}))}" + _bounds(found, "Items", "entries")
    if found.get("type") == "string":
        return str(found.get("format", "text")) + _bounds(found, "Length", "characters") + _pattern(found)
    return str(found.get("type", "any JSON")) + _bounds(found, "imum", "")


def _pattern(schema: Mapping[str, object]) -> str:
    return f" like {schema['pattern']}" if "pattern" in schema else ""


def _bounds(schema: Mapping[str, object], what: str, unit: str) -> str:
    words = [f"{word} {schema[key + what]} {unit}".rstrip() for key, word in _ENDS if key + what in schema]
    return "".join(f", {word}" for word in words)


_ENDS: Final = (("min", "at least"), ("max", "at most"))


def _object(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value
