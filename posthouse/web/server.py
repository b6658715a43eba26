"""A server that runs an ASGI application inside the current loop."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import Enum

import uvicorn

DRAIN_SECONDS = 10
_BACKLOG = 2048


class Sharing(Enum):
    """Who answers on a port: one process, or several, among which the kernel deals out the connections."""

    ALONE = "alone"
    SHARED = "shared"


async def serve(
    app: Callable[..., Awaitable[None]],
    host: str,
    port: int,
    stop: asyncio.Event,
    sharing: Sharing = Sharing.ALONE,
) -> None:
    """Answer requests until `stop` is set; those under way then have `DRAIN_SECONDS` to end.

    `app` is any ASGI application. Raises OSError when the address cannot be bound.
    """
    with listening(host, port, sharing) as listener:
        server = _Server(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )
        watching = asyncio.create_task(_exit_when(stop, server), name="stop watcher")
        try:
            await server.serve(sockets=[listener])
        finally:
            watching.cancel()


def listening(host: str, port: int, sharing: Sharing = Sharing.ALONE) -> socket.socket:
    """Bound by us, since the server would end the whole process if it could not.

    asyncio switches Nagle's algorithm off only where the protocol is named; with it on, an answer's body
    waits 40 ms for the client to acknowledge the answer's head.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sharing is Sharing.SHARED:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """A server among other tasks: signals are the process's own business."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _exit_when(stop: asyncio.Event, server: uvicorn.Server) -> None:
    await stop.wait()
    server.should_exit = True
