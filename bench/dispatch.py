"""dispatch: jobs that fall due, from PENDING to their topic; and how long one takes that is due at once."""

import asyncio
import random
import subprocess
import time
from datetime import UTC, datetime, timedelta

from bench.house import BY_SMTP, PORTS, BenchHouse, bench_house, cpu_seconds, ports, refuse_dead
from bench.kafka import bench_broker, table_of
from bench.seed import accept, make_template
from posthouse.bus.kafka.member import Member
from posthouse.bus.kafka.standing import GroupInTopic
from posthouse.bus.kafka.topics import jobs_of, workers_of
from posthouse.bus.postgres import PostgresHints
from posthouse.config import KafkaSettings
from posthouse.domain.stream import Stream
from posthouse.storage.hints import Hinter

JOBS = 200_000
SINGLE = 500
WARM_UP = 20  # mails before those that are counted
START = 6.0  # seconds before the jobs are due
STREAM = Stream.MARKETING
DISPATCHER = ("dispatcher", "--stream", STREAM.value, "--port", "0")


async def bench() -> list[dict[str, object]]:
    with bench_broker() as kafka:
        async with bench_house(BY_SMTP, ports(*PORTS), table_of(kafka)) as house:
            await make_template(house.db)
            return [await throughput(house, kafka, JOBS), await latency(house, kafka, SINGLE)]


async def throughput(house: BenchHouse, kafka: KafkaSettings, jobs: int) -> dict[str, object]:
    """No worker takes anything, so the books are told of a pace that leaves the dispatcher room for all."""
    due_at = datetime.now(UTC) + timedelta(seconds=START + jobs / 20_000)
    await accept(house.db, STREAM, jobs, due_at)
    topic = GroupInTopic(kafka, jobs_of(STREAM), workers_of(STREAM))
    async with house.roles(DISPATCHER) as (dispatcher,):
        await asyncio.sleep(2.0)
        async with house.db.session() as session:
            await session.script(
                "INSERT INTO job_delta (day, stream, from_status, to_status, n) "
                f"VALUES (current_date, '{STREAM}', 'QUEUED', 'SENDING', {jobs})"
            )
        await asyncio.sleep(max(0.0, (due_at - datetime.now(UTC)).total_seconds()))
        cpu = cpu_seconds(dispatcher.pid), cpu_seconds(house.postgres_pid)
        seconds = await _until(topic, jobs, dispatcher)
        used = cpu_seconds(dispatcher.pid) - cpu[0], cpu_seconds(house.postgres_pid) - cpu[1]
    return {
        "bench": "dispatch",
        "jobs": jobs,
        "per_s": round(jobs / seconds),
        "dispatcher_cpu_us": round(used[0] / jobs * 1e6, 1),
        "postgres_cpu_us": round(used[1] / jobs * 1e6, 1),
    }


async def _until(topic: GroupInTopic, records: int, dispatcher: subprocess.Popen[bytes]) -> float:
    """Seconds until the topic has so many."""
    began = time.perf_counter()
    async with asyncio.timeout(300):
        while True:
            refuse_dead([dispatcher])
            state = await asyncio.to_thread(topic.look)
            if sum(span.high for span in state.spans.values()) >= records:
                return time.perf_counter() - began
            await asyncio.sleep(0.05)


async def latency(house: BenchHouse, kafka: KafkaSettings, mails: int) -> dict[str, object]:
    """One mail after the other: from its commit, with its hint, until a reader has its record."""
    took: list[float] = []
    async with (
        house.roles(DISPATCHER),
        Hinter(house.dsn, rng=random.Random(1)).running() as hinter,
        Member(kafka, "bench.eyes", jobs_of(STREAM)).running() as member,
    ):
        hints = PostgresHints(hinter)
        await asyncio.sleep(START)
        while await member.fetch(1_000, 1.0):
            continue
        for number in range(WARM_UP + mails):
            await accept(house.db, STREAM, 1, datetime.now(UTC))
            hints.jobs_due(STREAM.value)
            began = time.perf_counter()
            while not await member.fetch(1, 0.25):
                continue
            if number >= WARM_UP:
                took.append((time.perf_counter() - began) * 1000)
    took.sort()
    return {
        "bench": "dispatch_latency",
        "mails": mails,
        "p50_ms": round(took[len(took) // 2], 1),
        "p99_ms": round(took[int(len(took) * 0.99)], 1),
        "max_ms": round(took[-1], 1),
    }
