"""Clients that take their time, leave, or only come to stay: nobody else notices."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from api_house import ApiHouse, looking, running_api, serving

from posthouse.storage.db import Database
from posthouse.web.api.body import Bodies

MAIL = {"from": "Shop <orders@shop.example>", "to": "jane@inbox.test", "subject": "Hi", "text": "Hello"}
_CROWD = 10_000
_BYTES_EACH = 20_000  # of memory; a connection that says nothing takes about half of it
_QUERIES = "-- name: jobs\nSELECT count(*) FROM email_job;\n"


@pytest_asyncio.fixture
async def api(database: Database) -> AsyncIterator[ApiHouse]:
    async with running_api(database) as house:
        yield house


def port_of(base: str) -> int:
    return int(base.rpartition(":")[2])


@pytest.mark.parametrize(
    "begun",
    [b"", b"POST /v1/em", b"POST /v1/emails HTTP/1.1\r\nHost: x\r\nAuthoriz", b"GET /healthz HTTP/1.1\r\n"],
)
async def test_headers_that_do_not_end_are_not_waited_for(api: ApiHouse, begun: bytes) -> None:
    async with serving(api.deps, header_seconds=0.2) as base, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(base))
        writer.write(begun)
        answer = await reader.read()
        writer.close()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")


async def test_headers_that_dribble_have_no_more_time(api: ApiHouse) -> None:
    """A byte now and then does not begin the time anew."""
    async with serving(api.deps, header_seconds=0.3) as base, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(base))
        writer.write(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        ended = asyncio.create_task(reader.read())
        while not ended.done():
            writer.write(b"x")
            await asyncio.wait({ended}, timeout=0.02)
        writer.close()


async def test_headers_without_end_are_refused_whatever_their_speed(api: ApiHouse) -> None:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(api.base))
        writer.write(b"GET /healthz HTTP/1.1\r\nX-Large: " + b"x" * 1_000_000)
        assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
        writer.close()


async def test_who_leaves_in_mid_body_takes_no_room_along(
    api: ApiHouse, pg_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = replace(api.deps, bodies=Bodies(max_bytes=10_000, room_bytes=10_000))
    body = json.dumps({**MAIL, "text": "x" * 9000}).encode()
    async with serving(narrow) as base:
        for _ in range(20):
            await _begin_and_leave(replace(api, base=base), body)
        async with asyncio.timeout(10):
            while (
                answer := await replace(api, base=base).call("POST", "/v1/emails", raw=body)
            ).status == 503:
                pass  # the last of them may not have been missed yet
    assert answer.status == 202
    assert "request_failed" not in capsys.readouterr().out
    async with looking(pg_dsn, _QUERIES) as wire:
        assert await wire.value(int, "jobs") == 1


async def _begin_and_leave(api: ApiHouse, body: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(api.base))
    lines = ("POST /v1/emails HTTP/1.1", "Host: x", f"Authorization: Bearer {api.secret}")
    writer.write("\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode() + body[:-1])
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_ten_thousand_connections_that_say_nothing_are_in_nobodys_way(api: ApiHouse) -> None:
    before = _memory()
    async with _crowd(port_of(api.base)) as opened:
        assert opened == _CROWD
        async with asyncio.timeout(5):
            for _ in range(10):
                assert (await api.call("POST", "/v1/emails", MAIL)).status == 202
                await _newcomer_is_served(api)
        assert _memory() - before < _CROWD * _BYTES_EACH
    async with asyncio.timeout(10):
        await _newcomer_is_served(api)
        assert (await api.call("POST", "/v1/emails", MAIL)).status == 202


async def _newcomer_is_served(api: ApiHouse) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(api.base))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()


@asynccontextmanager
async def _crowd(port: int) -> AsyncIterator[int]:
    """How many came. They leave, all at once and without a word, when the block ends."""
    program = str(Path(__file__).with_name("crowd.py"))
    crowd = await asyncio.create_subprocess_exec(
        *(sys.executable, program, str(port), str(_CROWD)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert crowd.stdin is not None
    assert crowd.stdout is not None
    try:
        async with asyncio.timeout(60):
            came = int(await crowd.stdout.readline())
        yield came
    finally:
        crowd.stdin.close()
        await crowd.wait()


def _memory() -> int:
    """Bytes that this process, the server in it, holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
