"""A refusal that its client gets to see: what it is still sending is taken and thrown away first.

The server closes the connection of a request whose body nobody read; a client in the middle of writing that
body then sees a broken pipe in place of the answer.
"""

import asyncio
from http import HTTPStatus
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

#: So much is thrown away for a client, and for so long; one that sends on after that loses its answer.
_MOST_BYTES: Final = 100_000_000
_SECONDS: Final = 5.0


def with_unread_taken(app: ASGIApp) -> ASGIApp:
    """Refusals wait for the end of the body, within bounds; one for slowness does not, since it waited."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        ended = False

        async def receive_and_see() -> ReceiveMessage:
            nonlocal ended
            message = await receive()
            ended = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def send_when_taken(message: Message) -> None:
            if message["type"] == "http.response.start" and not ended and _refuses(message["status"]):
                await _take(receive)
            await send(message)

        await app(scope, receive_and_see, send_when_taken)

    return wrapped


def _refuses(status: int) -> bool:
    return status >= HTTPStatus.BAD_REQUEST and status != HTTPStatus.REQUEST_TIMEOUT


async def _take(receive: Receive) -> None:
    taken, more = 0, True
    try:
        async with asyncio.timeout(_SECONDS):
            while more and taken <= _MOST_BYTES:
                message = await receive()
                if message["type"] != "http.request":
                    return
                taken += len(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError:
        return
