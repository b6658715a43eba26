"""accept, accept_batch: durable template mails over HTTP into `posthouse serve api`, load by Debian's wrk."""

from pathlib import Path

import aiohttp

from bench.house import BY_SMTP, PORTS, BenchHouse, bench_house, cpu_seconds, make_key, ports
from bench.latency import until_ready
from bench.load import WRK, run_wrk
from bench.seed import make_template
from posthouse.storage.books import residual
from posthouse.storage.demo import status_counts

SCRIPT = Path(__file__).with_name("wrk.lua")
SECONDS = 20
CONNECTIONS = 64
BATCH = 500
BATCH_CONNECTIONS = 4


async def bench() -> list[dict[str, object]]:
    """One mail a request from 64 connections."""
    return [{"bench": "accept", **await _measure(1, CONNECTIONS)}]


async def bench_batch() -> list[dict[str, object]]:
    """500 mails a request."""
    return [{"bench": "accept_batch", **await _measure(BATCH, BATCH_CONNECTIONS)}]


async def _measure(batch: int, connections: int) -> dict[str, object]:
    if WRK is None:
        return {"skipped": "wrk is not there: apt-get install wrk"}
    async with bench_house(BY_SMTP, ports(*PORTS)) as house:
        await make_template(house.db)
        key = await make_key(house.db)
        url = f"http://{house.settings.house.host}:{house.settings.house.api_port}"
        async with house.roles(("api",)) as (api,), aiohttp.ClientSession() as session:
            await until_ready(session, url)
            arguments = [key, str(batch)]
            await run_wrk(SCRIPT, url, arguments, connections=connections, seconds=2)
            before = await _accepted(house)
            cpu = cpu_seconds(api.pid), cpu_seconds(house.postgres_pid)
            found = await run_wrk(SCRIPT, url, arguments, connections=connections, seconds=SECONDS)
            api_cpu, postgres_cpu = cpu_seconds(api.pid) - cpu[0], cpu_seconds(house.postgres_pid) - cpu[1]
        mails = await _accepted(house) - before
        books = await residual(house.db)
    return {
        "connections": connections,
        "mails_a_request": batch,
        "mails": mails,
        "per_s": round(mails / float(str(found["seconds"]))),
        **{name: found[name] for name in ("p50_ms", "p99_ms", "max_ms", "bad", "timeouts")},
        "api_cpu_us": round(api_cpu / mails * 1e6),
        "postgres_cpu_us": round(postgres_cpu / mails * 1e6),
        "residual": books.residual,
    }


async def _accepted(house: BenchHouse) -> int:
    return sum((await status_counts(house.db)).values())
