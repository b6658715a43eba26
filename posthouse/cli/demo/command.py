"""The demo from start to verdict."""

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import aiohttp
import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from posthouse.bus.kafka.standing import behind
from posthouse.bus.kafka.topics import PROCESSOR, RELAY_EVENTS
from posthouse.cli.broker.server import running
from posthouse.cli.demo import houses, plan
from posthouse.cli.demo.client import Api, Ledger, send_all
from posthouse.cli.demo.houses import DemoRelay
from posthouse.cli.demo.report import Check, Simulator, checks, is_settled
from posthouse.cli.house import RunningHouse, running_house
from posthouse.config import KafkaSettings, Settings, load
from posthouse.domain.errors import PosthouseError
from posthouse.domain.event import EventType
from posthouse.domain.job import OPEN_STATES
from posthouse.domain.stream import Stream
from posthouse.status.audit import Finding
from posthouse.status.auditor import Verdict, audit_house
from posthouse.storage import demo as counts
from posthouse.storage import keys
from posthouse.storage.books import Books
from posthouse.storage.db import Database, PoolKind, open_pool
from posthouse.storage.sql import load_queries

SEED: Final = 7
#: Mails whose line breaks after the relay took them: outcomes that must become known again.
CUT: Final = 5
#: In seconds. A relay that calls once for each event makes 30,000 calls.
SETTLE_WITHIN: Final = 240.0


@dataclass(frozen=True, slots=True)
class Result:
    checks: Sequence[Check]
    summary: dict[str, object]

    @property
    def good(self) -> bool:
        return all(check.holds for check in self.checks)


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the data and the ledgers.")] = False,
    data_dir: Annotated[Path, typer.Option(help="Where the demo's house lives.")] = Path(".posthouse/demo"),
    relay: Annotated[
        DemoRelay | None, typer.Option(help="Send both streams by this kind; default: smtp and sendgrid.")
    ] = None,
    kafka: Annotated[bool, typer.Option("--kafka", help="On Kafka, on a broker of its own.")] = False,
) -> None:
    """Send 10,000 mails through a whole house to simulated people, and prove what became of each."""
    console, folder = Console(), data_dir.absolute()
    with _bus(folder.with_name(f"{folder.name}-kafka"), console) if kafka else nullcontext("") as bus:
        result = asyncio.run(run_demo(folder, relay, console, bus=bus, keep=keep))
    console.print(msgspec.json.encode(result.summary).decode(), soft_wrap=True, markup=False, highlight=False)
    raise typer.Exit(0 if result.good else 1)


@contextmanager
def _bus(folder: Path, console: Console) -> Iterator[str]:
    """A broker of its own, and the configuration's table that makes it the bus. Nothing of it is kept."""
    console.print("starting a Kafka broker (the first start fetches it)")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with running(folder, os.environ) as broker:
            yield houses.on_kafka(broker.bootstrap_servers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def run_demo(
    folder: Path, relay: DemoRelay | None, console: Console, *, bus: str, keep: bool
) -> Result:
    """Build a house in `folder`, send, wait until all is told, compare. The folder goes unless `keep`. `bus`:
    the table of the configuration that names another bus than PostgreSQL."""
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)  # nothing else runs yet
    folder.mkdir(parents=True)  # noqa: ASYNC240
    config_file = folder / "posthouse.toml"
    config_file.write_text(houses.configuration(folder, relay) + bus, encoding="utf-8")
    settings = load(config_file, {})
    try:
        async with running_house(settings, config_file) as house, aiohttp.ClientSession() as session:
            console.print(f"The house is up: {', '.join(house.pids)}.")
            result = await _in_the_house(
                settings, house, session, folder, houses.never_heard(relay), console, began
            )
    finally:
        if keep:
            console.print(f"Kept: {folder} (client.jsonl, simulator/ledger.jsonl, logs, the database).")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return result


async def _in_the_house(
    settings: Settings,
    house: RunningHouse,
    session: aiohttp.ClientSession,
    folder: Path,
    never_heard: frozenset[EventType],
    console: Console,
    began: float,
) -> Result:
    db = await open_pool(house.dsn, PoolKind.GENERAL, load_queries(), max_size=2)
    ledger = Ledger(folder / "client.jsonl")
    try:
        _, secret = await keys.create(
            db,
            name="demo",
            stream=None,
            from_domains=[],
            now=datetime.now(UTC),
            random_bytes=secrets.token_bytes,
        )
        api = Api(f"http://{settings.house.host}:{settings.house.api_port}", secret, session)
        simulator = Simulator(f"http://127.0.0.1:{settings.simulation.control_port}", session)
        await _prepare(api, simulator, settings)
        crowd = plan.mails(SEED)
        with _progress(console) as progress:
            sending = progress.add_task("accepted", total=len(crowd))
            ids = await send_all(api, crowd, ledger, lambda: progress.advance(sending))
            ledger.close()
            ending = progress.add_task("ended", total=len(crowd))
            await _until_told(db, settings.kafka, simulator, lambda n: progress.update(ending, completed=n))
        verdict = await audit_house(
            db, folder / "client.jsonl", folder / "simulator" / "ledger.jsonl", settled=True
        )
        found = await checks(db, verdict, len(crowd), simulator, never_heard)
        latency = await counts.handover_latency(db, Stream.TRANSACTIONAL)
        timeline = await api.get(f"/v1/emails/{ids[plan.the_mail_to_show()]}")
        _show(console, verdict.books, timeline, found)
        summary = _summary(verdict, latency, house, time.monotonic() - began)
        return Result(found, summary)
    finally:
        await db.close()


async def _prepare(api: Api, simulator: Simulator, settings: Settings) -> None:
    """Two templates, some addresses that want nothing, and a line that will break."""
    for template in (plan.RECEIPT, plan.NEWSLETTER):
        await api.must_post("/v1/templates", template)
    for address in plan.suppressed_addresses():
        await api.must_post("/v1/suppressions", {"address": address, "scope": "all"})
    for stream in settings.streams.values():
        for account in stream.relays:
            await simulator.cut_after_body(account, CUT)


async def _until_told(
    db: Database, kafka: KafkaSettings, simulator: Simulator, ended: Callable[[int], None]
) -> None:
    """Every job at an end, every webhook delivered and processed, everybody done reading."""
    calm = 0
    deadline = time.monotonic() + SETTLE_WITHIN
    while calm < 3:
        by_status = await counts.status_counts(db)
        idle = await simulator.idle()
        waiting = await counts.callbacks_waiting(db)
        if kafka.bootstrap_servers:
            waiting += await asyncio.to_thread(behind, kafka, RELAY_EVENTS, PROCESSOR)
        open_jobs = 0 if is_settled(by_status) else 1
        ended(sum(n for status, n in by_status.items() if status not in OPEN_STATES))
        calm = calm + 1 if not open_jobs and idle.idle and waiting == 0 else 0
        if time.monotonic() > deadline:
            states = ", ".join(f"{status}: {n}" for status, n in sorted(by_status.items()))
            raise PosthouseError(
                f"Not everything came to its end within {SETTLE_WITHIN:.0f} s: {states}; simulator: {idle}; "
                f"callbacks waiting: {waiting}."
            )
        await asyncio.sleep(0.5)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


class _Event(msgspec.Struct):
    occurred_at: datetime
    type: str
    attempt: int
    reason: str = ""
    diagnostic: str = ""


class _Email(msgspec.Struct):
    timeline: list[_Event]


def _show(console: Console, books: Books, timeline: bytes, found: Sequence[Check]) -> None:
    ends = Table(title="Where every mail ended")
    ends.add_column("status")
    ends.add_column("mails", justify="right")
    for status, n in sorted(books.by_status.items(), key=lambda pair: -pair[1]):
        if n:
            ends.add_row(status.value, f"{n:,}")
    console.print(ends)
    story = Table(title=f"One mail's way: {plan.the_mail_to_show()}")
    for column in ("at", "attempt", "event", "why"):
        story.add_column(column)
    for event in msgspec.json.decode(timeline, type=_Email).timeline:
        story.add_row(
            f"{event.occurred_at:%H:%M:%S.%f}"[:-3],
            str(event.attempt),
            event.type,
            event.diagnostic or event.reason,
        )
    console.print(story)
    proof = Table(title="What must hold")
    for column in ("", "check", "here", "there"):
        proof.add_column(column)
    for check in found:
        proof.add_row("ok" if check.holds else "NOT", check.what, str(check.ours), str(check.theirs))
    console.print(proof)


def _summary(
    verdict: Verdict, latency: counts.Latency, house: RunningHouse, seconds: float
) -> dict[str, object]:
    """The last line, for machines."""
    books = verdict.books
    return {
        "accepted": books.accepted,
        "by_status": {status.value: n for status, n in books.by_status.items() if n},
        "events": {kind.value: n for kind, n in books.events.items() if n},
        "suppressed_by_reason": {reason.value: n for reason, n in books.suppressed_by_reason.items()},
        "residual": books.residual,
        "sink_messages": verdict.comparison.mails,
        "unexplained_duplicates": verdict.comparison.count(Finding.DUPLICATE),
        "tx_p99_ms": round(latency.p99_ms, 1),
        "tx_max_ms": round(latency.max_ms, 1),
        "pids": house.pids,
        "seconds": round(seconds, 1),
    }
