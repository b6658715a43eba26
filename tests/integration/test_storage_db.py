from posthouse.storage.db import Database


async def test_a_fresh_database_is_migrated(database: Database) -> None:
    assert await database.value(bool, "has_schema_migration")


async def test_each_test_has_its_own(database: Database) -> None:
    async with database.session() as session:
        await session.script("CREATE TABLE mine (x int)")


async def test_each_test_has_its_own_again(database: Database) -> None:
    async with database.session() as session:
        await session.script("CREATE TABLE mine (x int)")
