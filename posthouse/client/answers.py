"""What the house answers. Fields that are not known here are passed over, so that it may say more one day."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Json: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Recipient:
    id: str
    email: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A mail that is stored. `replayed`: the same call was answered before; nothing is sent twice."""

    id: str
    status: str
    recipients: tuple[Recipient, ...]
    replayed: bool


@dataclass(frozen=True, slots=True)
class BatchProblem:
    """A mail of a batch that was not accepted, by its place, counted from 0."""

    index: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class BatchAccepted:
    """Ids of the accepted mails in the order posted, and the others."""

    ids: tuple[str, ...]
    errors: tuple[BatchProblem, ...]
    replayed: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Entries of a list as the house sends them, and the cursor of the next page; None: this was the last."""

    data: tuple[Json, ...]
    next_cursor: str | None


def accepted(body: Json, replayed: bool) -> Accepted:
    found = tuple(Recipient(str(one["id"]), str(one["email"])) for one in _objects(body["recipients"]))
    return Accepted(str(body["id"]), str(body["status"]), found, replayed)


def batch_accepted(body: Json, replayed: bool) -> BatchAccepted:
    errors = tuple(
        BatchProblem(int(str(one["index"])), str(one.get("code", "")), str(one["message"]))
        for one in _objects(body.get("errors", []))
    )
    return BatchAccepted(tuple(str(one["id"]) for one in _objects(body["data"])), errors, replayed)


def page(body: Json) -> Page:
    cursor = body.get("next_cursor")
    return Page(tuple(_objects(body["data"])), None if cursor is None else str(cursor))


def _objects(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
