"""`posthouse doctor`: what is wrong with the house, in words, and what to do about it."""

import asyncio
import platform
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated, Final, assert_never
from urllib.parse import urlsplit

import typer
from rich.console import Group
from rich.text import Text

from posthouse.cli.call import Call, call_of, cell, run, table
from posthouse.cli.exits import Exit
from posthouse.cli.reach import reached_dsn
from posthouse.clock import SystemClock
from posthouse.config import SendGridAccountSettings, Settings, SmtpAccountSettings
from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.domain.ids import RelayAccount
from posthouse.domain.stream import Stream
from posthouse.storage import books, letters, partitions
from posthouse.storage.db import Database, PoolKind, open_pool
from posthouse.storage.doctor import Symptoms, examine
from posthouse.storage.migrate import pending
from posthouse.storage.sql import load_queries

#: Seconds a due mail may wait before the house is sick or only slow.
DUE_LIMITS: Final = {Stream.TRANSACTIONAL: 30.0, Stream.MARKETING: 900.0}
_CALLBACK_LIMIT: Final = 60.0  # seconds
_CLOCK_LIMIT: Final = 5.0  # seconds
_CONNECT_TIMEOUT: Final = 3.0  # seconds


class Health(StrEnum):
    OK = "ok"
    WARNING = "warning"  # look at it
    FAILED = "failed"  # mail is at risk or late: exit code 1


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    health: Health
    words: str


def register(app: typer.Typer) -> None:
    app.command("doctor")(command)


def command(
    context: typer.Context,
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Also count every row against the books: minutes on a large house."),
    ] = False,
) -> None:
    """Examine the house. Exit code 1 when something has failed."""
    call = call_of(context)
    checks = run(_examine(call, audit=audit))
    shown = table("", "check", "")
    for check in checks:
        shown.add_row(Text(check.health, _style(check.health)), check.name, cell(check.words))
    failed = [check for check in checks if check.health is Health.FAILED]
    end = Text("Something has failed.", "bold red") if failed else Text("The house is well.", "bold green")
    call.answer({"healthy": not failed, "checks": checks}, Group(shown, Text(), end))
    raise typer.Exit(Exit.FOUND if failed else Exit.OK)


async def _examine(call: Call, *, audit: bool) -> list[Check]:
    settings = call.settings()
    checks = [
        Check("version", Health.OK, f"posthouse {version('posthouse')}, Python {platform.python_version()}")
    ]
    checks += await asyncio.gather(*(_relay(settings, account) for account in settings.relays))
    async for check in _database_checks(settings, audit=audit):
        checks.append(check)
    return checks


async def _database_checks(settings: Settings, *, audit: bool) -> AsyncIterator[Check]:
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
        yield Check("database", Health.FAILED, error.message)


async def _house_checks(settings: Settings, db: Database) -> list[Check]:
    symptoms = await examine(db, lease=settings.lease.dead_after)
    lacking = await partitions.missing(db, SystemClock().now().date())
    dead = await letters.by_source(db)
    return [
        Check("database", Health.OK, f"PostgreSQL {symptoms.server_version}"),
        _clock(symptoms.database_ms),
        _partitions(lacking),
        _keys(symptoms.valid_keys),
        *_due(symptoms),
        *_in_hand(symptoms, settings.lease.dead_after),
        _callbacks(symptoms.oldest_callback),
        _dead_letters(dead),
    ]


def _migrations(missing: Sequence[str]) -> Check:
    if missing:
        return Check("migrations", Health.FAILED, f"missing: {', '.join(missing)}. Run `posthouse migrate`.")
    return Check("migrations", Health.OK, "up to date")


def _clock(database_ms: float) -> Check:
    apart = abs(time.time() - database_ms / 1000)
    if apart > _CLOCK_LIMIT:
        return Check("clock", Health.WARNING, f"{apart:.1f} s apart from the database's: set both by NTP")
    return Check("clock", Health.OK, f"{apart:.3f} s apart from the database's")


def _partitions(lacking: Sequence[str]) -> Check:
    if lacking:
        return Check(
            "partitions",
            Health.FAILED,
            f"{len(lacking)} are missing, so mail cannot be accepted: {', '.join(lacking[:3])}. "
            "The processor makes them: is it running?",
        )
    return Check("partitions", Health.OK, f"stand until {partitions.DAYS_AHEAD} days ahead")


def _keys(valid: int) -> Check:
    if not valid:
        return Check("keys", Health.WARNING, "none: `posthouse keys create NAME` makes one")
    return Check("keys", Health.OK, f"{valid} valid")


def _due(symptoms: Symptoms) -> Iterator[Check]:
    for stream, seconds in symptoms.longest_due.items():
        name = f"{stream} queue"
        if seconds <= DUE_LIMITS[stream]:
            yield Check(name, Health.OK, f"longest due: {seconds:.1f} s" if seconds else "nothing waits")
            continue
        words = f"a mail has been due for {seconds:.0f} s: do a worker and a relay of this stream run?"
        match stream:
            case Stream.TRANSACTIONAL:
                yield Check(name, Health.FAILED, words)
            case Stream.MARKETING:
                yield Check(name, Health.WARNING, words)
            case _:
                assert_never(stream)


def _in_hand(symptoms: Symptoms, lease: timedelta) -> Iterator[Check]:
    silent = ", ".join(f"{one.role} {one.host}:{one.pid}" for one in symptoms.silent_workers)
    if silent:
        words = f"silent for over {lease.total_seconds():.0f} s and not declared dead: {silent}"
        yield Check("workers", Health.WARNING, words)
    else:
        yield Check("workers", Health.OK, "all beat")
    if symptoms.orphaned_jobs:
        words = f"{symptoms.orphaned_jobs} are in hand of workers that are dead: the sweeper should have them"
        yield Check("stuck jobs", Health.FAILED, words)
    else:
        yield Check("stuck jobs", Health.OK, "none")
    if symptoms.doubts:
        overdue = f", {symptoms.doubts_overdue} of them overdue" if symptoms.doubts_overdue else ""
        words = f"{symptoms.doubts}{overdue}: `posthouse emails resolve` settles what is held for you"
        yield Check("unknown outcomes", Health.WARNING, words)
    else:
        yield Check("unknown outcomes", Health.OK, "none")


def _callbacks(oldest: float) -> Check:
    if oldest > _CALLBACK_LIMIT:
        return Check(
            "callbacks", Health.WARNING, f"one has waited for {oldest:.0f} s: is the processor running?"
        )
    return Check("callbacks", Health.OK, "processed")


def _dead_letters(by_source: dict[str, int]) -> Check:
    if by_source:
        counts = ", ".join(f"{source}: {count}" for source, count in by_source.items())
        return Check("dead letters", Health.WARNING, counts)
    return Check("dead letters", Health.OK, "none")


async def _books(db: Database) -> Check:
    counted = await books.residual(db)
    if counted.residual:
        findings = counted.findings
        more = f"; and {len(findings) - 10} more" if len(findings) > 10 else ""
        return Check("books", Health.FAILED, f"residual {counted.residual}: {'; '.join(findings[:10])}{more}")
    return Check("books", Health.OK, f"{counted.accepted:,} accepted, residual 0")


async def _relay(settings: Settings, account: RelayAccount) -> Check:
    """Whether its port takes a connection; not whether it would take mail."""
    host, port = _place(settings, account)
    name = f"relay {account}"
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except OSError as error:
        reason = str(error) or f"no answer within {_CONNECT_TIMEOUT:.0f} s"
        return Check(name, Health.FAILED, f"{host}:{port} cannot be reached: {reason}")
    return Check(name, Health.OK, f"{host}:{port} answers")


def _place(settings: Settings, account: RelayAccount) -> tuple[str, int]:
    table_of_it = settings.relay(account)
    match table_of_it:
        case SmtpAccountSettings():
            return table_of_it.host, table_of_it.port
        case SendGridAccountSettings():
            parts = urlsplit(table_of_it.base_url)
            return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
        case _:
            assert_never(table_of_it)


def _style(health: Health) -> str:
    match health:
        case Health.OK:
            return "green"
        case Health.WARNING:
            return "yellow"
        case Health.FAILED:
            return "bold red"
        case _:
            assert_never(health)
