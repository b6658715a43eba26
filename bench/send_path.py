"""send_path: mails already accepted, from the claim to SENT with its event and delta rows committed."""

import asyncio
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from bench.dispatch import DISPATCHER
from bench.house import (
    BY_SMTP,
    PARTITIONS,
    PORTS,
    BenchHouse,
    bench_house,
    cpu_seconds,
    ports,
    refuse_dead,
    rss_mb,
)
from bench.kafka import bench_broker, table_of
from bench.seed import SUPPRESSIONS, accept, make_suppressions, make_template
from bench.sink import smtp_sink, source_rate
from posthouse.config import KafkaSettings
from posthouse.domain.stream import Stream
from posthouse.storage.books import residual
from posthouse.storage.demo import progress

MAILS = 60_000
SOURCE_MAILS = 20_000
WORKERS_START = 6.0  # seconds before the mails are due


async def bench() -> list[dict[str, object]]:
    return [await one(workers, MAILS) for workers in (1, 2)]


async def bench_kafka() -> list[dict[str, object]]:
    """Two workers on either bus, one run after the other; `of_embedded` is what the embedded one is 1 of."""
    embedded = await one(2, MAILS)
    with bench_broker() as kafka:
        on_kafka = await one(2, MAILS, kafka)
    ratio = cast("int", on_kafka["per_s"]) / cast("int", embedded["per_s"])
    return [embedded, {**on_kafka, "of_embedded": round(ratio, 2)}]


async def one(workers: int, mails: int, kafka: KafkaSettings | None = None) -> dict[str, object]:
    named = ports(*PORTS)
    more = "" if kafka is None else table_of(kafka)
    async with bench_house(BY_SMTP, named, more) as house, smtp_sink(named["mk"], house.folder) as sink:
        reference = await asyncio.to_thread(source_rate, named["mk"], SOURCE_MAILS, 8)
        await make_template(house.db)
        await make_suppressions(house.db)
        watched = await send(house, workers, mails)
        books = await residual(house.db)
    per_s = mails / watched.seconds
    return {
        "bench": "send_path",
        "bus": "postgresql" if kafka is None else "kafka",
        "workers": workers,
        "mails": mails,
        "per_s": round(per_s),
        "sink": sink,
        "reference": "smtp-source" if reference else None,
        "reference_per_s": round(reference) if reference else None,
        "ratio": round(per_s / reference, 2) if reference else None,
        "slots": house.settings.streams[Stream.MARKETING].slots,
        "sending_max": watched.sending_max,
        "suppressions": SUPPRESSIONS,
        "partitions": PARTITIONS,
        "rss_mb_max": round(watched.rss_max),
        "rss_mb_first_quarter": round(watched.rss_first_quarter),
        "worker_cpu_us": round(watched.worker_cpu / mails * 1e6),
        "postgres_cpu_us": round(watched.postgres_cpu / mails * 1e6),
        "residual": books.residual,
    }


@dataclass
class Watched:
    seconds: float = 0.0
    sending_max: int = 0
    rss_max: float = 0.0
    rss_first_quarter: float = 0.0
    worker_cpu: float = 0.0  # seconds, all workers
    postgres_cpu: float = 0.0


async def send(house: BenchHouse, workers: int, mails: int) -> Watched:
    """Workers first, idle; then the mails fall due all at once."""
    due_at = datetime.now(UTC) + timedelta(seconds=WORKERS_START + mails / 20_000)
    await accept(house.db, Stream.MARKETING, mails, due_at)
    role = ("worker", "--stream", "marketing", "--port", "0")
    beside = [DISPATCHER] if house.settings.kafka.bootstrap_servers else []
    async with house.roles(*beside, *[role] * workers) as children:
        await asyncio.sleep(max(0.0, (due_at - datetime.now(UTC)).total_seconds()))
        return await _watch(house, children, mails)


async def _watch(house: BenchHouse, children: list[subprocess.Popen[bytes]], mails: int) -> Watched:
    watched = Watched()
    began = time.perf_counter()
    cpu = _cpu(house, children)
    async with asyncio.timeout(300):
        while True:
            refuse_dead(children)
            so_far = await progress(house.db, Stream.MARKETING)
            watched.sending_max = max(watched.sending_max, so_far.sending)
            rss = max(rss_mb(child.pid) for child in children)
            watched.rss_max = max(watched.rss_max, rss)
            if so_far.sent <= mails / 4:
                watched.rss_first_quarter = max(watched.rss_first_quarter, rss)
            if so_far.sent >= mails:
                watched.seconds = time.perf_counter() - began
                watched.worker_cpu, watched.postgres_cpu = (
                    after - before for after, before in zip(_cpu(house, children), cpu, strict=True)
                )
                return watched
            await asyncio.sleep(0.05)


def _cpu(house: BenchHouse, children: list[subprocess.Popen[bytes]]) -> tuple[float, float]:
    return sum(cpu_seconds(child.pid) for child in children), cpu_seconds(house.postgres_pid)
