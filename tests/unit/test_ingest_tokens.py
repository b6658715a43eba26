"""A token counts for the body it first came with: repetitions have no effect, other bodies are refused."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from posthouse.bus.port import CallbackBatch
from posthouse.domain.errors import NotNow
from posthouse.domain.event import Event
from posthouse.domain.ids import RelayAccount
from posthouse.ingest.receive import Received, Receiver
from posthouse.ingest.tokens import Tokens, Use
from posthouse.relays.base import RawCallback, Unplaced

ACCOUNT = RelayAccount("mg")


class Reader:
    """Every callback is genuine; its token is the first word of its body."""

    relay = "mailgun"
    account = ACCOUNT

    def verify(self, callback: RawCallback) -> bool:
        return True

    def token(self, callback: RawCallback) -> str:
        return callback.body.partition(b" ")[0].decode()

    def parse(self, callback: RawCallback) -> tuple[list[Event], list[Unplaced]]:
        raise AssertionError("nothing is parsed at the door")


class Log:
    """Keeps what is appended; away, or slow, when told so."""

    def __init__(self) -> None:
        self.stored: list[bytes] = []
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, callbacks: Sequence[RawCallback]) -> None:
        await self.gate.wait()
        if self.away:
            raise NotNow("the database is away")
        self.stored += [callback.body for callback in callbacks]

    def read(self, limit: int) -> AbstractAsyncContextManager[CallbackBatch]:
        raise NotImplementedError

    async def wait(self, timeout: float) -> None:
        raise NotImplementedError


def callback(body: bytes, account: RelayAccount = ACCOUNT) -> RawCallback:
    return RawCallback("mailgun", account, {}, body)


def receiver(log: Log) -> Receiver:
    return Receiver({("mailgun", ACCOUNT): Reader()}, log)


async def test_a_repetition_is_answered_and_has_no_effect() -> None:
    log = Log()
    door = receiver(log)
    assert await door.receive(callback(b"t1 delivered")) is Received.STORED
    assert await door.receive(callback(b"t1 delivered")) is Received.STORED
    assert log.stored == [b"t1 delivered"]


async def test_another_body_around_a_known_token_is_refused_for_good() -> None:
    log = Log()
    door = receiver(log)
    await door.receive(callback(b"t1 delivered"))
    assert await door.receive(callback(b"t1 complained")) is Received.REPLAYED
    assert int(Received.REPLAYED) == 406  # which ends Mailgun's repetitions
    assert log.stored == [b"t1 delivered"]


async def test_what_could_not_be_stored_may_come_again() -> None:
    log = Log()
    door = receiver(log)
    log.away = True
    assert await door.receive(callback(b"t1 delivered")) is Received.UNAVAILABLE
    assert await door.receive(callback(b"t1 complained")) is Received.REPLAYED
    log.away = False
    assert await door.receive(callback(b"t1 delivered")) is Received.STORED
    assert log.stored == [b"t1 delivered"]


async def test_nothing_is_acknowledged_before_it_is_durable() -> None:
    """A repetition that comes while the first is being stored waits for a store of its own."""
    log = Log()
    door = receiver(log)
    log.gate.clear()
    both = [asyncio.create_task(door.receive(callback(b"t1 delivered"))) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in both)
    log.gate.set()
    assert await asyncio.gather(*both) == [Received.STORED, Received.STORED]
    assert log.stored == [b"t1 delivered"] * 2


def test_memory_is_bounded_and_keeps_the_newest() -> None:
    tokens, reader = Tokens(most=3), Reader()
    for n in range(5):
        assert tokens.use(reader, callback(b"t%d a" % n)) is Use.FIRST
    assert tokens.use(reader, callback(b"t4 b")) is Use.STOLEN
    assert tokens.use(reader, callback(b"t0 b")) is Use.FIRST


def test_accounts_have_their_own_tokens() -> None:
    tokens, reader = Tokens(), Reader()
    tokens.use(reader, callback(b"t1 a"))
    assert tokens.use(reader, callback(b"t1 b", RelayAccount("other"))) is Use.FIRST
