"""What stands on relays' own suppression lists, as it was last seen. SQL in queries/relay_lists.sql.

Everything goes in sets; sets are read by key, so that no list is ever in memory.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from posthouse.domain.errors import Conflict, NotNow
from posthouse.domain.ids import AddressKey, RelayAccount
from posthouse.domain.suppression import SuppressionReason, SuppressionScope
from posthouse.storage.db import Database, open_wire

SET: Final = 500
_SERVER_SETTINGS: Final = {"application_name": "posthouse relay lists", "statement_timeout": "5s"}


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of one account's list, from its beginning on."""

    reading: UUID
    account: RelayAccount
    place: str
    began: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry of a relay's list that can be one of ours."""

    address: AddressKey
    reads_as: SuppressionReason
    scope: SuppressionScope
    since: datetime | None
    words: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What is known of an entry of a relay's list. `reason`, `scope`: of our entry for it; `lifts`: it went
    from there, and our entry came only from there."""

    address: AddressKey
    reason: SuppressionReason
    scope: SuppressionScope
    reads_as: SuppressionReason
    since: datetime | None
    words: str
    lifts: bool


@dataclass(frozen=True, slots=True)
class Unlisted:
    """An entry of ours that a relay has not heard of."""

    address: AddressKey
    reason: SuppressionReason
    scope: SuppressionScope


@dataclass(frozen=True, slots=True)
class Added:
    """What a relay made of an entry; `refusal` "" when it took it."""

    entry: Unlisted
    refusal: str


@dataclass(frozen=True, slots=True)
class Standing:
    """An address on a relay's list. `imported_at`: when an entry was made here for it."""

    account: str
    reason: str
    since: datetime | None
    words: str
    ours: bool
    imported_at: datetime | None


@asynccontextmanager
async def alone_with(db: Database, account: RelayAccount) -> AsyncIterator[Callable[[], None]]:
    """The only sync of an account's list. What it gives raises NotNow when that is not so any more.

    Raises Conflict when another one is under way.
    """
    lost: list[str] = []

    def check() -> None:
        if lost:
            raise NotNow("The database connection that kept others from this list was lost.")

    wire = await open_wire(db.dsn, db.queries, server_settings=_SERVER_SETTINGS, command_timeout=10.0)
    try:
        if not await wire.value(bool, "lock_relay_list", account):
            raise Conflict(
                f"The suppression list of {account} is being synchronised already: wait until that is done.",
                code="sync_under_way",
            )
        wire.on_lost(lambda: lost.append(account))
        yield check
    finally:
        await wire.close()


async def begin(db: Database, reading: Reading) -> None:
    await db.execute("forget_other_places", reading.account, reading.place)


async def mark(db: Database, reading: Reading, entries: Sequence[Seen]) -> None:
    """A page of the list."""
    page = {(entry.address, entry.reads_as): entry for entry in entries}.values()
    columns = (
        [entry.address for entry in page],
        [entry.reads_as for entry in page],
        [entry.since for entry in page],
        [entry.words for entry in page],
    )
    begun = (reading.account, reading.reading, reading.began)
    async with db.transaction() as tx:
        await tx.execute("mark_known", *begun, *columns)
        await tx.execute("mark_new", *begun, *columns, reading.place, [entry.scope for entry in page])


def to_import(db: Database, reading: Reading) -> AsyncIterator[list[Listed]]:
    """What is on their list and not on ours, in sets."""
    return _in_sets(db, reading, "listed_to_import", reading.began)


def to_take_off(db: Database, reading: Reading) -> AsyncIterator[list[Listed]]:
    """What is on their list and was taken off ours, in sets."""
    return _in_sets(db, reading, "listed_to_take_off", reading.began)


def missed(db: Database, reading: Reading, shown_after: timedelta) -> AsyncIterator[list[Listed]]:
    """What a whole reading has not found again, in sets. What we put there may show only after a while."""
    return _in_sets(db, reading, "listed_that_went", reading.began - shown_after)


async def import_listed(
    db: Database, reading: Reading, entries: Sequence[Listed], notes: Sequence[str], now: datetime
) -> int:
    """Entries of ours for them; how many were made."""
    return await db.execute(
        "import_listed",
        reading.account,
        now,
        [one.address for one in entries],
        [one.reason for one in entries],
        [one.scope for one in entries],
        notes,
    )


async def forget(db: Database, reading: Reading, taken_off: Sequence[Listed]) -> None:
    await db.execute("forget_listed", reading.account, *_keys(taken_off))


async def count(db: Database, reading: Reading) -> tuple[int, int]:
    """How many entries the reading found, and how many it missed of those that were there."""
    found = await db.fetch_one(_pair, "count_listed", reading.account, reading.reading)
    return found or (0, 0)


async def settle_missed(
    db: Database, reading: Reading, gone: Sequence[Listed], why: str, now: datetime
) -> int:
    """They are not there any more. Entries of ours that came only from there go with them; how many."""
    lifted = [one for one in gone if one.lifts]
    scopes = [one.scope for one in lifted]
    async with db.transaction() as tx:
        removed = await tx.execute("lift_listed", reading.account, now, *_keys(lifted), scopes, why)
        await tx.execute("mark_gone", reading.account, now, *_keys(gone))
    return removed


async def unlisted(
    db: Database,
    account: RelayAccount,
    reasons: Sequence[SuppressionReason],
    scopes: Sequence[SuppressionScope],
) -> AsyncIterator[list[Unlisted]]:
    """Entries of ours that the relay could have and has not heard of, in sets."""
    after = ("", "", "")
    while found := await db.fetch_into(_unlisted, "unlisted", account, reasons, scopes, *after, SET):
        yield found
        last = found[-1]
        after = (last.address, last.scope, last.reason)


async def begin_adding(
    db: Database,
    reading: Reading,
    entries: Sequence[Unlisted],
    reads_as: Sequence[SuppressionReason],
    now: datetime,
) -> None:
    """Before the relay is asked to take them."""
    await db.execute(
        "begin_adding",
        reading.account,
        reading.place,
        reading.reading,
        now,
        [one.address for one in entries],
        [one.reason for one in entries],
        [one.scope for one in entries],
        reads_as,
    )


async def end_adding(db: Database, reading: Reading, added: Sequence[Added]) -> None:
    """What the relay said. A refused entry is not offered again."""
    await db.execute(
        "end_adding",
        reading.account,
        [one.entry.address for one in added],
        [one.entry.reason for one in added],
        ["refused" if one.refusal else "there" for one in added],
        [one.refusal for one in added],
    )


async def end(db: Database, reading: Reading, now: datetime) -> None:
    """The sync came to its end."""
    async with db.transaction() as tx:
        await tx.execute("forget_gone", reading.account)
        await tx.execute("relay_list_synced", reading.account, now)


async def synced_at(db: Database, account: RelayAccount) -> datetime | None:
    """When a sync last came to its end."""
    return await db.fetch_one(_moment, "relay_list_synced_at", account)


async def standings(db: Database, address: AddressKey) -> list[Standing]:
    """On which relays' lists an address stands."""
    return await db.fetch_into(Standing, "relay_lists_of", address)


async def _in_sets(
    db: Database, reading: Reading, name: str, moment: datetime
) -> AsyncIterator[list[Listed]]:
    after = ("", "")
    while found := await db.fetch_into(_listed, name, reading.account, reading.reading, moment, *after, SET):
        yield found
        after = (found[-1].address, found[-1].reason)


def _keys(listed: Sequence[Listed]) -> tuple[list[str], list[str]]:
    return [one.address for one in listed], [one.reason for one in listed]


def _listed(
    address: str,
    reason: str,
    scope: str,
    reads_as: str,
    since: datetime | None,
    words: str,
    lifts: bool,  # a column
) -> Listed:
    return Listed(
        AddressKey(address),
        SuppressionReason(reason),
        SuppressionScope(scope),
        SuppressionReason(reads_as),
        since,
        words,
        lifts,
    )


def _unlisted(address: str, reason: str, scope: str) -> Unlisted:
    return Unlisted(AddressKey(address), SuppressionReason(reason), SuppressionScope(scope))


def _pair(one: int, other: int) -> tuple[int, int]:
    return one, other


def _moment(moment: datetime) -> datetime:
    return moment
