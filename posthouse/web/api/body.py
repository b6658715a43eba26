"""Request bodies: read within bounds, and decoded with a pointer to what is wrong."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TypeVar

import msgspec

from posthouse.domain.errors import InvalidInput, NotNow
from posthouse.web.api.problems import ApiRequest, HttpError

T = TypeVar("T")

_READ_SECONDS = 30.0
_STREAM_SECONDS = 600.0
_ROOM_BYTES = 128_000_000  # for the bodies of all requests together

_WHERE = re.compile(r" - at (?:`key` in )?`\$(?P<path>[^`]*)`\Z")
_STEP = re.compile(r"\.([A-Za-z0-9_]+)|\[(\d+)\]|\[\.\.\.\]")
#: The escape of a surrogate without its other half.
_HALF = re.compile(
    rb"\\u(?:[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u)[dD][c-fC-F][0-9a-fA-F]{2})"
)
_skip = msgspec.json.Decoder(msgspec.Raw).decode
_FIELD = re.compile(r"(?P<what>unknown|missing required) field `(?P<name>.{0,100})", re.DOTALL)


class HalfACharacter(InvalidInput):
    """JSON in all but this: a text that UTF-8 cannot express."""

    code = "invalid_text"


class Bodies:
    """Reads bodies, and bounds what all of them together hold in memory."""

    def __init__(
        self, *, max_bytes: int, room_bytes: int = _ROOM_BYTES, read_seconds: float = _READ_SECONDS
    ) -> None:
        self._max_bytes = max_bytes
        self._read_seconds = read_seconds
        self._room = max(room_bytes, max_bytes)

    @asynccontextmanager
    async def read(self, request: ApiRequest) -> AsyncIterator[bytes]:
        """The body; its room is taken until the block ends. A body that is too large is refused as soon as
        that is known. What still comes of it is thrown away by the server: closing the connection on a
        client that is still sending would cost it our answer.

        Raises HttpError (408, 413) and NotNow when there is no room.
        """
        if _declared_length(request) > self._max_bytes:
            raise _too_large(self._max_bytes)
        taken = 0
        try:
            chunks: list[bytes] = []
            try:
                async with asyncio.timeout(self._read_seconds):
                    async for chunk in _chunks(request):
                        self._room -= len(chunk)
                        taken += len(chunk)
                        chunks.append(chunk)
                        if taken > self._max_bytes:
                            raise _too_large(self._max_bytes)
                        if self._room < 0:
                            raise NotNow("Too many large requests at once; try again.", retry_after=1.0)
            except TimeoutError as error:
                raise HttpError(
                    HTTPStatus.REQUEST_TIMEOUT,
                    f"The body did not arrive within {self._read_seconds:g} s.",
                    code="too_slow",
                ) from error
            whole = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()  # or a large body would be held twice for as long as it is used
            yield whole
        finally:
            self._room += taken


async def streamed(
    request: ApiRequest,
    *,
    max_bytes: int,
    chunk_seconds: float = _READ_SECONDS,
    whole_seconds: float = _STREAM_SECONDS,
) -> AsyncIterator[bytes]:
    """The body as it comes, for what is used before it is whole; nothing of it is kept.

    The time that the consumer takes counts, too: it may not hold a connection for ever either. Raises
    HttpError (400 when the client leaves, 408, 413).
    """
    if _declared_length(request) > max_bytes:
        raise _too_large(max_bytes)
    now = asyncio.get_running_loop().time
    end, taken, chunks = now() + whole_seconds, 0, _chunks(request)
    while True:
        try:
            async with asyncio.timeout(min(chunk_seconds, end - now())):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise HttpError(
                HTTPStatus.REQUEST_TIMEOUT, "The rest of the body did not arrive in time.", code="too_slow"
            ) from error
        taken += len(chunk)
        if taken > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


def _too_large(max_bytes: int) -> HttpError:
    return HttpError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"A request has at most {max_bytes} bytes.",
        code="body_too_large",
    )


def refuse_other_than_json(request: ApiRequest) -> None:
    """Raises HttpError (415) for a body that says it is something else, or is compressed."""
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if (media_type != "application/json" and not media_type.endswith("+json")) or encoding != "identity":
        raise HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Send JSON, uncompressed, as Content-Type: application/json.",
            code="unsupported_media_type",
        )


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Raises InvalidInput with a pointer for JSON of another shape, HttpError (400) for what is not JSON."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _wrong_shape(str(error)) from error
    except RecursionError as error:
        raise HttpError(
            HTTPStatus.BAD_REQUEST, "This JSON is nested too deep.", code="nested_too_deep"
        ) from error
    except ValueError as error:
        if _is_json(with_whole_characters(body)):
            raise HalfACharacter("A text holds half a character (a lone surrogate).") from error
        raise HttpError(
            HTTPStatus.BAD_REQUEST, f"The body is not JSON: {error}.", code="malformed_json"
        ) from error


async def _chunks(request: ApiRequest) -> AsyncIterator[bytes]:
    """The body as it comes. The framework's own iterator costs a mail 10 us more."""
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise HttpError(HTTPStatus.BAD_REQUEST, "The client left before its body was whole.", code="gone")
        assert message["type"] == "http.request"
        if chunk := message.get("body", b""):
            yield chunk
        more = message.get("more_body", False)


def _declared_length(request: ApiRequest) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def with_whole_characters(body: bytes) -> bytes:
    """Each half of a character (a lone surrogate, written as an escape) is another character instead, of the
    same length, so that all else stands where it stood."""
    if b"\0" in body or (b"\\ud" not in body and b"\\uD" not in body):  # no JSON, or nothing to find
        return body
    # Escaped backslashes are put aside: what follows one may look like an escape.
    aside = body.replace(rb"\\", b"\0\0")
    return _HALF.sub(rb"\\ufffd", aside).replace(b"\0\0", rb"\\")


def _is_json(body: bytes) -> bool:
    try:
        _skip(body)
    except (ValueError, RecursionError):
        return False
    return True


def _wrong_shape(message: str) -> InvalidInput:
    where = _WHERE.search(message)
    pointer = "" if where is None else _pointer(where["path"])
    detail = message if where is None else message[: where.start()]
    field = _FIELD.search(detail)
    code = InvalidInput.code
    if field is not None:
        name = field["name"].partition("`")[0].replace("~", "~0").replace("/", "~1")
        pointer = f"{pointer}/{name}"
        code = "unknown_field" if field["what"] == "unknown" else "missing_required_field"
    return InvalidInput(f"{detail.replace('`', '')}.", code=code, pointer=pointer)


def _pointer(path: str) -> str:
    """RFC 6901 of msgspec's path; it ends where msgspec does not say which member it was."""
    steps = []
    for name, index in _STEP.findall(path):
        if not name and not index:
            break
        steps.append(name or index)
    return "".join(f"/{step}" for step in steps)
