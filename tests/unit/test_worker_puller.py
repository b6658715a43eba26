"""Callbacks that wait at the relay: given back as stored only when they are, whatever fails in between."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from posthouse.clock import ManualClock
from posthouse.domain.errors import NotNow
from posthouse.domain.ids import RelayAccount
from posthouse.net.client import HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import Fetched, RawCallback
from posthouse.relays.ses.api import AwsApi, endpoint
from posthouse.relays.ses.sigv4 import Credentials, Scope
from posthouse.relays.ses.sqs import SqsQueue
from posthouse.telemetry import Metrics
from posthouse.worker.puller import pull, step

ACCOUNT = RelayAccount("ses")


class Queue:
    """Two callbacks, until they are given back as stored."""

    account = ACCOUNT

    def __init__(self) -> None:
        self.waiting = {"r1": b"one", "r2": b"two"}
        self.broken = False

    async def fetch(self) -> list[Fetched]:
        await asyncio.sleep(0)
        return [
            Fetched(RawCallback("ses", ACCOUNT, {}, body), receipt) for receipt, body in self.waiting.items()
        ]

    async def stored(self, fetched: Sequence[Fetched]) -> None:
        if self.broken:
            raise NotNow("the queue is away", retry_after=0.0)
        for one in fetched:
            del self.waiting[one.receipt]

    async def close(self) -> None: ...


class Sink:
    def __init__(self) -> None:
        self.stored: list[bytes] = []
        self.away = False

    async def append(self, callbacks: Sequence[RawCallback]) -> None:
        if self.away:
            raise NotNow("the database is away", retry_after=0.0)
        self.stored += [callback.body for callback in callbacks]


async def test_what_is_stored_is_given_back_as_stored() -> None:
    queue, sink, metrics = Queue(), Sink(), Metrics()
    assert await step(queue, sink, metrics) == 2
    assert (sink.stored, queue.waiting) == ([b"one", b"two"], {})
    assert await step(queue, sink, metrics) == 0
    counted = metrics.registry.get_sample_value(
        "posthouse_callbacks_total", {"relay": "ses", "account": "ses", "result": "pulled"}
    )
    assert counted == 2


async def test_while_nothing_can_be_stored_nothing_is_given_back() -> None:
    queue, sink = Queue(), Sink()
    sink.away = True
    with pytest.raises(NotNow):
        await step(queue, sink, Metrics())
    assert len(queue.waiting) == 2


async def test_a_queue_that_is_away_after_the_storing_brings_them_again() -> None:
    queue, sink = Queue(), Sink()
    queue.broken = True
    with pytest.raises(NotNow):
        await step(queue, sink, Metrics())
    queue.broken = False
    await step(queue, sink, Metrics())
    assert sink.stored == [b"one", b"two"] * 2, "events keep their ids, so twice is once"


async def test_pulling_goes_on_after_trouble_until_it_is_cancelled() -> None:
    queue, sink = Queue(), Sink()
    sink.away = True
    pulling = asyncio.create_task(pull(queue, sink, Metrics()))
    for _ in range(10):
        await asyncio.sleep(0)
    sink.away = False
    async with asyncio.timeout(5):
        while queue.waiting:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
    pulling.cancel()
    with suppress(asyncio.CancelledError):
        await pulling
    assert sink.stored == [b"one", b"two"]


PROGRAM = """
import asyncio, sys
sys.path.insert(0, "tests/unit")
from test_worker_puller import Metrics, Queue, Sink, step

queue, sink = Queue(), Sink()
try:
    asyncio.run(step(queue, sink, Metrics()))
finally:
    print(len(sink.stored), len(queue.waiting), flush=True)
"""


async def test_a_death_between_storing_and_giving_back_leaves_them_with_the_relay(tmp_path: Path) -> None:
    """In a process of its own, since points are armed by the environment at the start."""
    hits = tmp_path / "hits"
    armed = {
        **os.environ,
        "POSTHOUSE_FAILPOINTS": "puller.stored=raise",
        "POSTHOUSE_FAILPOINT_LOG": str(hits),
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        env=armed,
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, _ = await child.communicate()
    assert (said, hits.exists()) == (b"2 2\n", True)


ANSWERS = {
    b"": "cannot be read",
    b"[]": "cannot be read",
    json.dumps({"Messages": 5}).encode(): "cannot be read",
}


@pytest.mark.parametrize(("body", "why"), ANSWERS.items())
async def test_an_answer_that_cannot_be_read_is_for_later(body: bytes, why: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"X-Amz-Target: AmazonSQS.ReceiveMessage" in head
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        queue = queue_at(f"http://{host}/", frozenset({host}))
        with pytest.raises(NotNow, match=why):
            await queue.fetch()
        await queue.close()


async def test_a_queue_that_does_not_answer_is_for_later() -> None:
    queue = queue_at("http://127.0.0.1:1/", frozenset({"127.0.0.1:1"}))
    with pytest.raises(NotNow, match="does not answer"):
        await queue.fetch()
    await queue.close()


def queue_at(url: str, allowed: frozenset[str]) -> SqsQueue:
    api = AwsApi(HttpClient(EgressPolicy(allowed)), lambda: Credentials("AKIA", "x"), ManualClock())
    where = endpoint(url, Scope("eu-west-1", "sqs"), "queue_url")
    return SqsQueue(ACCOUNT, where, f"{url}123456789012/events", api)
