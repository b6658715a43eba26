"""The API on granian: its own threads read and write HTTP, beside the loop that runs the application."""

import asyncio
from collections.abc import Awaitable, Callable

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from posthouse.web.server import listening

_BACKLOG = 2048


async def serve_on_granian(
    app: Callable[..., Awaitable[None]], host: str, port: int, stop: asyncio.Event
) -> None:
    """As web.server.serve, which stays the one for the roles that readers and probes reach.

    Raises OSError when the address cannot be bound.
    """
    _refuse_taken(host, port)
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve(), name="granian")
    told = asyncio.create_task(stop.wait(), name="granian stop")
    await asyncio.wait((serving, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    server.interrupt_signal = True
    server.main_loop_interrupt.set()
    await serving


def _refuse_taken(host: str, port: int) -> None:
    """granian shares a port with whoever shares it too: a second house would get half of our requests."""
    listening(host, port).close()
