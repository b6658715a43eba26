"""Servers that stop talking: what waits behind them goes elsewhere, what they may have taken does not."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from smtp_scripted import ScriptedSmtp

from posthouse.clock import ManualClock
from posthouse.domain.ids import JobId, RelayAccount
from posthouse.domain.message import RawMail
from posthouse.relays.base import Accepted, NotBegun, Outcome, OutcomeUnknown, TryLater
from posthouse.relays.smtp import SmtpAccount, SmtpRelay, Timeouts, Tls

PATIENCE = 20.0
LIMITS = Timeouts(command=10.0, check_every=0.001)


@dataclass
class Sending:
    """One call under way, with all that was told of it so far."""

    relay: SmtpRelay
    clock: ManualClock
    mails: Sequence[RawMail]
    told: dict[str, Outcome] = field(default_factory=dict)
    times: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, place: int, outcome: Outcome) -> None:
        self.told[self.mails[place].recipient[0]] = outcome
        self.times += 1
        self.news.set()

    async def until_told(self, *names: str, step: float) -> None:
        """While the clock goes on by so many seconds at a time, whenever nothing is told."""
        async with asyncio.timeout(PATIENCE):
            while not set(names) <= self.told.keys():
                self.clock.advance(step)
                self.news.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.news.wait(), 0.01)
        assert set(names) == self.told.keys()


@asynccontextmanager
async def sending(
    server: ScriptedSmtp, *names: str
) -> AsyncIterator[tuple[Sending, asyncio.Task[list[Outcome]]]]:
    """Over one connection, one mail to each name."""
    clock = ManualClock()
    account = SmtpAccount(
        account=RelayAccount("scripted"),
        host="127.0.0.1",
        port=server.port,
        helo_name="posthouse.example",
        tls=Tls.NONE,
        max_connections=1,
        begin_within=0.05,
        timeouts=LIMITS,
    )
    relay = SmtpRelay(account, clock=clock, rng=random.Random(1))
    state = Sending(relay, clock, [mail(name) for name in names])
    call = asyncio.create_task(relay.send_many(state.mails, lambda: True, state.tell))
    try:
        yield state, call
    finally:
        await relay.close()
        await asyncio.wait([call])


@pytest.fixture
async def server() -> AsyncIterator[ScriptedSmtp]:
    async with ScriptedSmtp() as server:
        yield server


def mail(name: str) -> RawMail:
    data = b"Subject: hi\r\n\r\nhello\r\n"
    return RawMail(JobId(UUID(int=1)), 1, f"b+{name}@example.net", f"{name}@example.org", data, False)


async def test_what_could_not_begin_is_told_while_an_answer_is_waited_for(server: ScriptedSmtp) -> None:
    server.script.hold_dot["a@example.org"] = held = asyncio.Event()
    async with sending(server, "a", "b", "c", "d") as (state, call):
        await server.wait_for(lambda: bool(server.taken))
        await state.until_told("c", "d", step=0.02)
        assert {type(outcome) for outcome in state.told.values()} == {NotBegun}
        assert not call.done()
        held.set()
        outcomes = await call
    assert [type(one) for one in outcomes] == [Accepted, Accepted, NotBegun, NotBegun], "b was on the line"
    assert (state.times, list(state.told.values())) == (4, [outcomes[2], outcomes[3], *outcomes[:2]])


async def test_a_mail_behind_one_that_is_never_answered_is_taken_back(server: ScriptedSmtp) -> None:
    """Its envelope went out with the dot before. Its content never does, also if the server wakes up."""
    server.script.hold_dot["a@example.org"] = held = asyncio.Event()
    async with sending(server, "a", "b", "c") as (state, call):
        await server.wait_for(lambda: bool(server.taken))
        await state.until_told("c", step=0.02)
        await state.until_told("b", "c", step=1.0)
        taken_back = state.told["b"]
        assert isinstance(taken_back, TryLater)
        assert taken_back.slow_relay
        held.set()
        outcomes = await call
    assert [type(one) for one in outcomes] == [Accepted, TryLater, NotBegun]
    assert [taken.recipient for taken in server.taken] == ["a@example.org"]
    assert state.times == 3


async def test_a_mail_taken_back_stays_so_when_the_line_breaks(server: ScriptedSmtp) -> None:
    server.script.hang_at_dot.add("a@example.org")
    async with sending(server, "a", "b") as (state, call):
        await server.wait_for(lambda: bool(server.taken))
        await state.until_told("b", step=1.0)
        server.drop_connections()
        outcomes = await call
    assert [type(one) for one in outcomes] == [OutcomeUnknown, TryLater]
    assert (outcomes[1], state.times) == (state.told["b"], 2)


async def test_an_envelope_without_an_answer_says_that_the_relay_is_slow(server: ScriptedSmtp) -> None:
    server.script.hang_at_rcpt.add("a@example.org")
    async with sending(server, "a") as (state, call):
        await server.wait_for(lambda: server.begun > 0)
        while not call.done():
            state.clock.advance(1.0)
            await asyncio.wait([call], timeout=0.01)
        [outcome] = call.result()
    assert isinstance(outcome, TryLater)
    assert outcome.slow_relay


async def test_a_server_that_does_not_greet_gives_no_connection(server: ScriptedSmtp) -> None:
    server.script.silent = True
    async with sending(server, "a", "b") as (state, call):
        await state.until_told("a", "b", step=0.02)
        outcomes = await call
    assert outcomes == [NotBegun("no connection became free in time", slow_relay=True)] * 2


async def test_what_was_taken_back_is_forgotten_with_its_call(server: ScriptedSmtp) -> None:
    """The line outlives it, since its envelope was refused. Of another call's mail at the same place in its
    list, which the server may have, it says nothing."""
    server.script.hold_dot["a@example.org"] = held = asyncio.Event()
    server.script.on_rcpt["b@example.org"] = "550 5.1.1 no"
    async with sending(server, "a", "b") as (state, call):
        await server.wait_for(lambda: bool(server.taken))
        await state.until_told("b", step=1.0)
        held.set()
        outcomes = await call
        assert [type(one) for one in outcomes] == [Accepted, TryLater]

        server.script.hang_at_dot.add("d@example.org")
        told: dict[int, Outcome] = {}
        second = asyncio.create_task(
            state.relay.send_many([mail("c"), mail("d")], lambda: True, told.__setitem__)
        )
        await server.wait_for(lambda: len(server.taken) == 3)
        for _ in range(60):
            state.clock.advance(1.0)
            await asyncio.wait([second], timeout=0.01)
        assert {place: type(one) for place, one in told.items()} == {0: Accepted}
        server.drop_connections()
        assert [type(one) for one in await second] == [Accepted, OutcomeUnknown]
    assert server.connections == 1
