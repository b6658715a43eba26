"""Cursors: where a page of a list ended, opaque to clients so that lists may change how they are walked."""

import base64
from typing import TypeVar

import msgspec

from posthouse.domain.errors import InvalidInput

T = TypeVar("T")


def to_cursor(place: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode("ascii")


def from_cursor(cursor: str, kind: type[T]) -> T:
    """Raises InvalidInput for what no answer of ours has held."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=kind)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            "This is no cursor of this list: pass next_cursor as you got it.", code="invalid_cursor"
        ) from error
