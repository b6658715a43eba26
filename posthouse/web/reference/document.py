"""The OpenAPI 3.1 document, made of the endpoints' descriptions and the types that the API reads and writes.

https://spec.openapis.org/oas/v3.1.0. Served at /openapi.json and checked in as docs/openapi.json.
"""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Final, TypeAlias

import msgspec

from posthouse.web.api.problems import MEDIA_TYPE, Problem
from posthouse.web.reference.endpoint import Body, Endpoint, Json, Parameter, Place
from posthouse.web.reference.endpoints import ENDPOINTS

Object: TypeAlias = dict[str, object]

_REF: Final = "#/components/schemas/{name}"
#: What any call can be answered beside its own refusals.
_EVERYWHERE: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_WITH_BODY: Final = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
_INTRODUCTION: Final = (
    "Mail is accepted with 202 after it is stored, and followed by its id to its end. Every refusal is a "
    "problem (RFC 9457) with a stable `code`. Keys are sent as `Authorization: Bearer ph_live_...`; those "
    "that begin with `ph_test_` use the sandbox: their mail never reaches a relay."
)


def document(endpoints: Sequence[Endpoint] = ENDPOINTS) -> Object:
    """The document, as plain values in a stable order."""
    kinds = [kind for endpoint in endpoints for kind in _kinds(endpoint)]
    schemas, components = msgspec.json.schema_components([*kinds, Problem], ref_template=_REF)
    schema_of = dict(zip(map(repr, kinds), schemas, strict=False))
    paths: dict[str, Object] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.value] = _operation(endpoint, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Posthouse",
            "version": version("posthouse"),
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "this house"}],
        "security": [{"key": []}],
        "tags": [{"name": group} for group in dict.fromkeys(endpoint.group for endpoint in endpoints)],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": {"Problem": _problem_response()},
            "schemas": {name: _tidy(schema) for name, schema in sorted(components.items())},
        },
    }


def encoded() -> bytes:
    """The document as it is served and checked in: indented, with a final newline."""
    return msgspec.json.format(msgspec.json.encode(document()), indent=1) + b"\n"


def _kinds(endpoint: Endpoint) -> list[object]:
    bodies = [*endpoint.posts, endpoint.answer]
    return [body.kind for body in bodies if body.kind is not None] + [p.kind for p in endpoint.parameters]


def _operation(endpoint: Endpoint, schema_of: Mapping[str, object]) -> Object:
    operation: Object = {
        "operationId": endpoint.id,
        "tags": [endpoint.group],
        "summary": endpoint.summary,
        "description": f"{endpoint.description}\n\nScope: `{endpoint.scope}`.".strip(),
    }
    if endpoint.parameters:
        operation["parameters"] = [_parameter(p, schema_of) for p in endpoint.parameters]
    if endpoint.posts:
        operation["requestBody"] = {
            "required": True,
            "content": {body.media_type: _content(body, schema_of) for body in endpoint.posts},
        }
    answer = endpoint.answer
    refusals = {*_EVERYWHERE, *endpoint.refusals, *(_WITH_BODY if endpoint.posts else ())}
    operation["responses"] = {
        str(endpoint.status.value): {
            "description": endpoint.status.phrase,
            "content": {answer.media_type: _content(answer, schema_of)},
        },
        **{str(status.value): {"$ref": "#/components/responses/Problem"} for status in sorted(refusals)},
    }
    return operation


def _parameter(parameter: Parameter, schema_of: Mapping[str, object]) -> Object:
    described: Object = {
        "name": parameter.name,
        "in": parameter.place.value,
        "description": parameter.description,
        "required": parameter.required or parameter.place is Place.PATH,
        "schema": _tidy(schema_of[repr(parameter.kind)]),
    }
    if parameter.example is not None:
        described["example"] = parameter.example
    return described


def _content(body: Body, schema_of: Mapping[str, object]) -> Object:
    schema = {"type": "string"} if body.kind is None else _tidy(schema_of[repr(body.kind)])
    return {"schema": schema, "example": body.example}


def _problem_response() -> Object:
    example: Json = {
        "type": "urn:posthouse:problem:missing_required_field",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "A mail needs a subject.",
        "instance": "6f0b1f3e53a15d5c9c0a3d1f6f6b7a11",
        "code": "missing_required_field",
        "errors": [
            {"pointer": "/subject", "code": "missing_required_field", "detail": "A mail needs a subject."}
        ],
        "statusCode": 422,
        "name": "missing_required_field",
        "message": "/subject: A mail needs a subject.",
    }
    content = {"schema": {"$ref": _REF.format(name="Problem")}, "example": example}
    return {
        "description": "Why it was refused, and what to do. Clients that accept only application/json get "
        "the same body under that name.",
        "content": {MEDIA_TYPE: content, "application/json": content},
    }


def _tidy(schema: object) -> object:
    """Descriptions on one line, and anchors as JSON Schema knows them (ECMA-262)."""
    match schema:
        case dict():
            tidy = {key: _tidy(value) for key, value in schema.items()}
            if isinstance(pattern := tidy.get("pattern"), str):
                tidy["pattern"] = pattern.replace(r"\A", "^").replace(r"\Z", "$")
            if isinstance(text := tidy.get("description"), str):
                tidy["description"] = re.sub(r"\s+", " ", text)
            return tidy
        case list():
            return [_tidy(item) for item in schema]
        case _:
            return schema
