"""The API as one ASGI application, and a server that runs an application inside the current loop."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial

import uvicorn
from litestar import Litestar, Router
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from posthouse.domain.errors import PosthouseError
from posthouse.web import webhooks
from posthouse.web.api import (
    batch,
    changes,
    email_list,
    emails,
    health,
    keys,
    sending,
    suppression_bulk,
    suppression_why,
    suppressions,
    template_diff,
    template_render,
    template_views,
    templates,
)
from posthouse.web.api import webhooks as outgoing
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.marks import with_marks
from posthouse.web.api.problems import on_bug, on_house_error, on_http_error
from posthouse.web.reference.routes import routes as reference_routes
from posthouse.web.short_way import Route, with_short_way
from posthouse.web.unread import with_unread_taken

DRAIN_SECONDS = 10
_BACKLOG = 2048


def build_api(deps: ApiDeps) -> ASGIApp:
    """Everything that the API role answers."""
    v1 = Router(path="/v1", route_handlers=v1_routes(deps))
    framework = Litestar(
        route_handlers=[v1, *health.routes(deps), *reference_routes(), *webhooks.routes(deps)],
        exception_handlers={
            PosthouseError: on_house_error,
            HTTPException: on_http_error,
            Exception: on_bug,
        },
        openapi_config=None,
        logging_config=None,  # the house's own: the framework's would write what is not redacted
        request_max_body_size=None,  # `Bodies` bounds them, and answers in our words
    )
    posts: dict[str, Route] = {
        "/v1/emails": partial(sending.send_one, deps),
        "/v1/emails/batch": partial(batch.send_batch, deps),
        **webhooks.short_ways(deps),
    }
    return with_marks(with_unread_taken(with_short_way(framework, posts)))


def v1_routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    """The routes under /v1; web/reference describes each."""
    return [
        *sending.routes(deps),
        *batch.routes(deps),
        *emails.routes(deps),
        *email_list.routes(deps),
        *changes.routes(deps),
        *templates.routes(deps),
        *template_views.routes(deps),
        *template_diff.routes(deps),
        *template_render.routes(deps),
        *suppressions.routes(deps),
        *suppression_why.routes(deps),
        *suppression_bulk.routes(deps),
        *keys.routes(deps),
        *outgoing.routes(deps),
    ]


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
