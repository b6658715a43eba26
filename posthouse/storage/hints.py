"""Hints between processes over NOTIFY: something may be due. They wake; polling makes sure.

A hint says nothing that matters if it is lost, so neither side ever fails: both reconnect by themselves.
Both need the server itself: LISTEN does not pass through PgBouncer's transaction pooling.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from weakref import WeakSet

from posthouse.clock import full_jitter
from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.storage.background import in_background
from posthouse.storage.db import Wire, open_wire
from posthouse.storage.sql import load_file

#: Seconds between two NOTIFYs of one process: 12,300 accepting commits a second fell to 3,500 without it.
HINT_INTERVAL = 0.01
_PING_INTERVAL = 30.0  # seconds: a connection whose other end vanished says nothing by itself
_COMMAND_TIMEOUT = 10.0  # seconds
_CHANNEL_MAX = 63  # bytes of a PostgreSQL identifier
_SERVER_SETTINGS: Mapping[str, str] = MappingProxyType(
    {"application_name": "posthouse hints", "synchronous_commit": "off", "statement_timeout": "10s"}
)


class Hinter:
    """Sends hints. Those that come while the database is away become one per channel, sent afterwards."""

    def __init__(self, dsn: str, *, rng: random.Random) -> None:
        self._dsn = dsn
        self._rng = rng
        self._waiting: set[str] = set()
        self._stirred = asyncio.Event()

    def hint(self, channel: str) -> None:
        """Ask for a NOTIFY on a channel (at most 63 bytes), soon. Call it after the commit; never blocks."""
        self._waiting.add(_checked(channel))
        self._stirred.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Hinter"]:
        async with in_background(_reconnecting(self._dsn, self._rng, self._serve), "hinter"):
            yield self

    async def _serve(self, wire: Wire) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            channels, self._waiting = self._waiting, set()
            try:
                await wire.execute("notify", sorted(channels))
            except NotNow:
                self._waiting |= channels
                self._stirred.set()
                raise
            await asyncio.sleep(HINT_INTERVAL)


class Subscription:
    """One reader's ear on one channel. A hint that comes between two waits is not lost: the next wait
    returns at once."""

    __slots__ = ("__weakref__", "_heard")

    def __init__(self) -> None:
        self._heard = asyncio.Event()

    async def wait(self, timeout: float) -> None:
        """Return when there was a hint since the last wait, or after `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._heard.wait()
        self._heard.clear()

    def wake(self) -> None:
        self._heard.set()


class Listener:
    """Hears hints. After each reconnection every reader wakes once, for what it may have missed."""

    def __init__(self, dsn: str, *, rng: random.Random) -> None:
        self._dsn = dsn
        self._rng = rng
        self._ears: dict[str, WeakSet[Subscription]] = {}
        self._stirred = asyncio.Event()

    def subscribe(self, channel: str) -> Subscription:
        """An ear on a channel (at most 63 bytes), for as long as somebody holds it."""
        if channel not in self._ears:
            self._ears[_checked(channel)] = WeakSet()
            self._stirred.set()
        subscription = Subscription()
        self._ears[channel].add(subscription)
        return subscription

    async def wait(self, channel: str, timeout: float) -> None:
        """Return at a hint that comes from now on, or after `timeout` seconds. All who wait are woken.

        Between two calls hints pass unheard: a reader that works in between takes a subscription.
        """
        await self.subscribe(channel).wait(timeout)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Listener"]:
        async with in_background(_reconnecting(self._dsn, self._rng, self._serve), "listener"):
            yield self

    async def _serve(self, wire: Wire) -> None:
        wire.on_lost(self._stirred.set)
        listening: set[str] = set()
        while True:
            for channel in sorted(self._ears.keys() - listening):
                await wire.listen(channel, self._wake)
                listening.add(channel)
                self._wake(channel)
            await self._until_stirred()
            await wire.fetchval("ping")

    async def _until_stirred(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_PING_INTERVAL):
                await self._stirred.wait()
        self._stirred.clear()

    def _wake(self, channel: str) -> None:
        for subscription in self._ears.get(channel, ()):
            subscription.wake()


async def _reconnecting(dsn: str, rng: random.Random, serve: Callable[[Wire], Awaitable[None]]) -> None:
    failures = 0
    while True:
        # Misconfigured too: an operator who changes a password does not have to restart for hints' sake.
        with suppress(NotNow, Misconfigured):
            wire = await open_wire(
                dsn,
                load_file("hints.sql"),
                server_settings=_SERVER_SETTINGS,
                command_timeout=_COMMAND_TIMEOUT,
            )
            failures = 0
            try:
                await serve(wire)
            finally:
                await wire.close()
        await asyncio.sleep(full_jitter(rng, failures, base=0.1, cap=5.0))
        failures += 1


def _checked(channel: str) -> str:
    if not 0 < len(channel.encode()) <= _CHANNEL_MAX:
        raise ValueError(f"a channel name has 1 to {_CHANNEL_MAX} bytes, not {len(channel.encode())}")
    return channel
