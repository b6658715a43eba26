"""The door: what is verified, what is stored, and what each caller is told."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from posthouse.bus.port import CallbackBatch
from posthouse.domain.errors import NotNow
from posthouse.domain.event import Event
from posthouse.domain.ids import RelayAccount
from posthouse.ingest.receive import Received, Receiver
from posthouse.relays.base import RawCallback, Unplaced

ACCOUNT = RelayAccount("sg")


class Log:
    """Keeps what is appended; full when told so."""

    def __init__(self, *, away: bool = False) -> None:
        self.stored: list[RawCallback] = []
        self.away = away

    async def append(self, callbacks: Sequence[RawCallback]) -> None:
        if self.away:
            raise NotNow("the database is away")
        self.stored.extend(callbacks)

    def read(self, limit: int) -> AbstractAsyncContextManager[CallbackBatch]:
        raise NotImplementedError

    async def wait(self, timeout: float) -> None:
        raise NotImplementedError


class SignedOk:
    """Genuine is what says so."""

    relay = "sendgrid"
    account = ACCOUNT

    def __init__(self) -> None:
        self.asked = 0

    def verify(self, callback: RawCallback) -> bool:
        self.asked += 1
        return callback.headers.get("signature") == "ok"

    def parse(self, callback: RawCallback) -> tuple[list[Event], list[Unplaced]]:
        raise AssertionError("nothing is parsed at the door")


def callback(
    body: bytes = b"[]", *, relay: str = "sendgrid", account: str = "sg", signature: str = "ok"
) -> RawCallback:
    return RawCallback(relay, RelayAccount(account), {"signature": signature}, body)


def receiver(log: Log, reader: SignedOk | None = None) -> Receiver:
    return Receiver({("sendgrid", ACCOUNT): reader or SignedOk()}, log, max_bytes=100)


async def test_a_genuine_callback_is_stored_as_it_came() -> None:
    log = Log()
    genuine = callback(b"\xff\x00 raw")
    assert await receiver(log).receive(genuine) is Received.STORED
    assert log.stored == [genuine]


@pytest.mark.parametrize(
    ("sent", "told", "status"),
    [
        (callback(relay="mailgun"), Received.UNKNOWN_ACCOUNT, 404),
        (callback(account="other"), Received.UNKNOWN_ACCOUNT, 404),
        (callback(signature="forged"), Received.BAD_SIGNATURE, 401),
        (callback(b"x" * 101), Received.TOO_LARGE, 413),
        (callback(b"x" * 101, account="other"), Received.UNKNOWN_ACCOUNT, 404),
    ],
)
async def test_what_is_refused_is_not_stored(sent: RawCallback, told: Received, status: int) -> None:
    log = Log()
    assert await receiver(log).receive(sent) is told
    assert told == status
    assert log.stored == []


async def test_a_body_that_is_too_large_is_not_even_hashed() -> None:
    reader = SignedOk()
    await receiver(Log(), reader).receive(callback(b"x" * 101))
    assert reader.asked == 0


async def test_our_own_outage_is_503() -> None:
    told = await receiver(Log(away=True)).receive(callback())
    assert told is Received.UNAVAILABLE
    assert told.value == 503


async def test_the_failpoint_lies_between_the_log_and_the_answer(tmp_path: Path) -> None:
    """In a process of its own, since points are armed by the environment at the start."""
    hits = tmp_path / "hits"
    program = (
        "import asyncio, sys; sys.path.insert(0, 'tests/unit'); import test_ingest_receive as t\n"
        "log = t.Log()\n"
        "try: asyncio.run(t.receiver(log).receive(t.callback()))\n"
        "finally: print(len(log.stored))\n"
    )
    armed = {
        **os.environ,
        "POSTHOUSE_FAILPOINTS": "receiver.stored=raise",
        "POSTHOUSE_FAILPOINT_LOG": str(hits),
    }
    root = Path(__file__).parents[2]
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], env=armed, cwd=root, capture_output=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stdout == b"1\n"
    assert hits.read_text().startswith("receiver.stored ")
