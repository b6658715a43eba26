"""The laws of a relay's own suppression list: what every reader of one must do, whatever it reads.

A test module of an adapter writes a harness (the adapter, and a simulated relay of that kind) and subclasses
the suite:

    class TestMailgunList(ListLaws):
        @pytest.fixture
        async def harness(self, tmp_path: Path) -> AsyncIterator[ListHarness]:
            async with mailgun_lists(tmp_path) as harness:
                yield harness
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from fake_http_relay import Request, http
from fake_questions import FakeQuestions
from inquiry_laws import Trouble, assert_storable

from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.domain.ids import AddressKey
from posthouse.domain.suppression import SuppressionReason
from posthouse.relays.base import Change, Changed, KeptThere, ListedThere, OnList, SuppressionList

#: Long enough for a loaded machine, short enough that a broken adapter fails a test instead of stopping it.
PATIENCE = 30.0

#: Addresses whose simulated mailboxes do what puts them on a relay's list.
HAPPENS = {
    SuppressionReason.BOUNCE: "hard-{}@gmail.sim.test",
    SuppressionReason.SPAM: "complain-{}@gmail.sim.test",
}


class ListHarness(Protocol):
    """An adapter, and a simulated relay whose list it reads."""

    def suppressions(self, server: str | None = None) -> SuppressionList:
        """A new adapter; `server`: for another one than the simulated relay, as host:port."""
        ...

    async def mail(self, address: str) -> None:
        """Hand a mail over to the relay, and wait until all that follows has followed."""
        ...

    def garbage(self) -> Sequence[bytes]:
        """Bodies of a 200 that no sane server gives as a list."""
        ...


class Rude(FakeQuestions):
    """A relay that is not itself; `body`: what it answers when it is in no trouble."""

    def __init__(self, body: bytes = b"") -> None:
        super().__init__()
        self.body = body

    def answer(self, request: Request) -> bytes:
        return self.body


async def read(suppressions: SuppressionList) -> list[ListedThere]:
    async with asyncio.timeout(PATIENCE):
        return [entry async for page in suppressions.read() for entry in page]


def keys(entries: Iterable[ListedThere]) -> set[tuple[str, SuppressionReason]]:
    return {(entry.address, entry.reason) for entry in entries}


def on_list(address: str, reason: SuppressionReason) -> OnList:
    return OnList(AddressKey(address), reason)


class ListLaws:
    """Every reader of a relay's list passes these."""

    @pytest.fixture
    def harness(self) -> ListHarness:
        raise NotImplementedError("the adapter's test module brings its harness")

    async def test_an_empty_list_is_empty(self, harness: ListHarness) -> None:
        suppressions = harness.suppressions()
        assert await read(suppressions) == []
        assert await suppressions.add([]) == await suppressions.remove([]) == []
        await suppressions.close()

    @pytest.mark.parametrize("reason", list(HAPPENS))
    async def test_what_happened_is_listed_and_can_be_taken_off_if_the_relay_lets_us(
        self, harness: ListHarness, reason: SuppressionReason
    ) -> None:
        address = HAPPENS[reason].format("ann")
        await harness.mail(address)
        suppressions = harness.suppressions()
        [entry] = await read(suppressions)
        assert (entry.address, entry.reason) == (address, reason)
        assert entry.since is not None
        assert abs(datetime.now(UTC) - entry.since) < timedelta(minutes=5)
        [change] = await suppressions.remove([on_list(address, reason)])
        if reason in suppressions.rules.keeps:
            assert isinstance(change, KeptThere)
            assert_storable(change.reason)
            assert keys(await read(suppressions)) == {(address, reason)}
        else:
            assert change == Changed()
            assert await read(suppressions) == []
        await suppressions.close()

    async def test_what_is_put_on_it_reads_as_the_rules_say(self, harness: ListHarness) -> None:
        suppressions = harness.suppressions()
        assert suppressions.rules.adds
        for reason, reads_as in suppressions.rules.adds.items():
            entry = on_list("bob@mail.example", reason)
            assert await suppressions.add([entry]) == [Changed()]
            assert await suppressions.add([entry]) == [Changed()]
            assert keys(await read(suppressions)) == {("bob@mail.example", reads_as)}
            assert await suppressions.remove([on_list(entry.address, reads_as)]) == [Changed()]
            assert await read(suppressions) == []
        await suppressions.close()

    async def test_what_is_not_there_is_taken_off(self, harness: ListHarness) -> None:
        suppressions = harness.suppressions()
        for reason in set(suppressions.rules.adds.values()):
            assert await suppressions.remove([on_list("nobody@mail.example", reason)]) == [Changed()]
        await suppressions.close()

    async def test_a_long_list_is_read_in_parts(self, harness: ListHarness) -> None:
        suppressions = harness.suppressions()
        reason, reads_as = next(iter(suppressions.rules.adds.items()))
        wanted = [on_list(f"r{number:04}@mail.example", reason) for number in range(1500)]
        assert await suppressions.add(wanted) == [Changed()] * 1500
        listed = await read(suppressions)
        assert keys(listed) == {(entry.address, reads_as) for entry in wanted}
        await suppressions.close()

    @pytest.mark.parametrize(
        "address",
        ["a/b@mail.example", "what?is=this@mail.example", "50%25@mail.example", "a+b#c@mail.example"],
    )
    async def test_every_address_is_itself_in_a_url(self, harness: ListHarness, address: str) -> None:
        suppressions = harness.suppressions()
        reason, reads_as = next(iter(suppressions.rules.adds.items()))
        others = [on_list("a@mail.example", reason), on_list("b@mail.example", reason)]
        await suppressions.add([*others, on_list(address, reason)])
        assert (address, reads_as) in keys(await read(suppressions))
        assert await suppressions.remove([on_list(address, reads_as)]) == [Changed()]
        assert keys(await read(suppressions)) == {(one.address, reads_as) for one in others}
        await suppressions.close()

    async def test_an_address_that_is_none_costs_the_others_nothing(self, harness: ListHarness) -> None:
        suppressions = harness.suppressions()
        reason, reads_as = next(iter(suppressions.rules.adds.items()))
        wanted = [on_list(one, reason) for one in ("a@mail.example", "nobody", "b@mail.example")]
        first, bad, last = await suppressions.add(wanted)
        assert (first, last) == (Changed(), Changed())
        assert isinstance(bad, KeptThere)
        assert_storable(bad.reason)
        listed = keys(await read(suppressions))
        assert listed == {("a@mail.example", reads_as), ("b@mail.example", reads_as)}
        await suppressions.close()

    @pytest.mark.parametrize("trouble", [Trouble.ERROR, Trouble.CUT, Trouble.FORBIDDEN])
    async def test_a_relay_in_trouble_says_nothing_of_its_list(
        self, harness: ListHarness, trouble: Trouble
    ) -> None:
        server = Rude()
        server.trouble = trouble
        await server.start()
        suppressions = harness.suppressions(server.address)
        expected = Misconfigured if trouble is Trouble.FORBIDDEN else NotNow
        await _fails(suppressions, expected)
        await suppressions.close()
        await server.close()

    async def test_nobody_there_says_nothing(self, harness: ListHarness) -> None:
        server = Rude()
        await server.start()
        address = server.address
        await server.close()
        suppressions = harness.suppressions(address)
        await _fails(suppressions, NotNow)
        await suppressions.close()

    async def test_garbage_is_not_a_list(self, harness: ListHarness) -> None:
        server = Rude()
        await server.start()
        for body in (b"", b"[", b"null", b"\xff\xfe", b"[" * 100_000, b'"text"', *harness.garbage()):
            server.body = body
            suppressions = harness.suppressions(server.address)
            with pytest.raises(NotNow) as caught:
                await read(suppressions)
            assert_storable(caught.value.message)
            await suppressions.close()
        await server.close()

    async def test_a_pause_that_is_asked_for_is_made(self, harness: ListHarness) -> None:
        server = Hurried(harness)
        await server.start()
        suppressions = harness.suppressions(server.address)
        with pytest.raises(NotNow):
            await read(suppressions)
        assert len(server.requests) == 2
        await suppressions.close()
        await server.close()

    async def test_whoever_stops_waiting_is_let_go(self, harness: ListHarness) -> None:
        server = Rude()
        server.trouble = Trouble.HANG
        await server.start()
        suppressions = harness.suppressions(server.address)
        reading = asyncio.create_task(read(suppressions))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await suppressions.close()
        await suppressions.close()
        await server.close()


class Hurried(Rude):
    """Asks for a second's pause once, and then for an hour's."""

    def __init__(self, harness: ListHarness) -> None:
        super().__init__(b"")

    def _said(self, request: Request) -> bytes:
        pause = 1 if len(self.requests) == 1 else 3000
        return http("429 Too Many Requests", b"", f"Retry-After: {pause}")


async def _fails(suppressions: SuppressionList, error: type[NotNow] | type[Misconfigured]) -> None:
    reason, reads_as = next(iter(suppressions.rules.adds.items()))

    async def put_on() -> list[Change]:
        return await suppressions.add([on_list("a@mail.example", reason)])

    async def take_off() -> list[Change]:
        return await suppressions.remove([on_list("a@mail.example", reads_as)])

    async with asyncio.timeout(PATIENCE):
        for attempt in (read(suppressions), put_on(), take_off()):
            with pytest.raises(error) as caught:
                await attempt
            assert_storable(caught.value.message)
            assert "that-must-not-show" not in caught.value.message
