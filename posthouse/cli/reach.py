"""Reaching the house's database from a command, whether the house is up or not."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from posthouse.config import Settings
from posthouse.domain.errors import Misconfigured
from posthouse.storage.db import Database, PoolKind, open_pool
from posthouse.storage.embedded import EmbeddedPostgres
from posthouse.storage.migrate import pending
from posthouse.storage.pg_host import CLUSTER, FolderInUse
from posthouse.storage.sql import load_queries

_SOCKET_LINE = 4  # of postmaster.pid, counted from 0


@asynccontextmanager
async def reached_dsn(settings: Settings) -> AsyncIterator[str]:
    """The configured database; else the embedded one: that of the running house, or started for this command.

    Raises Misconfigured when it cannot be started, and when somebody holds its folder without running it.
    """
    if settings.database.url:
        yield settings.database.url
        return
    folder = settings.data_dir / "postgres"
    embedded = EmbeddedPostgres(folder)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(embedded)
            dsn = embedded.dsn
        except FolderInUse:
            dsn = _running_dsn(embedded.dsn, folder)
        yield dsn


@asynccontextmanager
async def reached(settings: Settings) -> AsyncIterator[Database]:
    """A migrated database. Raises NotNow, and Misconfigured as `reached_dsn` and for a schema that is old."""
    async with reached_dsn(settings) as dsn:
        if await pending(dsn):
            raise Misconfigured("The database is not migrated to this version: run `posthouse migrate`.")
        database = await open_pool(dsn, PoolKind.GENERAL, load_queries(), max_size=2)
        try:
            yield database
        finally:
            await database.close()


def _running_dsn(dsn: str, folder: Path) -> str:
    """The DSN with the socket folder that the running server has written down."""
    try:
        lines = (folder / CLUSTER / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        sockets = lines[_SOCKET_LINE]
    except (OSError, IndexError) as error:
        raise Misconfigured(
            f"Another Posthouse holds {folder} and its PostgreSQL does not run (yet): try again in a moment."
        ) from error
    parts = urlsplit(dsn)
    query = "&".join(
        f"{name}={quote(sockets if name == 'host' else value, safe='')}"
        for name, value in parse_qsl(parts.query)
    )
    return urlunsplit(parts._replace(query=query))
