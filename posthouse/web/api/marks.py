"""What goes with every request whatever it asks: its id, its trace, and headers for its answer."""

import os
import re
from contextvars import ContextVar

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from posthouse.trace import new_trace, read_trace, traceparent_of

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")

#: The id of the request that is being answered.
request_id: ContextVar[str] = ContextVar("request_id", default="")

#: Headers for its answer, be it what was asked for or a problem.
_more_headers: ContextVar[list[tuple[bytes, bytes]]] = ContextVar("more_headers")


def add_headers(headers: list[tuple[bytes, bytes]]) -> None:
    """To the answer that this request will get."""
    _more_headers.get().extend(headers)


def with_marks(app: ASGIApp) -> ASGIApp:
    """Each request has an id, the client's X-Request-Id or a new one, and a trace, the client's or a new one:
    both are in the answer and in the logs."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        named = dict(scope["headers"])
        sent_id = named.get(b"x-request-id", b"")
        identifier = sent_id if _REQUEST_ID.fullmatch(sent_id) else os.urandom(16).hex().encode("ascii")
        trace = read_trace(named.get(b"traceparent", b"")) or new_trace()
        request_id.set(identifier.decode("ascii"))
        structlog.contextvars.bind_contextvars(request_id=identifier.decode("ascii"), trace_id=trace.trace_id)
        more = [(b"x-request-id", identifier), (b"traceparent", traceparent_of(trace).encode("ascii"))]
        _more_headers.set(more)

        async def send_with_marks(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await app(scope, receive, send_with_marks)

    return wrapped
