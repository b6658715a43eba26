"""The sweeper's rounds: on one unbroken connection, so that an outage of ours makes nobody look dead."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from posthouse.clock import Clock, stopped_within
from posthouse.domain.errors import NotNow
from posthouse.domain.stream import Stream
from posthouse.status.apply import Policy
from posthouse.status.sweeper import DoubtRule, new_watch, settle_doubts, sweep_dead
from posthouse.storage.db import Database
from posthouse.telemetry import log

ROUND: Final = 0.5  # seconds


async def sweep(
    db: Database,
    dead_after: timedelta,
    rules: Mapping[Stream, DoubtRule],
    policy: Policy,
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    """Watch beats and settle doubts until `stop`."""
    while not stop.is_set():
        watch = new_watch(dead_after)
        try:
            async with db.session() as session:
                while not stop.is_set():
                    await sweep_dead(db, session, watch, policy, clock)
                    await settle_doubts(db, rules, policy, clock)
                    await stopped_within(stop, ROUND)
        except NotNow as error:
            log.warning("sweeping put off", reason=error.message)
            await stopped_within(stop, ROUND)
