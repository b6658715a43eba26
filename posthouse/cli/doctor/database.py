"""What the database tells of itself and of the mail in it. The first finding that makes the others pointless
ends the examination."""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Final, assert_never

from posthouse.cli.doctor.check import Check, failed, ok, warning
from posthouse.cli.reach import reached_dsn
from posthouse.clock import SystemClock
from posthouse.config import Settings
from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.domain.stream import Stream
from posthouse.domain.webhook import Endpoint, EndpointStatus
from posthouse.storage import books, letters, partitions, webhooks
from posthouse.storage.db import Database, PoolKind, open_pool
from posthouse.storage.doctor import Symptoms, examine
from posthouse.storage.migrate import pending
from posthouse.storage.sql import load_queries

#: Seconds a due mail may wait before the house is sick or only slow.
DUE_LIMITS: Final = {Stream.TRANSACTIONAL: 30.0, Stream.MARKETING: 900.0}
_CALLBACK_LIMIT: Final = 60.0  # seconds
_CLOCK_LIMIT: Final = 5.0  # seconds


async def database_checks(settings: Settings, *, audit: bool) -> AsyncIterator[Check]:
    """Ends at the first that makes the others pointless."""
    try:
        async with reached_dsn(settings) as dsn:
            missing = await pending(dsn)
            yield _migrations(missing)
            if missing:
                return
            db = await open_pool(dsn, PoolKind.GENERAL, load_queries(), max_size=2)
            try:
                for check in await _house_checks(settings, db):
                    yield check
                if audit:
                    yield await _books(db)
            finally:
                await db.close()
    except (NotNow, Misconfigured) as error:
        yield failed("database", error.message, "The other checks need it: mend it and look again.")


async def _house_checks(settings: Settings, db: Database) -> list[Check]:
    symptoms = await examine(db, lease=settings.lease.dead_after)
    lacking = await partitions.missing(db, SystemClock().now().date())
    dead = await letters.by_source(db)
    return [
        ok("database", f"PostgreSQL {symptoms.server_version}"),
        _clock(symptoms.database_ms),
        _partitions(lacking),
        _keys(symptoms.valid_keys),
        *_due(symptoms),
        *_in_hand(symptoms, settings.lease.dead_after),
        _callbacks(symptoms.oldest_callback),
        _dead_letters(dead),
        _webhooks(await webhooks.failing(db)),
    ]


def _migrations(missing: Sequence[str]) -> Check:
    if missing:
        return failed("migrations", f"missing: {', '.join(missing)}", "Run `posthouse migrate`.")
    return ok("migrations", "up to date")


def _clock(database_ms: float) -> Check:
    apart = abs(time.time() - database_ms / 1000)
    if apart > _CLOCK_LIMIT:
        return warning("clock", f"{apart:.1f} s apart from the database's", "Set both by NTP.")
    return ok("clock", f"{apart:.3f} s apart from the database's")


def _partitions(lacking: Sequence[str]) -> Check:
    if lacking:
        return failed(
            "partitions",
            f"{len(lacking)} are missing, so mail cannot be accepted: {', '.join(lacking[:3])}",
            "The processor makes them: start it.",
        )
    return ok("partitions", f"stand until {partitions.DAYS_AHEAD} days ahead")


def _keys(valid: int) -> Check:
    if not valid:
        return warning("keys", "none", "`posthouse keys create NAME` makes one.")
    return ok("keys", f"{valid} valid")


def _due(symptoms: Symptoms) -> Iterator[Check]:
    for stream, seconds in symptoms.longest_due.items():
        name = f"{stream} queue"
        if seconds <= DUE_LIMITS[stream]:
            yield ok(name, f"longest due: {seconds:.1f} s" if seconds else "nothing waits")
            continue
        found, todo = (
            f"a mail has been due for {seconds:.0f} s",
            "Do a worker and a relay of this stream run?",
        )
        match stream:
            case Stream.TRANSACTIONAL:
                yield failed(name, found, todo)
            case Stream.MARKETING:
                yield warning(name, found, todo)
            case _:
                assert_never(stream)


def _in_hand(symptoms: Symptoms, lease: timedelta) -> Iterator[Check]:
    silent = ", ".join(f"{one.role} {one.host}:{one.pid}" for one in symptoms.silent_workers)
    if silent:
        found = f"silent for over {lease.total_seconds():.0f} s and not declared dead: {silent}"
        yield warning("workers", found, "The processor declares them dead: start it.")
    else:
        yield ok("workers", "all beat")
    if symptoms.orphaned_jobs:
        found = f"{symptoms.orphaned_jobs} are in hand of workers that are dead"
        yield failed(
            "stuck jobs", found, "The processor's sweeper takes them back: start it, or read its log."
        )
    else:
        yield ok("stuck jobs", "none")
    if symptoms.doubts:
        overdue = f", {symptoms.doubts_overdue} of them overdue" if symptoms.doubts_overdue else ""
        todo = "`posthouse emails resolve` settles what is held for you."
        yield warning("unknown outcomes", f"{symptoms.doubts}{overdue}", todo)
    else:
        yield ok("unknown outcomes", "none")


def _callbacks(oldest: float) -> Check:
    if oldest > _CALLBACK_LIMIT:
        return warning("callbacks", f"one has waited for {oldest:.0f} s", "Is the processor running?")
    return ok("callbacks", "processed")


def _dead_letters(by_source: dict[str, int]) -> Check:
    if by_source:
        counts = ", ".join(f"{source}: {count}" for source, count in by_source.items())
        return warning("dead letters", counts, "Look at them: docs/operations.md says how.")
    return ok("dead letters", "none")


def _webhooks(troubled: Sequence[Endpoint]) -> Check:
    """Failing is theirs to mend, but an application that hears nothing is the operator's question first."""
    if not troubled:
        return ok("webhooks", "none fails")
    words = "; ".join(_trouble(one) for one in troubled[:3])
    more = f"; and {len(troubled) - 3} more" if len(troubled) > 3 else ""
    todo = "Mend the endpoint, then `posthouse webhooks enable ID` and `posthouse webhooks redeliver ID`."
    return warning("webhooks", f"{words}{more}", todo)


def _trouble(endpoint: Endpoint) -> str:
    if endpoint.status is EndpointStatus.DISABLED:
        return f"{endpoint.endpoint_id} is disabled: {endpoint.disabled_reason}"
    return f"{endpoint.endpoint_id} has failed since {endpoint.failing_since}: {endpoint.last_error}"


async def _books(db: Database) -> Check:
    counted = await books.residual(db)
    if counted.residual:
        findings = counted.findings
        more = f"; and {len(findings) - 10} more" if len(findings) > 10 else ""
        found = f"residual {counted.residual}: {'; '.join(findings[:10])}{more}"
        return failed("books", found, "Do not make the numbers fit: keep database and logs, and report it.")
    return ok("books", f"{counted.accepted:,} accepted, residual 0")
