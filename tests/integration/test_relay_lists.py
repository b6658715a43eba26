"""A relay's own suppression list and ours: what each sync takes over, takes away, and leaves."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import astuple, dataclass, field, replace
from datetime import timedelta
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listed_relay import (
    BEGAN,
    BOUNCE,
    EVERYTHING,
    MANUAL,
    MANUAL_ONLY,
    SPAM,
    UNSUBSCRIBE,
    ListedRelay,
    Lists,
)

from posthouse.clock import ManualClock
from posthouse.domain.ids import AddressKey, RelayAccount
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import Suppression, SuppressionReason, SuppressionScope, SuppressionSource
from posthouse.relays.base import ListedThere, ListRules
from posthouse.status.relay_lists import Manner
from posthouse.storage import relay_lists, suppressions
from posthouse.storage.db import Database, PoolKind, open_pool
from posthouse.storage.sql import Queries

READS_ONLY = ListRules(adds={})


@pytest.fixture
def lists(database: Database) -> Lists:
    clock = ManualClock(BEGAN)
    return Lists(database, clock, ListedRelay(clock))


async def test_what_is_there_comes_here_in_their_words_and_is_no_event(lists: Lists) -> None:
    lists.happens("Ann@Mail.Example")
    lists.happens("bob@mail.example", SPAM)
    lists.happens("eve@mail.example", UNSUBSCRIBE)
    lists.happens("no address at all")
    done = await lists.sync()
    assert (done.read, done.imported, done.unreadable, done.trouble) == (4, 3, 1, "")
    [entry] = await lists.entries("ann@mail.example")
    assert (entry.source, entry.scope, entry.job_id) == (SuppressionSource.IMPORT, "all", None)
    assert entry.note == "on the list of relay theirs since 2026-03-01 12:01 UTC: 550 gone"
    [left] = await lists.entries("eve@mail.example")
    assert left.scope == "marketing"
    again = await lists.sync()
    assert (again.read, again.imported, again.added_there, again.removed_there) == (4, 0, 0, 0)


async def test_an_entry_that_is_here_stays_as_it_is(lists: Lists) -> None:
    await lists.add("ann@mail.example")
    lists.happens("ann@mail.example")
    done = await lists.sync()
    assert (done.imported, done.added_there) == (0, 0)
    [entry] = await lists.entries("ann@mail.example")
    assert (entry.source, entry.note) == (SuppressionSource.API, "ours")


async def test_an_entry_that_has_ended_is_none(lists: Lists) -> None:
    await lists.add("ann@mail.example", for_days=1)
    lists.clock.advance(2 * 86_400)
    lists.happens("ann@mail.example")
    assert (await lists.sync()).imported == 1
    [entry] = await lists.entries("ann@mail.example")
    assert (entry.expires_at, entry.source) == (None, SuppressionSource.IMPORT)


async def test_what_was_taken_away_here_is_taken_off_there_and_does_not_come_back(lists: Lists) -> None:
    lists.happens("ann@mail.example")
    await lists.sync()
    await lists.remove("ann@mail.example")
    done = await lists.sync()
    assert (done.removed_there, done.imported) == (1, 0)
    assert lists.there() == await lists.here() == set()
    lists.happens("ann@mail.example")  # it bounced again
    assert (await lists.sync()).imported == 1


async def test_what_the_relay_keeps_is_told_and_does_not_come_back(lists: Lists) -> None:
    lists.relay.rules = MANUAL_ONLY
    lists.happens("ann@mail.example", SPAM)
    await lists.sync()
    await lists.remove("ann@mail.example")
    for _ in range(2):
        done = await lists.sync()
        assert (done.removed_there, done.imported) == (0, 0)
        assert dict(done.refused) == {"the relay takes no SPAM off its list": 1}
    assert lists.there() == {("ann@mail.example", SPAM)}


async def test_what_came_only_from_there_goes_with_it_and_says_so(lists: Lists) -> None:
    lists.happens("ann@mail.example")
    lists.happens("bob@mail.example")
    await lists.add("bob@mail.example", UNSUBSCRIBE)
    await lists.add("eve@mail.example")
    lists.happens("eve@mail.example")
    lists.happens("spam@mail.example", SPAM)
    await lists.sync()
    lists.relay.entries.clear()
    done = await lists.sync()
    assert done.removed_here == 2
    assert await lists.here() == {
        ("bob@mail.example", UNSUBSCRIBE),
        ("eve@mail.example", BOUNCE),  # it was ours before
        ("spam@mail.example", SPAM),  # only somebody with a reason sets a complaint aside
    }
    [removal] = await suppressions.removals_of(lists.db, AddressKey("ann@mail.example"), limit=10)
    assert removal.why == "it is not on the list of relay theirs any more, from which it came"
    lists.relay.happens("ann@mail.example")
    lists.relay.entries["ann@mail.example", BOUNCE] = replace(
        lists.relay.entries["ann@mail.example", BOUNCE], since=BEGAN
    )
    done = await lists.sync()  # the reading had missed it: that removal is none of ours
    assert (done.imported, done.removed_there) == (1, 0)


async def test_what_somebody_has_added_since_does_not_go_with_theirs(lists: Lists) -> None:
    lists.relay.rules = READS_ONLY
    lists.happens("ann@mail.example")
    lists.happens("bob@mail.example")
    await lists.sync()
    await lists.add("ann@mail.example")
    listed = Suppression(
        AddressKey("bob@mail.example"),
        BOUNCE,
        SuppressionScope.ALL,
        SuppressionSource.IMPORT,
        lists.clock.now(),
    )
    await suppressions.import_set(lists.db, [listed], lists.clock.now(), random.Random(1))
    lists.relay.entries.clear()
    assert (await lists.sync()).removed_here == 0
    assert await lists.here() == {("ann@mail.example", BOUNCE), ("bob@mail.example", BOUNCE)}


async def test_an_entry_goes_when_the_last_relay_has_let_it_go(lists: Lists) -> None:
    other = ListedRelay(lists.clock, account=RelayAccount("other"), rules=READS_ONLY)
    lists.relay.rules = READS_ONLY
    lists.happens("ann@mail.example")
    other.happens("ann@mail.example")
    await lists.sync()
    await lists.sync(relay=other)
    lists.relay.entries.clear()
    assert (await lists.sync()).removed_here == 0
    other.entries.clear()
    assert (await lists.sync(relay=other)).removed_here == 1
    assert await lists.here() == set()


async def test_a_new_entry_is_put_there_once_and_taken_off_with_ours(lists: Lists) -> None:
    await lists.add("ann@mail.example")
    assert (await lists.sync()).added_there == 1
    assert lists.there() == {("ann@mail.example", BOUNCE)}
    lists.relay.entries.clear()  # somebody took it off there, and is not contradicted
    lists.clock.advance(3600)
    for _ in range(2):
        done = await lists.sync()
        assert (done.added_there, done.removed_here) == (0, 0)
    await lists.remove("ann@mail.example")
    await lists.sync()
    await lists.add("ann@mail.example")
    assert (await lists.sync()).added_there == 1


async def test_what_is_put_there_is_ours_whatever_the_relay_calls_it(lists: Lists) -> None:
    lists.relay.rules, lists.streams = MANUAL_ONLY, frozenset({Stream.MARKETING})
    await lists.add("ann@mail.example", UNSUBSCRIBE)
    await lists.add("bob@mail.example", BOUNCE)
    assert (await lists.sync()).added_there == 2
    assert lists.there() == {("ann@mail.example", MANUAL), ("bob@mail.example", MANUAL)}
    before = await lists.here()
    assert (await lists.sync()).imported == 0
    assert await lists.here() == before
    await lists.remove("bob@mail.example")
    assert (await lists.sync()).removed_there == 1
    assert lists.there() == {("ann@mail.example", MANUAL)}


async def test_an_unsubscription_from_marketing_stops_no_transactional_mail_there(lists: Lists) -> None:
    await lists.add("ann@mail.example", UNSUBSCRIBE)
    assert (await lists.sync()).added_there == 0
    lists.streams = frozenset({Stream.MARKETING})
    assert (await lists.sync()).added_there == 1


async def test_an_entry_that_ends_is_not_put_where_nothing_ends(lists: Lists) -> None:
    await lists.add("ann@mail.example", for_days=30)
    assert (await lists.sync()).added_there == 0


async def test_what_the_relay_refuses_is_not_offered_again(lists: Lists) -> None:
    lists.relay.refuses = {"ann@mail.example"}
    await lists.add("ann@mail.example")
    assert dict((await lists.sync()).refused) == {"not this one": 1}
    assert dict((await lists.sync()).refused) == {}


async def test_a_relay_that_is_away_in_the_middle_costs_nothing(lists: Lists) -> None:
    for number in range(1500):
        lists.relay.happens(f"r{number:04}@mail.example")
    await lists.sync()
    assert len(await lists.here()) == 1500
    await lists.remove("r0001@mail.example")
    lists.relay.happens("new@mail.example")
    lists.relay.entries = dict(reversed(lists.relay.entries.items()))
    lists.relay.away_after = 7
    done = await lists.sync()
    assert done.trouble == "The relay is away."
    assert (done.read, done.imported, done.removed_here, done.removed_there) == (700, 1, 0, 0)
    assert len(await lists.here()) == 1500
    lists.relay.away_after = None
    done = await lists.sync()
    assert (done.imported, done.removed_here, done.removed_there) == (0, 0, 1)
    assert await lists.here() == lists.there()


async def test_a_list_that_has_lost_nearly_everything_is_not_believed(lists: Lists) -> None:
    for number in range(300):
        lists.relay.happens(f"r{number:04}@mail.example")
    await lists.sync()
    lists.relay.entries.clear()
    done = await lists.sync()
    assert "--accept-losses" in done.trouble
    assert len(await lists.here()) == 300
    assert (await lists.sync(Manner(accepts_losses=True))).removed_here == 300


async def test_another_list_under_the_same_name_has_lost_nothing(lists: Lists) -> None:
    lists.happens("ann@mail.example")
    await lists.sync()
    lists.relay.entries.clear()
    lists.relay.place = "memory two"
    assert (await lists.sync()).removed_here == 0
    assert await lists.here() == {("ann@mail.example", BOUNCE)}


async def test_trying_changes_nothing_and_tells_what_would_be(lists: Lists) -> None:
    lists.happens("ann@mail.example")
    lists.happens("bob@mail.example")
    await lists.sync()
    await lists.remove("ann@mail.example")
    lists.happens("new@mail.example")
    await lists.add("ours@mail.example")
    del lists.relay.entries["bob@mail.example", BOUNCE]
    here, there = await lists.here(), lists.there()
    would = await lists.sync(Manner(tries_only=True))
    assert (await lists.here(), lists.there()) == (here, there)
    assert await relay_lists.synced_at(lists.db, lists.relay.account) == BEGAN + timedelta(minutes=3)
    assert astuple(await lists.sync()) == astuple(would)
    assert (would.imported, would.removed_there, would.removed_here, would.added_there) == (1, 1, 1, 1)


@dataclass
class SlowRelay(ListedRelay):
    """Reads on when it is told to."""

    entered: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> AsyncIterator[Sequence[ListedThere]]:
        self.entered.set()
        await self.go_on.wait()
        yield []


async def test_two_syncs_of_one_list_are_one(lists: Lists) -> None:
    relay = SlowRelay(lists.clock)
    first = asyncio.create_task(lists.sync(relay=relay))
    await relay.entered.wait()
    second = await lists.sync()
    assert "synchronised already" in second.trouble
    relay.go_on.set()
    assert (await first).trouble == ""
    assert (await lists.sync()).trouble == ""


_Deed: TypeAlias = tuple[str, str, SuppressionReason]
_ADDRESSES = [f"{name}@mail.example" for name in ("a", "b", "c", "d")]
_DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["bounces", "adds", "removes", "taken off", "syncs"]),
        st.sampled_from(_ADDRESSES),
        st.sampled_from([BOUNCE, SPAM, UNSUBSCRIBE]),
    ),
    max_size=12,
)


async def _do(lists: Lists, deed: str, address: str, reason: SuppressionReason) -> None:
    match deed:
        case "bounces":
            lists.happens(address, reason)
        case "adds":
            await lists.add(address, reason)
        case "removes":
            if await lists.entries(address):
                await lists.remove(address)
        case "taken off":
            lists.clock.advance(3600)
            lists.relay.entries.pop((address, reason), None)
        case _:
            await lists.sync()


async def _fixpoint(pg_dsn: str, queries: Queries, rules: ListRules, deeds: list[_Deed]) -> None:
    """After a sync nothing is left to do; whoever is on their list is on ours or was taken away here by
    somebody, and every complaint and entry of ours that nobody took away is here."""
    db = await open_pool(pg_dsn, PoolKind.GENERAL, queries, max_size=2)
    try:
        clock = ManualClock(BEGAN)
        async with db.transaction() as tx:
            await tx.script("TRUNCATE email_suppression, suppression_removal, relay_suppression")
        lists = Lists(db, clock, ListedRelay(clock, rules=rules), frozenset({Stream.MARKETING}))
        ours: set[tuple[str, SuppressionReason]] = set()
        for deed, address, reason in deeds:
            await _do(lists, deed, address, reason)
            if deed == "adds":
                ours.add((address, reason))
            if deed == "removes":
                ours = {one for one in ours if one[0] != address}
        await lists.sync()
        here, there, changes = await lists.here(), lists.there(), lists.relay.changes
        assert ours <= here
        assert {address for address, _ in there if rules is EVERYTHING} <= {address for address, _ in here}
        clock.advance(3600)
        done = await lists.sync()
        assert (done.imported, done.added_there, done.removed_here, done.removed_there) == (0, 0, 0, 0)
        assert (await lists.here(), lists.there(), lists.relay.changes) == (here, there, changes)
    finally:
        await db.close()


@pytest.mark.parametrize("rules", [EVERYTHING, MANUAL_ONLY], ids=["everything", "manual only"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds=_DEEDS)
def test_a_second_sync_finds_nothing_to_do(
    pg_dsn: str, queries: Queries, rules: ListRules, deeds: list[_Deed]
) -> None:
    asyncio.run(_fixpoint(pg_dsn, queries, rules, deeds))
