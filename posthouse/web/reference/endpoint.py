"""One endpoint as the reference describes it. The routes are the truth: a test compares the two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TypeAlias

from posthouse.storage.keys import KeyScope

#: Plain JSON, for examples.
Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"


class Method(StrEnum):
    GET = "get"
    POST = "post"
    PATCH = "patch"
    DELETE = "delete"


class Place(StrEnum):
    PATH = "path"
    QUERY = "query"
    HEADER = "header"


@dataclass(frozen=True, slots=True)
class Parameter:
    """`kind` is the type of its value, as the schemas know types."""

    name: str
    place: Place
    kind: object
    description: str
    example: str | int | bool | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent or answered. `kind` None: no JSON; then `media_type` says what it is."""

    kind: object
    example: Json
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`id` names the operation in generated clients. `refusals`: the statuses that are this endpoint's own;
    those of every endpoint (401, 429, 503, ...) are added to them."""

    method: Method
    path: str
    id: str
    group: str
    summary: str
    answer: Body
    scope: KeyScope
    description: str = ""
    status: HTTPStatus = HTTPStatus.OK
    parameters: tuple[Parameter, ...] = ()
    posts: tuple[Body, ...] = ()
    refusals: tuple[HTTPStatus, ...] = ()


def path(name: str, kind: object, description: str, example: str | int) -> Parameter:
    return Parameter(name, Place.PATH, kind, description, example, required=True)


def query(
    name: str,
    kind: object,
    description: str,
    example: str | int | bool | None = None,
    *,
    required: bool = False,
) -> Parameter:
    return Parameter(name, Place.QUERY, kind, description, example, required)


LIMIT = query("limit", int, "Entries of a page, 1 to 100.", 20)
CURSOR = query("cursor", str, "next_cursor of the page before.")
