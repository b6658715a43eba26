"""One connection of asyncpg: typed access by query name, and what its errors mean to the house.

Losing the database, in whatever way asyncpg reports it, is NotNow; a conflict with another transaction is
TransactionConflict (also NotNow); everything else is a bug and propagates. When the connection goes while a
COMMIT is under way the outcome is not known: NotNow says "try again", so what is tried again must bear being
done twice.

`json` and `jsonb` go in as str or UTF-8 bytes and come out as bytes, unparsed.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Protocol, TypeVar

import asyncpg

from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.storage.sql import BrokenQuery, Queries, Query

T = TypeVar("T")


class Row(Protocol):
    """One row, by position or by column name."""

    def __getitem__(self, column: str | int, /) -> object: ...

    def __iter__(self) -> Iterator[object]: ...

    def __len__(self) -> int: ...


class TransactionConflict(NotNow):
    """A deadlock (40P01) or serialisation failure (40001): the transaction may be run again at once."""


class LockTimeout(NotNow):
    """A lock was not to be had within lock_timeout (55P03)."""


_GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, statement timeout, database dropped
    asyncpg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    asyncpg.ReadOnlySQLTransactionError,  # a standby, in the middle of a fail-over
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,  # the server said good-bye between two statements: asyncpg's states tangle
    OSError,  # refused, no such socket, reset; TimeoutError is one
)
_CONFLICT = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
)


class Edge:
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
        if isinstance(error, asyncpg.LockNotAvailableError):
            raise LockTimeout("Somebody else holds what this needs; try again.") from error
        if isinstance(error, _GONE) or self._found_closed(error):
            raise NotNow(f"The database is not available: {_words(error)}.") from error

    def _found_closed(self, error: BaseException) -> bool:
        # InterfaceError is also how asyncpg reports misuse, which must not pass for an outage.
        if not isinstance(error, asyncpg.InterfaceError):
            return False
        return is_gone(self._connection) or "is closing" in str(error) or "is closed" in str(error)


def is_gone(connection: asyncpg.Connection | None) -> bool:
    """Whether a connection has ended, whoever ended it."""
    if connection is None:
        return False
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:  # the pool takes back a connection that ends while it is lent
        return True


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

    def sql(self, name: str) -> str:
        return self._queries[name]

    def forget(self) -> None:
        """The loan is over. Using it afterwards must not look like a connection that was lost."""
        self._connection = None

    async def fetch(self, name: str, *args: object) -> list[Row]:
        rows: list[Row]
        with Edge(self._connection):
            rows = await self._connection.fetch(self._queries[name], *args)
        return rows

    async def fetch_into(self, into: Callable[..., T], name: str, *args: object) -> list[T]:
        """Every row as `into(*columns)`, in the order of the query's columns.

        A class whose fields stand in that order costs nothing but its own construction.
        """
        return [into(*row) for row in await self.fetch(name, *args)]

    async def fetch_one(self, into: Callable[..., T], name: str, *args: object) -> T | None:
        """The first row as `into(*columns)`; None when there is none."""
        with Edge(self._connection):
            row = await self._connection.fetchrow(self._queries[name], *args)
        return None if row is None else into(*row)

    async def fetchval(self, name: str, *args: object) -> object:
        """The first column of the first row; None when there is none."""
        value: object
        with Edge(self._connection):
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
        with Edge(self._connection):
            tag: str = await self._connection.execute(self._queries[name], *args)
        return _count(tag)

    async def executemany(self, name: str, rows: Iterable[Sequence[object]]) -> None:
        """All rows or none, pipelined. For sets prefer `unnest` or `copy`."""
        with Edge(self._connection):
            await self._connection.executemany(self._queries[name], rows)

    async def copy(self, table: str, columns: Sequence[str], records: Iterable[Sequence[object]]) -> int:
        """COPY rows into a table (binary); how many went in."""
        with Edge(self._connection):
            tag: str = await self._connection.copy_records_to_table(table, records=records, columns=columns)
        return _count(tag)

    async def script(self, sql: str) -> None:
        """Text of a `.sql` file as it is, several statements allowed: migrations and partition DDL."""
        with Edge(self._connection):
            await self._connection.execute(sql)

    async def prepare(self, query: Query) -> None:
        """Let the server parse and plan it. Raises BrokenQuery naming file and query."""
        try:
            with Edge(self._connection):
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
        with Edge(self._connection):
            cursor = await self._connection.cursor(self._queries[name], *args)
        while True:
            with Edge(self._connection):
                rows = await cursor.fetch(prefetch)
            if not rows:
                return
            for row in rows:
                yield into(*row)


@asynccontextmanager
async def begun(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """A transaction on a connection: commits when the block ends, rolls back when it raises."""
    transaction = connection.transaction()
    with Edge(connection):
        await transaction.start()
    try:
        yield
    except BaseException:
        # A connection that is gone has rolled back by itself; the error that ended the block is to be seen.
        if not is_gone(connection):
            with Edge(connection):
                await transaction.rollback()
        raise
    with Edge(connection):
        await transaction.commit()


@contextmanager
def refusals_as_misconfigured() -> Iterator[None]:
    """Around connecting: a server that is there and says no."""
    try:
        yield
    except _REFUSED as error:
        raise Misconfigured(f"The database refuses the connection: {_words(error)}.") from error


async def set_codecs(connection: asyncpg.Connection) -> None:
    """JSON as text, in and out: whoever reads it has a decoder for its shape."""
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
