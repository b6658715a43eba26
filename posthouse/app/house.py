"""What every role that has a database shares, opened and closed as one."""

import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from posthouse.clock import Clock, SystemClock
from posthouse.config import Settings
from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.domain.event import Event
from posthouse.keyring import Keyring, load_keyring
from posthouse.status.apply import Applied, Policy
from posthouse.status.record import record
from posthouse.storage import outbox
from posthouse.storage.db import Database, PoolKind, open_pool, prepare_all
from posthouse.storage.hints import Hinter, Listener
from posthouse.storage.migrate import pending
from posthouse.storage.sql import load_queries
from posthouse.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class House:
    settings: Settings
    keyring: Keyring
    clock: Clock
    rng: random.Random
    metrics: Metrics
    general: Database
    queue: Database
    hinter: Hinter
    listener: Listener
    policy: Policy

    async def record(self, events: Sequence[Event]) -> Applied:
        """status.record on the queue's pool."""
        return await record(self.queue, events, self.policy, self.rng)


@asynccontextmanager
async def open_house(settings: Settings, *, without_database: bool = False) -> AsyncIterator[House]:
    """Pools, hints and the rest, for as long as the context. `settings.database.url` must name the database.

    `without_database`: begin even while it is away, unchecked. Raises NotNow, Misconfigured (pending
    migrations, a broken query, a database that refuses us).
    """
    dsn = settings.database.url
    if not dsn:
        raise Misconfigured("No database: set DATABASE_URL, or use `posthouse up`, which brings its own.")
    rng = random.Random()  # noqa: S311  # jitter, not secrets
    queries = load_queries()
    async with AsyncExitStack() as stack:
        general = await open_pool(dsn, PoolKind.GENERAL, queries, max_size=settings.database.pool_size)
        stack.push_async_callback(general.close)
        try:
            await _check(dsn, general)
            if settings.kafka.bootstrap_servers:
                await outbox.put_events_by(general, rng=rng, wanted=True)
        except NotNow:
            if not without_database:
                raise
        queue = await open_pool(dsn, PoolKind.QUEUE, queries, max_size=settings.database.pool_size)
        stack.push_async_callback(queue.close)
        yield House(
            settings=settings,
            keyring=load_keyring(settings.data_dir, os.environ),
            clock=SystemClock(),
            rng=rng,
            metrics=Metrics(),
            general=general,
            queue=queue,
            hinter=await stack.enter_async_context(Hinter(dsn, rng=rng).running()),
            listener=await stack.enter_async_context(Listener(dsn, rng=rng).running()),
            policy=policy_of(settings),
        )


async def _check(dsn: str, general: Database) -> None:
    missing = await pending(dsn)
    if missing:
        raise Misconfigured(f"The database lacks {len(missing)} migrations. Run `posthouse migrate` first.")
    await prepare_all(general)


def policy_of(settings: Settings) -> Policy:
    return Policy(
        tuple(settings.retry.soft_bounce),
        {name: stream.unknown_after for name, stream in settings.streams.items()},
    )
