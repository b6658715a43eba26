"""The server itself, under an application that does next to nothing."""

import asyncio
import contextlib
import socket
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine

import aiohttp
import pytest
from api_house import free_port, until_listening
from litestar.types import Receive, Scope, Send

from posthouse.web.granian_server import serve_on_granian
from posthouse.web.server import serve


class Slow:
    """Answers when it may."""

    def __init__(self, *, open_: bool) -> None:
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        if open_:
            self.gate.set()

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        self.asked.set()
        await self.gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok", "more_body": False})


Serve = Callable[[Slow, str, int, asyncio.Event], Coroutine[None, None, None]]


@pytest.fixture(params=[serve, serve_on_granian])
def serve_it(request: pytest.FixtureRequest) -> Serve:
    chosen: Serve = request.param
    return chosen


@contextlib.asynccontextmanager
async def served(app: Slow, serve: Serve) -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Task[None]]]:
    port, stop = free_port(), asyncio.Event()
    server = asyncio.create_task(serve(app, "127.0.0.1", port, stop))
    await until_listening(port)
    yield f"http://127.0.0.1:{port}/", stop, server
    stop.set()
    await server


async def test_a_request_under_way_is_answered_before_the_end(serve_it: Serve) -> None:
    app = Slow(open_=False)
    async with served(app, serve_it) as (url, stop, server), aiohttp.ClientSession() as client:
        request = asyncio.create_task(client.get(url))
        await app.asked.wait()
        stop.set()
        app.gate.set()
        async with await request as response:
            assert (response.status, await response.read()) == (200, b"ok")
        await server


async def test_an_answer_does_not_wait_for_the_clients_acknowledgement(serve_it: Serve) -> None:
    """Head and body are two writes: with Nagle's algorithm the second waits for a delayed ACK, 40 ms."""
    took = []
    async with served(Slow(open_=True), serve_it) as (url, _, _), aiohttp.ClientSession() as client:
        for _ in range(30):
            start = time.perf_counter()
            async with client.get(url) as response:
                await response.read()
            took.append(time.perf_counter() - start)
    assert statistics.median(took) < 0.03


async def test_an_address_in_use_is_an_error_not_an_exit(serve_it: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await serve_it(Slow(open_=True), "127.0.0.1", taken.getsockname()[1], asyncio.Event())
