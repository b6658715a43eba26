"""Pools, transactions and connections of one's own. asyncpg is seen here and in session.py, nowhere else."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import asyncpg

from posthouse.clock import full_jitter
from posthouse.domain.errors import NotNow
from posthouse.storage.session import (
    Edge,
    Row,
    Session,
    Transaction,
    TransactionConflict,
    begun,
    refusals_as_misconfigured,
    set_codecs,
)
from posthouse.storage.sql import Queries

__all__ = [
    "Database",
    "PoolKind",
    "Row",
    "Session",
    "Transaction",
    "TransactionConflict",
    "Wire",
    "open_pool",
    "open_wire",
    "ping",
    "prepare_all",
    "retry_conflicts",
]

T = TypeVar("T")


class PoolKind(Enum):
    QUEUE = "queue"  # claims and results: the planner is kept on its indexes
    GENERAL = "general"  # API, dashboard, housekeeping


@dataclass(frozen=True, slots=True)
class PoolSettings:
    max_size: int
    acquire_timeout: float  # seconds to wait for a free connection
    command_timeout: float  # seconds; above the server's own, it only catches a server that is mute
    server_settings: Mapping[str, str]


# Why the planner is held: docs/adr/0001.
_SETTINGS: Mapping[PoolKind, PoolSettings] = {
    PoolKind.QUEUE: PoolSettings(
        max_size=8,
        acquire_timeout=5.0,
        command_timeout=35.0,
        server_settings={
            "application_name": "posthouse queue",
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
            "enable_hashjoin": "off",
            "enable_mergejoin": "off",
            "enable_bitmapscan": "off",
            "jit": "off",
            "statement_timeout": "30s",
            # A worker that is frozen in a transaction keeps its mail locked, and the sweeper waiting.
            "idle_in_transaction_session_timeout": "5s",
        },
    ),
    PoolKind.GENERAL: PoolSettings(
        max_size=8,
        acquire_timeout=5.0,
        command_timeout=20.0,
        server_settings={
            "application_name": "posthouse",
            "jit": "off",
            "statement_timeout": "15s",
            "idle_in_transaction_session_timeout": "15s",
        },
    ),
}


class Database:
    """A pool and the named queries. Each call by itself is one statement and commits by itself."""

    __slots__ = ("_acquire_timeout", "_pool", "dsn", "queries")

    def __init__(self, dsn: str, pool: asyncpg.Pool, queries: Queries, *, acquire_timeout: float) -> None:
        self.dsn = dsn
        self.queries = queries
        self._pool = pool
        self._acquire_timeout = acquire_timeout

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection without a transaction: every statement commits by itself. Raises NotNow."""
        async with self._lent() as connection:
            session = Session(connection, self.queries)
            try:
                yield session
            finally:
                session.forget()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Commits when the block ends, rolls back when it raises. Raises NotNow."""
        async with self._lent() as connection, begun(connection):
            transaction = Transaction(connection, self.queries)
            try:
                yield transaction
            finally:
                transaction.forget()

    async def fetch(self, name: str, *args: object) -> list[Row]:
        async with self.session() as session:
            return await session.fetch(name, *args)

    async def fetch_into(self, into: Callable[..., T], name: str, *args: object) -> list[T]:
        async with self.session() as session:
            return await session.fetch_into(into, name, *args)

    async def fetch_one(self, into: Callable[..., T], name: str, *args: object) -> T | None:
        async with self.session() as session:
            return await session.fetch_one(into, name, *args)

    async def fetchval(self, name: str, *args: object) -> object:
        async with self.session() as session:
            return await session.fetchval(name, *args)

    async def value(self, kind: type[T], name: str, *args: object) -> T:
        async with self.session() as session:
            return await session.value(kind, name, *args)

    async def execute(self, name: str, *args: object) -> int:
        async with self.session() as session:
            return await session.execute(name, *args)

    async def close(self) -> None:
        """Wait for lent connections, at most 5 s, then cut them."""
        try:
            await asyncio.wait_for(self._pool.close(), timeout=5.0)
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[asyncpg.Connection]:
        with Edge():
            connection = await self._pool.acquire(timeout=self._acquire_timeout)
        try:
            yield connection
        finally:
            # What was committed stays so: a connection lost on its way back is nobody's failure.
            with suppress(NotNow), Edge(connection):
                await self._pool.release(connection, timeout=5.0)


async def open_pool(
    dsn: str,
    kind: PoolKind,
    queries: Queries,
    *,
    max_size: int | None = None,
    acquire_timeout: float | None = None,
) -> Database:
    """A connected pool; None takes the kind's own size and patience (seconds). Raises NotNow when the server
    is away, Misconfigured when it refuses us."""
    settings = _SETTINGS[kind]
    with refusals_as_misconfigured(), Edge():
        pool = await asyncpg.create_pool(
            dsn,
            min_size=0,  # a floor is kept up in the background, with a traceback in the log for each failure
            max_size=settings.max_size if max_size is None else max_size,
            init=set_codecs,
            reset=_keep_session,
            command_timeout=settings.command_timeout,
            timeout=10.0,
            statement_cache_size=1024,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
            server_settings=dict(settings.server_settings),
        )
        await _connect_once(pool)
    patience = settings.acquire_timeout if acquire_timeout is None else acquire_timeout
    return Database(dsn, pool, queries, acquire_timeout=patience)


async def _connect_once(pool: asyncpg.Pool) -> None:
    try:
        async with pool.acquire():
            pass
    except BaseException:
        pool.terminate()
        raise


class Wire(Session):
    """A connection of its own, outside every pool: LISTEN, NOTIFY, migrations."""

    __slots__ = ()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with begun(self._connection):
            yield Transaction(self._connection, self._queries)

    async def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """LISTEN; `heard(channel)` is called for every notification."""

        def callback(_: object, __: int, name: str, ___: object) -> None:
            heard(name)

        with Edge(self._connection):
            await self._connection.add_listener(channel, callback)

    def on_lost(self, lost: Callable[[], None]) -> None:
        """`lost()` is called when the connection ends, whoever ends it."""
        self._connection.add_termination_listener(lambda _: lost())

    async def close(self) -> None:
        try:
            with Edge(self._connection):
                await self._connection.close(timeout=2.0)
        except NotNow:
            self._connection.terminate()


async def open_wire(
    dsn: str, queries: Queries, *, server_settings: Mapping[str, str], command_timeout: float | None = None
) -> Wire:
    """`command_timeout` in seconds; None waits for ever. Raises NotNow when the server is away,
    Misconfigured when it refuses us."""
    with refusals_as_misconfigured(), Edge():
        connection = await asyncpg.connect(
            dsn, timeout=10.0, command_timeout=command_timeout, server_settings=dict(server_settings)
        )
        await set_codecs(connection)
    return Wire(connection, queries)


async def ping(dsn: str, *, timeout: float = 5.0) -> None:
    """Return when the server takes a connection. Raises NotNow or Misconfigured."""
    with refusals_as_misconfigured(), Edge():
        connection = await asyncpg.connect(dsn, timeout=timeout)
        await connection.close(timeout=timeout)


async def prepare_all(database: Database) -> None:
    """Try every named query on the server, so that a broken one stops the start and not a mail.

    Raises BrokenQuery. Queries with `__places__` cannot be tried before these are filled.
    """
    async with database.session() as session:
        for query in database.queries.all():
            if not query.has_places:
                await session.prepare(query)


async def retry_conflicts(
    database: Database,
    work: Callable[[Transaction], Awaitable[T]],
    *,
    rng: random.Random,
    tries: int = 6,
) -> T:
    """`work` in a transaction, run again (whole) when another transaction was in the way.

    Raises TransactionConflict after `tries`, NotNow when the database is away.
    """
    for attempt in range(tries - 1):
        try:
            async with database.transaction() as tx:
                return await work(tx)
        except TransactionConflict:
            await asyncio.sleep(full_jitter(rng, attempt, base=0.002, cap=0.2))
    async with database.transaction() as tx:
        return await work(tx)


async def _keep_session(_: asyncpg.Connection) -> None:
    """Nothing to reset: session state is never set (locks and settings are LOCAL to transactions), and
    asyncpg's RESET ALL is one more round trip for every loan."""
