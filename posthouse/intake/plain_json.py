"""JSON and text that PostgreSQL, UTF-8 and the template engine can all hold."""

import re

import msgspec

from posthouse.domain.errors import InvalidInput

MAX_DEPTH = 32
#: An escaped NUL, and not a backslash that is followed by the letters.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_read_object = msgspec.json.Decoder(dict[str, object]).decode


def check_text(text: str, pointer: str) -> None:
    """Refuse NUL, which PostgreSQL's text cannot hold, and lone surrogates, which UTF-8 cannot.

    Raises InvalidInput.
    """
    if "\x00" in text:
        raise _nul(pointer)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _half(pointer) from error


def read_object(raw: bytes, pointer: str) -> dict[str, object]:
    """A JSON object. Raises InvalidInput."""
    try:
        return _read_object(raw)
    except RecursionError as error:
        raise _too_deep(pointer) from error
    except ValueError as error:
        raise InvalidInput(f"This is not a JSON object: {error}.", pointer=pointer) from error


def check_json(value: object, pointer: str) -> bytes:
    """The value as JSON text that jsonb can hold, keys as they came. Raises InvalidInput."""
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        raise _half(pointer) from error
    except RecursionError as error:
        raise _too_deep(pointer) from error
    # Nothing can be deeper than it has brackets: few values need to be walked through.
    if encoded.count(b"{") + encoded.count(b"[") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise _too_deep(pointer)
    if b"\\u0000" in encoded and _NUL.search(encoded):
        raise _nul(pointer)
    return encoded


def _deeper_than(value: object, limit: int) -> bool:
    layer = [value]
    for _ in range(limit + 1):
        layer = [inner for outer in layer for inner in _inner(outer)]
        if not layer:
            return False
    return True


def _inner(value: object) -> list[object]:
    match value:
        case dict():
            return [inner for inner in value.values() if isinstance(inner, dict | list)]
        case list():
            return [inner for inner in value if isinstance(inner, dict | list)]
        case _:
            return []


def _too_deep(pointer: str) -> InvalidInput:
    return InvalidInput(
        f"This is nested deeper than {MAX_DEPTH} levels.", code="nested_too_deep", pointer=pointer
    )


def _nul(pointer: str) -> InvalidInput:
    return InvalidInput("This holds a NUL character.", code="invalid_text", pointer=pointer)


def _half(pointer: str) -> InvalidInput:
    return InvalidInput(
        "This holds half a character (a lone surrogate).", code="invalid_text", pointer=pointer
    )
