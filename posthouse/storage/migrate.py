"""Schema migrations: numbered `.sql` files, each applied once, in order, and never changed afterwards.

A file is one transaction, unless its first line is `-- no-transaction` (for CREATE INDEX CONCURRENTLY and
the like); such a file runs statement by statement, so each of its statements must bear being run again.

A line `-- phase: contract` marks a file on whose schema the release before cannot run: one that takes away.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

from posthouse.domain.errors import Misconfigured
from posthouse.storage.db import Wire, open_wire
from posthouse.storage.sql import load_file

_FILE = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql")
_NO_TRANSACTION = "-- no-transaction"
_CONTRACT = re.compile(r"^-- phase: contract$", re.MULTILINE)
# DDL waits for its locks at most this long: behind a waiting ALTER every reader of the table queues up.
_SERVER_SETTINGS: Mapping[str, str] = MappingProxyType(
    {"application_name": "posthouse migrate", "lock_timeout": "10s", "statement_timeout": "0"}
)


class Phase(StrEnum):
    """What a migration does to the release before it.

    A change that takes something away comes in two releases: the migrations of the first only add, so both
    run on them side by side; the second one's take away.
    """

    EXPAND = "expand"
    CONTRACT = "contract"


class MigrationRefused(Misconfigured):
    """The files and the database do not belong together; the message says which file and what to do."""

    code = "migration_refused"


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str  # the file's
    sql: str

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.sql.encode()).digest()

    @property
    def phase(self) -> Phase:
        return Phase.CONTRACT if _CONTRACT.search(self.sql) else Phase.EXPAND

    @property
    def in_transaction(self) -> bool:
        return not self.sql.startswith(_NO_TRANSACTION)


@dataclass(frozen=True, slots=True)
class Applied:
    number: int
    name: str
    digest: bytes
    phase: Phase


async def migrate(dsn: str, folder: Traversable | None = None) -> list[str]:
    """Apply what is missing; the names applied. Two at once are safe: the second waits, then finds nothing.

    Raises MigrationRefused, NotNow, or the server's error of the file that fails (nothing of it stays).
    """
    migrations = load_migrations(folder)
    async with _connected(dsn) as wire:
        await _take_turn(wire)
        await wire.execute("create_schema_migration")
        missing = _missing(migrations, await _applied(wire))
        for migration in missing:
            await _apply(wire, migration)
    return [migration.name for migration in missing]


async def pending(dsn: str, folder: Traversable | None = None) -> list[str]:
    """The names that `migrate` would apply; changes nothing. Raises MigrationRefused or NotNow."""
    migrations = load_migrations(folder)
    async with _connected(dsn) as wire:
        known = await wire.value(bool, "has_schema_migration")
        applied = await _applied(wire) if known else []
    return [migration.name for migration in _missing(migrations, applied)]


def load_migrations(folder: Traversable | None = None) -> tuple[Migration, ...]:
    """The files of a folder (default: storage/schema) by number. Raises MigrationRefused."""
    folder = files("posthouse.storage") / "schema" if folder is None else folder
    found: dict[int, Migration] = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise MigrationRefused(f"{file.name} is not named like 0001_what_it_does.sql.")
        number = int(match["number"])
        if number in found:
            raise MigrationRefused(f"{file.name} and {found[number].name} have the same number.")
        found[number] = Migration(number, file.name, file.read_text(encoding="utf-8"))
    return tuple(found[number] for number in sorted(found))


def _missing(migrations: Sequence[Migration], applied: Sequence[Applied]) -> list[Migration]:
    files_by_number = {migration.number: migration for migration in migrations}
    for done in applied:
        file = files_by_number.get(done.number)
        if file is None:
            _refuse_unknown(done, max(files_by_number, default=0))
            continue
        if file.digest != done.digest:
            raise MigrationRefused(
                f"{file.name} was changed after it had been applied: "
                "put it back as it was, and write the change as a new migration."
            )
    last = max((done.number for done in applied), default=0)
    missing = [migration for migration in migrations if migration.number not in {a.number for a in applied}]
    for migration in missing:
        if migration.number < last:
            raise MigrationRefused(
                f"{migration.name} comes before {last:04}, which is already applied: give it a higher number."
            )
    return missing


def _refuse_unknown(done: Applied, newest: int) -> None:
    """A newer version may have added to the schema while this one runs; it may not have taken away."""
    if done.phase is Phase.EXPAND and done.number > newest:
        return
    raise MigrationRefused(
        f"The database has migration {done.name}, which this version of Posthouse does not know, and cannot "
        "run on: it was made by a newer version. Run that version, or restore the backup taken before it."
    )


async def _apply(wire: Wire, migration: Migration) -> None:
    if not migration.in_transaction:
        for statement in _statements(migration.sql):
            await wire.script(statement)
        await _record(wire, migration)
        return
    async with wire.transaction():
        await wire.script(migration.sql)
        await _record(wire, migration)


def _statements(sql: str) -> list[str]:
    """Statements of a no-transaction file: each ends with a semicolon at the end of a line. Sent together
    they would be one implicit transaction."""
    parts = re.split(r";[ \t]*(?:\n|\Z)", sql)
    return [part for part in parts if any(_is_sql(line) for line in part.splitlines())]


def _is_sql(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("--")


async def _record(wire: Wire, migration: Migration) -> None:
    await wire.execute(
        "record_migration", migration.number, migration.name, migration.digest, migration.phase.value
    )


async def _applied(wire: Wire) -> list[Applied]:
    return await wire.fetch_into(_applied_row, "applied_migrations")


def _applied_row(number: int, name: str, digest: bytes, phase: str) -> Applied:
    return Applied(number, name, digest, Phase(phase))


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[Wire]:
    wire = await open_wire(dsn, load_file("migrations.sql"), server_settings=_SERVER_SETTINGS)
    try:
        yield wire
    finally:
        await wire.close()


async def _take_turn(wire: Wire) -> None:
    """Hold the migration lock; it goes with the connection.

    Polled rather than waited for: a session that waits inside a statement holds a snapshot, and CREATE INDEX
    CONCURRENTLY of the one that works would wait for that snapshot: a deadlock.
    """
    while not await wire.value(bool, "try_migration_lock"):  # noqa: ASYNC110  # another process has it
        await asyncio.sleep(0.1)
