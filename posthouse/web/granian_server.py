"""The API on granian: its own threads read and write HTTP, beside the loop that runs the application."""

import asyncio
import resource
from collections.abc import Awaitable, Callable

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from posthouse.web.server import Sharing, listening

_BACKLOG = 2048
#: Above this, clients wait in the backlog. granian's own bound is the backlog: 2,048 connections that say
#: nothing would shut everybody else out until they are cut off.
_MAX_CONNECTIONS = 16_384
_OTHER_FILES = 256  # of the database's pools, logs and the like
#: For a request's line and headers, from the first byte or, between two requests, from the last answer.
_HEADER_SECONDS = 30.0
#: What a connection may hold of a head that has not come to its end, or of a body ahead of its reader.
_BUFFER_BYTES = 65_536


async def serve_on_granian(
    app: Callable[..., Awaitable[None]],
    host: str,
    port: int,
    stop: asyncio.Event,
    *,
    sharing: Sharing = Sharing.ALONE,
    header_seconds: float = _HEADER_SECONDS,
) -> None:
    """As web.server.serve, which stays the one for the roles that readers and probes reach. A client whose
    headers do not come to their end within `header_seconds` is cut off.

    Raises OSError when the address cannot be bound.
    """
    if sharing is Sharing.ALONE:
        _refuse_taken(host, port)
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        backpressure=_most_connections(),
        http1_settings=HTTP1Settings(
            header_read_timeout=int(header_seconds * 1000), max_buffer_size=_BUFFER_BYTES
        ),
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve(), name="granian")
    told = asyncio.create_task(stop.wait(), name="granian stop")
    await asyncio.wait((serving, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    server.interrupt_signal = True
    server.main_loop_interrupt.set()
    await serving


def _most_connections() -> int:
    """Each is an open file, and a process usually begins with room for 1,024: it takes what it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_CONNECTIONS + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    files = wanted if soft == resource.RLIM_INFINITY else min(wanted, soft)
    return max(1, files - _OTHER_FILES)


def _refuse_taken(host: str, port: int) -> None:
    """granian shares a port with whoever shares it too: a second house would get half of our requests."""
    listening(host, port).close()
