"""latency: transactional mail from its acceptance to the relay while marketing runs at full speed."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import aiohttp

from bench.house import BY_SMTP, PORTS, BenchHouse, bench_house, make_key, ports
from bench.seed import accept, make_suppressions, make_template
from bench.sink import smtp_sink
from posthouse.cli.demo.client import Api
from posthouse.domain.stream import Stream
from posthouse.storage.demo import handover_latency, progress

MARKETING = 120_000
TRANSACTIONAL = 500
EVERY = 0.02  # seconds between two posts


async def bench() -> list[dict[str, object]]:
    named = ports(*PORTS)
    async with (
        bench_house(BY_SMTP, named) as house,
        smtp_sink(named["mk"], house.folder) as sink,
        smtp_sink(named["tx"], house.folder),
    ):
        await make_template(house.db)
        await make_suppressions(house.db)
        return [{"bench": "latency", "sink": sink, **await _measure(house)}]


async def _measure(house: BenchHouse) -> dict[str, object]:
    due_at = datetime.now(UTC) + timedelta(seconds=15)
    await accept(house.db, Stream.MARKETING, MARKETING, due_at)
    roles = (("api",), ("worker", "--stream", "transactional"), ("worker", "--stream", "marketing"))
    async with house.roles(*roles), aiohttp.ClientSession() as session:
        api = await _api(house, session)
        await asyncio.sleep(max(0.0, (due_at - datetime.now(UTC)).total_seconds() + 1.0))
        before, began = await progress(house.db, Stream.MARKETING), time.perf_counter()
        await _post_all(api)
        after, seconds = await progress(house.db, Stream.MARKETING), time.perf_counter() - began
        await _until_sent(house)
        found = await handover_latency(house.db, Stream.TRANSACTIONAL)
    return {
        "transactional": TRANSACTIONAL,
        "marketing_per_s": round((after.sent - before.sent) / seconds),
        "marketing_left": MARKETING - after.sent,
        "p99_ms": round(found.p99_ms, 1),
        "max_ms": round(found.max_ms, 1),
    }


async def _api(house: BenchHouse, session: aiohttp.ClientSession) -> Api:
    secret = await make_key(house.db)
    url = f"http://{house.settings.house.host}:{house.settings.house.api_port}"
    await until_ready(session, url)
    return Api(url, secret, session)


async def until_ready(session: aiohttp.ClientSession, url: str) -> None:
    """Until a role answers its /readyz."""
    async with asyncio.timeout(30):
        while not await _is_ready(session, url):
            await asyncio.sleep(0.1)


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def _post_all(api: Api) -> None:
    """One mail every 20 ms, whether the last was answered or not."""
    async with asyncio.TaskGroup() as group:
        for number in range(TRANSACTIONAL):
            body = {
                "from": "Shop <orders@shop.example>",
                "to": f"buyer{number}@sink.sim.test",
                "stream": "transactional",
                "subject": "Your code",
                "text": f"Your code is {number:06d}.",
            }
            group.create_task(api.must_post("/v1/emails", body))
            await asyncio.sleep(EVERY)


async def _until_sent(house: BenchHouse) -> None:
    async with asyncio.timeout(60):
        while (await progress(house.db, Stream.TRANSACTIONAL)).sent < TRANSACTIONAL:
            await asyncio.sleep(0.1)
