"""Connections, transactions and typed access by query name. asyncpg is seen nowhere else.

`json` and `jsonb` go in as str or UTF-8 bytes and come out as bytes, unparsed. Losing the database, in
whatever way asyncpg reports it, is NotNow; a conflict with another transaction is TransactionConflict
(also NotNow); everything else is a bug and propagates. When the connection goes while a COMMIT is under
way the outcome is not known: NotNow says "try again", so what is tried again must bear being done twice.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Protocol, TypeVar

import asyncpg

from posthouse.clock import full_jitter
from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.storage.sql import BrokenQuery, Queries

T = TypeVar("T")


class Row(Protocol):
    """One row, by position or by column name."""

    def __getitem__(self, column: str | int, /) -> object: ...

    def __iter__(self) -> Iterator[object]: ...

    def __len__(self) -> int: ...


class PoolKind(Enum):
    QUEUE = "queue"  # claims and results: the planner is kept on its indexes
    GENERAL = "general"  # API, dashboard, housekeeping


class TransactionConflict(NotNow):
    """A deadlock (40P01) or serialisation failure (40001): the transaction may be run again at once."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    max_size: int
    acquire_timeout: float  # seconds to wait for a free connection
    command_timeout: float  # seconds; above the server's own, it only catches a server that is mute
    server_settings: Mapping[str, str]


# Why the planner is held: DESIGN.md section 3, "Planner traps".
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
            "jit": "off",
            "statement_timeout": "30s",
            "idle_in_transaction_session_timeout": "30s",
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

_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, statement timeout, database dropped
    asyncpg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    asyncpg.LockNotAvailableError,  # lock_timeout
    asyncpg.ReadOnlySQLTransactionError,  # a standby, in the middle of a fail-over
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,  # refused, no such socket, reset; TimeoutError is one
)
_CONFLICT = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
)


class _Edge:
    """Around every call of asyncpg: turns what it raises into what the house understands."""

    __slots__ = ("_connection",)

    def __init__(self, connection: asyncpg.Connection | None = None) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None:
            return
        if isinstance(error, _CONFLICT):
            raise TransactionConflict("Another transaction was in the way; try again.") from error
        if isinstance(error, _GONE) or self._found_closed(error):
            raise NotNow(f"The database is not available: {_words(error)}.") from error

    def _found_closed(self, error: BaseException) -> bool:
        # InterfaceError is also how asyncpg reports misuse, which must not pass for an outage.
        if not isinstance(error, asyncpg.InterfaceError):
            return False
        closed = self._connection is not None and self._connection.is_closed()
        return bool(closed) or "is closing" in str(error) or "is closed" in str(error)


def _checked(kind: type[T], value: object, name: str) -> T:
    if not isinstance(value, kind):
        raise TypeError(f'query "{name}" gave {type(value).__name__}, not {kind.__name__}')
    return value


def _count(tag: str) -> int:
    """Rows, from a command tag such as "INSERT 0 5"."""
    last = tag.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


def _words(error: BaseException) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


class Session:
    """One connection, lent. Queries are named; each is prepared once per connection and kept."""

    __slots__ = ("_connection", "_queries")

    def __init__(self, connection: asyncpg.Connection, queries: Queries) -> None:
        self._connection = connection
        self._queries = queries

    async def fetch(self, name: str, *args: object) -> list[Row]:
        rows: list[Row]
        with _Edge(self._connection):
            rows = await self._connection.fetch(self._queries[name], *args)
        return rows

    async def fetch_into(self, into: Callable[..., T], name: str, *args: object) -> list[T]:
        """Every row as `into(*columns)`, in the order of the query's columns.

        A class whose fields stand in that order costs nothing but its own construction.
        """
        return [into(*row) for row in await self.fetch(name, *args)]

    async def fetch_one(self, into: Callable[..., T], name: str, *args: object) -> T | None:
        """The first row as `into(*columns)`; None when there is none."""
        with _Edge(self._connection):
            row = await self._connection.fetchrow(self._queries[name], *args)
        return None if row is None else into(*row)

    async def fetchval(self, name: str, *args: object) -> object:
        """The first column of the first row; None when there is none."""
        value: object
        with _Edge(self._connection):
            value = await self._connection.fetchval(self._queries[name], *args)
        return value

    async def value(self, kind: type[T], name: str, *args: object) -> T:
        """The first column of the first row, which must be there and be of that type. Raises TypeError."""
        return _checked(kind, await self.fetchval(name, *args), name)

    async def column(self, kind: type[T], name: str, *args: object) -> list[T]:
        """The first column of every row, each of that type. Raises TypeError."""
        return [_checked(kind, row[0], name) for row in await self.fetch(name, *args)]

    async def execute(self, name: str, *args: object) -> int:
        """Run it; how many rows it touched (0 for statements that touch none)."""
        with _Edge(self._connection):
            tag: str = await self._connection.execute(self._queries[name], *args)
        return _count(tag)

    async def executemany(self, name: str, rows: Iterable[Sequence[object]]) -> None:
        """All rows or none, pipelined. For sets prefer `unnest` or `copy`."""
        with _Edge(self._connection):
            await self._connection.executemany(self._queries[name], rows)

    async def copy(self, table: str, columns: Sequence[str], records: Iterable[Sequence[object]]) -> int:
        """COPY rows into a table (binary); how many went in."""
        with _Edge(self._connection):
            tag: str = await self._connection.copy_records_to_table(table, records=records, columns=columns)
        return _count(tag)

    async def script(self, sql: str) -> None:
        """Text of a `.sql` file as it is, several statements allowed: migrations and partition DDL."""
        with _Edge(self._connection):
            await self._connection.execute(sql)

    async def prepare_all(self) -> None:
        """Let the server parse and plan every named query. Raises BrokenQuery naming file and query."""
        for query in self._queries.all():
            try:
                with _Edge(self._connection):
                    await self._connection.prepare(query.sql)
            except asyncpg.PostgresError as error:
                raise BrokenQuery(f"{query.label}: {_words(error)}.") from error


class Transaction(Session):
    """A session inside BEGIN ... COMMIT."""

    __slots__ = ()

    async def stream(
        self, into: Callable[..., T], name: str, *args: object, prefetch: int = 500
    ) -> AsyncIterator[T]:
        """Rows as they come, `prefetch` at a time, for answers that must not be held in memory whole."""
        with _Edge(self._connection):
            cursor = await self._connection.cursor(self._queries[name], *args)
        while True:
            with _Edge(self._connection):
                rows = await cursor.fetch(prefetch)
            if not rows:
                return
            for row in rows:
                yield into(*row)


class Database:
    """A pool and the named queries. Each call by itself is one statement and commits by itself."""

    __slots__ = ("_pool", "_settings", "dsn", "queries")

    def __init__(self, dsn: str, pool: asyncpg.Pool, settings: PoolSettings, queries: Queries) -> None:
        self.dsn = dsn
        self.queries = queries
        self._pool = pool
        self._settings = settings

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection without a transaction: every statement commits by itself. Raises NotNow."""
        connection = await self._acquire()
        try:
            yield Session(connection, self.queries)
        finally:
            await self._release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Commits when the block ends, rolls back when it raises. Raises NotNow."""
        connection = await self._acquire()
        try:
            async with _begun(connection):
                yield Transaction(connection, self.queries)
        finally:
            await self._release(connection)

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

    async def _acquire(self) -> asyncpg.Connection:
        with _Edge():
            return await self._pool.acquire(timeout=self._settings.acquire_timeout)

    async def _release(self, connection: asyncpg.Connection) -> None:
        # What was committed stays so: a connection lost on its way back is nobody's failure.
        with suppress(NotNow), _Edge(connection):
            await self._pool.release(connection, timeout=5.0)


@asynccontextmanager
async def _begun(connection: asyncpg.Connection) -> AsyncIterator[None]:
    transaction = connection.transaction()
    with _Edge(connection):
        await transaction.start()
    try:
        yield
    except BaseException:
        # A connection that is gone has rolled back by itself; the error that ended the block is to be seen.
        if not connection.is_closed():
            with _Edge(connection):
                await transaction.rollback()
        raise
    with _Edge(connection):
        await transaction.commit()


async def open_pool(
    dsn: str, kind: PoolKind, queries: Queries, *, max_size: int | None = None, min_size: int = 1
) -> Database:
    """A connected pool. Raises NotNow when the server is away, Misconfigured when it refuses us."""
    settings = _SETTINGS[kind]
    with _refusals_as_misconfigured(), _Edge():
        pool = await asyncpg.create_pool(
            dsn,
            min_size=min_size,
            max_size=settings.max_size if max_size is None else max_size,
            init=_set_codecs,
            reset=_keep_session,
            command_timeout=settings.command_timeout,
            timeout=10.0,
            statement_cache_size=1024,
            max_cached_statement_lifetime=0,
            max_cacheable_statement_size=0,
            server_settings=dict(settings.server_settings),
        )
    return Database(dsn, pool, settings, queries)


class Wire(Session):
    """A connection of its own, outside every pool: LISTEN, NOTIFY, migrations."""

    __slots__ = ()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        async with _begun(self._connection):
            yield

    async def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """LISTEN; `heard(channel)` is called for every notification."""

        def callback(_: object, __: int, name: str, ___: object) -> None:
            heard(name)

        with _Edge(self._connection):
            await self._connection.add_listener(channel, callback)

    def on_lost(self, lost: Callable[[], None]) -> None:
        """`lost()` is called when the connection ends, whoever ends it."""
        self._connection.add_termination_listener(lambda _: lost())

    async def close(self) -> None:
        try:
            with _Edge(self._connection):
                await self._connection.close(timeout=2.0)
        except NotNow:
            self._connection.terminate()


async def open_wire(dsn: str, queries: Queries, *, server_settings: Mapping[str, str]) -> Wire:
    """Raises NotNow when the server is away, Misconfigured when it refuses us."""
    with _refusals_as_misconfigured(), _Edge():
        connection = await asyncpg.connect(dsn, timeout=10.0, server_settings=dict(server_settings))
    return Wire(connection, queries)


async def ping(dsn: str, *, timeout: float = 5.0) -> None:
    """Return when the server takes a connection. Raises NotNow or Misconfigured."""
    with _refusals_as_misconfigured(), _Edge():
        connection = await asyncpg.connect(dsn, timeout=timeout)
        await connection.close(timeout=timeout)


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


@contextmanager
def _refusals_as_misconfigured() -> Iterator[None]:
    try:
        yield
    except _REFUSED as error:
        raise Misconfigured(f"The database refuses the connection: {_words(error)}.") from error


async def _set_codecs(connection: asyncpg.Connection) -> None:
    for kind, encode, decode in (("json", _json_in, _json_out), ("jsonb", _jsonb_in, _jsonb_out)):
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=encode, decoder=decode, format="binary"
        )


_JSONB_VERSION = b"\x01"


def _json_in(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _json_out(value: bytes) -> bytes:
    return value


def _jsonb_in(value: str | bytes) -> bytes:
    return _JSONB_VERSION + _json_in(value)


def _jsonb_out(value: bytes) -> bytes:
    return value[1:]


async def _keep_session(_: asyncpg.Connection) -> None:
    """Nothing to reset: session state is never set (locks and settings are LOCAL to transactions), and
    asyncpg's RESET ALL is one more round trip for every loan."""
