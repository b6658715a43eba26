"""Rows whose time is over. SQL in queries/housekeeping.sql and queries/leases.sql."""

from datetime import timedelta

from posthouse.storage.db import Database


async def forget_idempotency_keys(db: Database, kept: timedelta) -> int:
    """Answers older than `kept`: the same key then makes a new mail."""
    return await db.execute("forget_idempotency_keys", kept)


async def forget_workers(db: Database) -> int:
    """Rows of workers that ended more than a week ago."""
    return await db.execute("forget_workers")
