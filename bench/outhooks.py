"""outhooks: events told to three endpoints, one of them dead; and what storing events costs with and without.

The endpoints are in this process and do nothing but count: a real one verifies, and costs its own machine.
"""

import asyncio
import os
import random
import re
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from bench.house import BY_SMTP, PORTS, BenchHouse, bench_house, cpu_seconds, ports
from bench.seed import accept
from posthouse.app.house import policy_of
from posthouse.app.outhooks import webhook_desk
from posthouse.config import load
from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import JobId, foreign_event_id
from posthouse.domain.stream import Stream
from posthouse.domain.webhook import EventName, Interest
from posthouse.keyring import load_keyring
from posthouse.outhooks.desk import Wanted
from posthouse.status.record import record

EVENTS: Final = 10_000
SET: Final = 500
_PATIENCE: Final = 300  # seconds
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass
class Counting:
    """An endpoint that answers with one status, and knows which messages it got."""

    status: int
    port: int = 0
    ids: set[bytes] = field(default_factory=set)
    requests: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                assert length is not None
                await reader.readexactly(int(length[1]))
                self.requests += 1
                self.ids.add(head.lower().partition(b"webhook-id: ")[2].partition(b"\r\n")[0])
                writer.write(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n\r\n" % self.status)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def bench() -> list[dict[str, object]]:
    async with bench_house(BY_SMTP, ports(*PORTS)) as house, listening([200, 200, 500]) as endpoints:
        await accept(house.db, Stream.MARKETING, EVENTS, datetime.now(UTC))
        async with house.db.session() as session:
            ids = [JobId(job) for job in await session.column(UUID, "jobs_in_hand", "PENDING")]
        await stored(house, ids, "first")  # moves the jobs, which the later ones need not
        without = await stored(house, ids, "without")
        await placed(house, endpoints)
        with_them = await stored(house, ids, "with")
        seconds, cpu = await told(house, endpoints[:2])
    storing = {"bench": "outhooks_store", "events": EVENTS, "set": SET}
    return [
        {**storing, "endpoints": 0, "us_per_event": round(without * 1e6 / EVENTS, 1)},
        {**storing, "endpoints": 3, "us_per_event": round(with_them * 1e6 / EVENTS, 1)},
        {
            "bench": "outhooks",
            "events": EVENTS,
            "endpoints": 3,
            "dead": 1,
            "per_s": round(2 * EVENTS / seconds),
            "processor_ms_cpu_per_delivery": round(cpu * 1e3 / (2 * EVENTS), 2),
            "asked_of_the_dead": endpoints[2].requests,
        },
    ]


async def stored(house: BenchHouse, ids: Sequence[JobId], name: str) -> float:
    """Seconds to record one event for each mail."""
    policy, rng = policy_of(house.settings), random.Random(1)
    began = time.perf_counter()
    for start in range(0, len(ids), SET):
        await record(house.db, [_delivered(job, name) for job in ids[start : start + SET]], policy, rng)
    return time.perf_counter() - began


def _delivered(job: JobId, name: str) -> Event:
    return Event(
        job_id=job,
        event_id=foreign_event_id("bench", f"{name}-{job}"),
        attempt=0,
        type=EventType.DELIVERED,
        origin=Origin.RELAY,
        occurred_at=datetime.now(UTC),
    )


async def placed(house: BenchHouse, endpoints: Sequence[Counting]) -> None:
    """The endpoints, in a house that may speak to them."""
    config = house.folder / "posthouse.toml"
    hosts = ", ".join(f'"127.0.0.1:{one.port}"' for one in endpoints)
    config.write_text(f"{config.read_text()}\n[webhooks]\nallow_hosts = [{hosts}]\n")
    settings = load(config, {})
    desk = webhook_desk(house.db, settings, load_keyring(settings.data_dir, os.environ))
    for one in endpoints:
        interest = Interest(frozenset({EventName.DELIVERED}))
        await desk.create(
            Wanted(f"http://127.0.0.1:{one.port}/{secrets.token_hex(4)}", "", interest), datetime.now(UTC)
        )


async def told(house: BenchHouse, good: Sequence[Counting]) -> tuple[float, float]:
    """Seconds until the good ones have it all, and the processor's own time."""
    async with house.roles(("processor",)) as (processor,), asyncio.timeout(_PATIENCE):
        while not any(one.requests for one in good):
            await asyncio.sleep(0.01)
        began, cpu = time.perf_counter(), cpu_seconds(processor.pid)
        while min(len(one.ids) for one in good) < EVENTS:
            await asyncio.sleep(0.02)
        return time.perf_counter() - began, cpu_seconds(processor.pid) - cpu


@asynccontextmanager
async def listening(statuses: Sequence[int]) -> AsyncIterator[list[Counting]]:
    endpoints = [Counting(status) for status in statuses]
    servers = [await asyncio.start_server(one.serve, "127.0.0.1", 0) for one in endpoints]
    for one, server in zip(endpoints, servers, strict=True):
        one.port = server.sockets[0].getsockname()[1]
    try:
        yield endpoints
    finally:
        for server in servers:
            server.close()
