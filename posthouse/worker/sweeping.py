"""The sweeper's rounds: on one unbroken connection, so that an outage of ours makes nobody look dead."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from posthouse.clock import Clock, stopped_within
from posthouse.domain.errors import NotNow
from posthouse.domain.stream import Stream
from posthouse.status.apply import Policy
from posthouse.status.asking import Asking
from posthouse.status.doubts import DoubtRule, settle_by_asking, settle_doubts
from posthouse.status.sweeper import new_watch, sweep_dead
from posthouse.storage.db import Database
from posthouse.telemetry import log

ROUND: Final = 0.5  # seconds


async def sweep(
    db: Database,
    dead_after: timedelta,
    rules: Mapping[Stream, DoubtRule],
    asked: Sequence[Stream],
    policy: Policy,
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    """Watch beats and settle doubts until `stop`, but for those of streams whose relays are `asked`."""
    while not stop.is_set():
        watch = new_watch(dead_after)
        try:
            async with db.session() as session:
                while not stop.is_set():
                    await sweep_dead(db, session, watch, policy, clock)
                    await settle_doubts(db, rules, policy, clock, asked)
                    await stopped_within(stop, ROUND)
        except NotNow as error:
            log.warning("sweeping put off", reason=error.message)
            await stopped_within(stop, ROUND)


async def ask(
    db: Database,
    asking: Asking,
    rules: Mapping[Stream, DoubtRule],
    policy: Policy,
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    """Ask relays about doubts, and settle them, until `stop`. Beside the sweeper, whose watch over the
    workers must not wait for a relay that answers slowly."""
    if not asking.streams:
        return
    while not stop.is_set():
        settled = 0
        try:
            settled = await settle_by_asking(db, asking, rules, policy, clock)
        except NotNow as error:
            log.warning("asking about doubts put off", reason=error.message)
        if settled == 0:
            await stopped_within(stop, ROUND)
