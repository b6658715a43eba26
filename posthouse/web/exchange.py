"""One HTTP request and its answer, as little of ASGI 3.0 as an endpoint for readers needs."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias, TypedDict

BODY_LIMIT: Final = 65_536  # bytes read of a request; what is sent beyond is not looked at


class Scope(TypedDict, total=False):
    type: str
    method: str
    path: str
    headers: Iterable[tuple[bytes, bytes]]


class Message(TypedDict, total=False):
    type: str
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    more_body: bool


Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Asgi: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


#: For everything that is said to one reader and means nothing to the next.
NO_STORE: Final = (
    (b"cache-control", b"no-store, private"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


def plain(status: int, text: str, content_type: str = "text/plain; charset=utf-8") -> Answer:
    return Answer(status, (*NO_STORE, (b"content-type", content_type.encode("ascii"))), f"{text}\n".encode())


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that (lower-case) name; None when there is none."""
    for found, value in scope["headers"]:
        if found == name:
            return value.decode("latin-1")
    return None


async def body_came(receive: Receive) -> bool:
    """Read the request's body and forget it; False when the client left before it was whole."""
    size = 0
    while size <= BODY_LIMIT:
        message = await receive()
        if message["type"] != "http.request":
            return False
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return True
    return True


async def send_answer(answer: Answer, send: Send, *, with_body: bool) -> None:
    """HEAD gets every header that GET would (RFC 9110 section 9.3.2), and no body."""
    length = (b"content-length", b"%d" % len(answer.body))
    await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, length]})
    await send({"type": "http.response.body", "body": answer.body if with_body else b""})


async def live(receive: Receive, send: Send) -> None:
    """The lifespan protocol of an application that has nothing to start or stop."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
