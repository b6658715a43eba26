"""events: signed webhook batches into the API, processed to the end (states, events, books committed)."""

import asyncio
import base64
import json
import random
import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bench.house import BY_SENDGRID, PORTS, BenchHouse, bench_house, ports
from bench.kafka import bench_broker, table_of
from bench.latency import until_ready
from bench.seed import accept
from posthouse.app.vendors.sendgrid import signing_key_path
from posthouse.config import SendGridAccountSettings
from posthouse.domain.ids import RelayAccount
from posthouse.domain.stream import Stream
from posthouse.storage import outbox
from posthouse.storage.books import residual
from posthouse.storage.demo import status_counts

JOBS = 30_000
EVENTS_EACH = 2  # processed, delivered
BATCH = 100
CLIENTS = 8
_COUNTED = re.compile(r"^posthouse_events_total\{.*\} (.+)$", re.MULTILINE)


async def bench() -> list[dict[str, object]]:
    """On the embedded bus."""
    return [await _measured("postgres", "")]


async def bench_on_kafka() -> list[dict[str, object]]:
    """On the embedded bus and on Kafka, one after the other: figures of different runs do not compare."""
    embedded = await _measured("postgres", "")
    with bench_broker() as kafka:
        return [embedded, await _measured("kafka", table_of(kafka))]


async def _measured(bus: str, more: str) -> dict[str, object]:
    """`more`: the tables of the configuration that make the bus this one."""
    async with bench_house(BY_SENDGRID, ports(*PORTS), more) as house:
        await accept(house.db, Stream.MARKETING, JOBS, datetime.now(UTC))
        ids = await _hand_over_all(house)
        calls = list(_signed_batches(house, ids))
        roles = (("api",), ("processor",))
        async with house.roles(*roles), aiohttp.ClientSession() as session:
            url = f"http://{house.settings.house.host}:{house.settings.house.api_port}"
            await until_ready(session, url)
            # Until a first batch is through the processor is on its way into its consumer group.
            await _post(session, f"{url}/hooks/sendgrid/mk", calls[:1])
            await _until_processed(house, session, BATCH)
            began = time.perf_counter()
            await _post(session, f"{url}/hooks/sendgrid/mk", calls[1:])
            accepted = time.perf_counter() - began
            await _until_processed(house, session, JOBS * EVENTS_EACH)
            seconds = time.perf_counter() - began
            await _all_delivered(house)
            await _until_published(house)
            published = time.perf_counter() - began
        books = await residual(house.db)
    events = JOBS * EVENTS_EACH - BATCH
    figures: dict[str, object] = {
        "bench": "events",
        "bus": bus,
        "events": events,
        "batch": BATCH,
        "processors": 1,
        "per_s": round(events / seconds),
        "received_per_s": round(events / accepted),
        "residual": books.residual,
    }
    return figures | ({"published_per_s": round(events / published)} if more else {})


async def _hand_over_all(house: BenchHouse) -> list[str]:
    """Every job as if attempt 1 were in flight: what a relay's events are about."""
    async with house.db.session() as session:
        await session.script(
            "UPDATE email_job SET status = 'SENDING', attempt = 1;"
            "INSERT INTO job_delta (day, stream, from_status, to_status, n) "
            f"SELECT (now() AT TIME ZONE 'UTC')::date, 'marketing', 'PENDING', 'SENDING', {JOBS};"
            "ANALYZE email_job"
        )
        return [str(row[0]) for row in await session.fetch("jobs_in_hand", "SENDING")]


def _signed_batches(house: BenchHouse, ids: Sequence[str]) -> Iterator[tuple[dict[str, str], bytes]]:
    table = house.settings.relays[RelayAccount("mk")]
    assert isinstance(table, SendGridAccountSettings)
    key = load_pem_private_key(Path(signing_key_path(table)).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    events = [_event(job_id, n, kind) for n, job_id in enumerate(ids) for kind in ("processed", "delivered")]
    random.Random(1).shuffle(events)
    stamp = str(int(time.time()))
    for start in range(0, len(events), BATCH):
        body = json.dumps(events[start : start + BATCH]).encode() + b"\r\n"
        signature = key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        headers = {
            "Content-Type": "application/json",
            "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        }
        yield headers, body


def _event(job_id: str, number: int, kind: str) -> dict[str, object]:
    return {
        "email": f"reader{number}@sink.sim.test",
        "timestamp": int(time.time()),
        "event": kind,
        "sg_event_id": base64.urlsafe_b64encode(f"{kind}-{number}".encode()).decode(),
        "sg_message_id": f"m{number}.filter0001.16648.5515E0B88.0",
        "smtp-id": f"<m{number}@ismtpd>",
        "response": "250 2.0.0 OK",
        "posthouse_job": job_id,
        "posthouse_attempt": "1",
    }


async def _post(
    session: aiohttp.ClientSession, url: str, calls: Sequence[tuple[dict[str, str], bytes]]
) -> None:
    waiting = iter(calls)

    async def client() -> None:
        for headers, body in waiting:
            async with session.post(url, data=body, headers=headers) as response:
                assert response.status == 200, await response.text()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def _until_processed(house: BenchHouse, session: aiohttp.ClientSession, events: int) -> None:
    """By the processor's own count, which costs the house nothing."""
    url = f"http://{house.settings.house.host}:{house.settings.house.processor_port}/metrics"
    recorded = 0.0
    async with asyncio.timeout(120):
        while recorded < events:
            await asyncio.sleep(0.02)
            async with session.get(url) as response:
                recorded = sum(map(float, _COUNTED.findall(await response.text())))


async def _all_delivered(house: BenchHouse) -> None:
    by_status = {status.value: n for status, n in (await status_counts(house.db)).items()}
    assert by_status == {"DELIVERED": JOBS}, by_status


async def _until_published(house: BenchHouse) -> None:
    """At once where nothing is put by."""
    async with asyncio.timeout(120):
        while await outbox.oldest(house.db):
            await asyncio.sleep(0.02)
