import asyncio
from pathlib import Path

import pytest

from posthouse.domain.errors import NotNow
from posthouse.storage.db import open_wire
from posthouse.storage.migrate import MigrationRefused, load_migrations, migrate, pending
from posthouse.storage.sql import Queries, parse

_QUERIES = Queries(tuple(parse("-- name: has\nSELECT to_regclass($1) IS NOT NULL;", "own.sql")))
_ONE = "CREATE TABLE one (n int);"
_TWO = "CREATE TABLE two (n int);\nINSERT INTO two VALUES (1);"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_one.sql").write_text(_ONE)
    (tmp_path / "0002_two.sql").write_text(_TWO)
    (tmp_path / "notes.txt").write_text("not a migration")
    return tmp_path


async def _has(dsn: str, table: str) -> bool:
    wire = await open_wire(dsn, _QUERIES, server_settings={})
    found = await wire.value(bool, "has", table)
    await wire.close()
    return found


async def test_each_file_is_applied_once_in_order(empty_dsn: str, folder: Path) -> None:
    assert await pending(empty_dsn, folder) == ["0001_one.sql", "0002_two.sql"]
    assert not await _has(empty_dsn, "schema_migration")
    assert await migrate(empty_dsn, folder) == ["0001_one.sql", "0002_two.sql"]
    assert await migrate(empty_dsn, folder) == []
    (folder / "0003_three.sql").write_text("DROP TABLE one;")
    assert await pending(empty_dsn, folder) == ["0003_three.sql"]
    assert await migrate(empty_dsn, folder) == ["0003_three.sql"]
    assert not await _has(empty_dsn, "one")


async def test_two_at_once_apply_each_file_once(empty_dsn: str, folder: Path) -> None:
    (folder / "0003_slow.sql").write_text("SELECT pg_sleep(0.3);")
    applied = await asyncio.gather(*(migrate(empty_dsn, folder) for _ in range(3)))
    assert sorted(applied, key=len) == [[], [], ["0001_one.sql", "0002_two.sql", "0003_slow.sql"]]


async def test_nothing_stays_of_a_file_that_fails(empty_dsn: str, folder: Path) -> None:
    (folder / "0002_two.sql").write_text(f"{_TWO}\nSELECT nothing FROM nowhere;")
    with pytest.raises(Exception, match='relation "nowhere" does not exist'):
        await migrate(empty_dsn, folder)
    assert await _has(empty_dsn, "one")
    assert not await _has(empty_dsn, "two")
    (folder / "0002_two.sql").write_text(_TWO)
    assert await migrate(empty_dsn, folder) == ["0002_two.sql"]


async def test_a_file_changed_after_it_was_applied_is_refused_by_name(empty_dsn: str, folder: Path) -> None:
    await migrate(empty_dsn, folder)
    (folder / "0001_one.sql").write_text(_ONE + " -- better")
    (folder / "0003_three.sql").write_text("CREATE TABLE three (n int);")
    for call in (migrate, pending):
        with pytest.raises(MigrationRefused, match=r"0001_one\.sql was changed after"):
            await call(empty_dsn, folder)
    assert not await _has(empty_dsn, "three")


async def test_a_version_runs_on_what_a_newer_one_has_added(empty_dsn: str, folder: Path) -> None:
    """Old and new run side by side while the processes are restarted one after the other."""
    (folder / "0003_three.sql").write_text("CREATE TABLE three (n int);")
    await migrate(empty_dsn, folder)
    (folder / "0003_three.sql").unlink()
    for call in (pending, migrate):
        assert await call(empty_dsn, folder) == []


async def test_a_version_refuses_a_schema_from_which_a_newer_one_has_taken_away(
    empty_dsn: str, folder: Path
) -> None:
    (folder / "0003_three.sql").write_text("-- No longer used.\n-- phase: contract\nDROP TABLE one;")
    await migrate(empty_dsn, folder)
    (folder / "0003_three.sql").unlink()
    for call in (pending, migrate):
        with pytest.raises(MigrationRefused, match=r"0003_three\.sql, which this version .* cannot run on"):
            await call(empty_dsn, folder)


async def test_a_migration_that_is_not_newer_and_not_known_is_refused(empty_dsn: str, folder: Path) -> None:
    """Of another branch, or renamed: not what the next release has added."""
    await migrate(empty_dsn, folder)
    (folder / "0001_one.sql").unlink()
    with pytest.raises(
        MigrationRefused, match=r"0001_one\.sql, which this version of Posthouse does not know"
    ):
        await pending(empty_dsn, folder)


async def test_a_file_put_in_between_is_refused(empty_dsn: str, folder: Path) -> None:
    (folder / "0002_two.sql").rename(folder / "0004_two.sql")
    await migrate(empty_dsn, folder)
    (folder / "0003_late.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationRefused, match=r"0003_late\.sql comes before 0004"):
        await migrate(empty_dsn, folder)


async def test_a_file_may_run_outside_a_transaction(empty_dsn: str, folder: Path) -> None:
    (folder / "0003_index.sql").write_text(
        "-- no-transaction\n-- Large tables are indexed while they are written.\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS one_n ON one (n);\n\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS two_n ON two (n);\n"
    )
    await migrate(empty_dsn, folder)
    assert await _has(empty_dsn, "one_n")
    assert await _has(empty_dsn, "two_n")


async def test_no_database_is_not_now(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(NotNow):
        await migrate(f"postgresql://posthouse@/postgres?host={tmp_path}", folder)


def test_badly_named_and_doubly_numbered_files_are_refused(folder: Path) -> None:
    (folder / "0002_again.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationRefused, match=r"0002_two\.sql and 0002_again\.sql have the same number"):
        load_migrations(folder)
    (folder / "0002_again.sql").rename(folder / "2_again.sql")
    with pytest.raises(MigrationRefused, match=r"2_again\.sql is not named like"):
        load_migrations(folder)


async def test_ours_apply_to_an_empty_database(empty_dsn: str) -> None:
    names = await migrate(empty_dsn)
    assert names == [migration.name for migration in load_migrations()]
    assert await pending(empty_dsn) == []
