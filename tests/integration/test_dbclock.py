import asyncio
from datetime import UTC, datetime

import pytest

from posthouse.clock import ManualClock, SystemClock
from posthouse.storage.db import Database
from posthouse.storage.dbclock import DatabaseClock


async def test_it_shows_the_databases_time(database: Database) -> None:
    async with DatabaseClock(database, SystemClock()).running() as clock:
        before = await database.value(float, "database_clock")
        ours = clock.now_ms()
        after = await database.value(float, "database_clock")
        assert before - 50 <= ours <= after + 50
        assert clock.today() == datetime.fromtimestamp(ours / 1000, UTC).date()


async def test_it_goes_on_by_our_monotonic_clock(database: Database) -> None:
    local = ManualClock()
    clock = DatabaseClock(database, local)
    await clock.measure()
    then = clock.now_ms()
    local.advance(86_400.0)
    assert clock.now_ms() == then + 86_400_000


async def test_measuring_again_takes_out_the_drift(database: Database) -> None:
    local = ManualClock()
    clock = DatabaseClock(database, local)
    await clock.measure()
    local.advance(3600.0)  # our clock ran ahead by an hour
    await clock.measure()
    theirs = await database.value(float, "database_clock")
    assert abs(theirs - clock.now_ms()) < 5_000


async def test_before_it_is_measured_it_shows_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError, match="not measured"):
        DatabaseClock(database, SystemClock()).now_ms()


async def test_it_measures_by_itself(database: Database) -> None:
    local = ManualClock()
    async with DatabaseClock(database, local, measure_every=0.01).running() as clock:
        local.advance(3600.0)
        theirs = await database.value(float, "database_clock")
        async with asyncio.timeout(5):
            while abs(clock.now_ms() - theirs) > 10_000:  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.01)
