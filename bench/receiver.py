"""receiver: signed callbacks verified and stored by `posthouse serve api`, load by Debian's wrk.

SNS brings one event in a call, SendGrid a batch. What is made of them later is the bench `events`.
"""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bench.house import BY_SENDGRID, BY_SES, PORTS, BenchHouse, bench_house, cpu_seconds, ports
from bench.latency import until_ready
from bench.load import WRK, run_wrk
from posthouse.app.vendors.sendgrid import signing_key_path
from posthouse.config import SendGridAccountSettings, SesAccountSettings
from posthouse.domain.ids import RelayAccount, uuid7
from posthouse.simulator.sns_topic import Topic, load_key, make_certificate, sns_call
from posthouse.storage.demo import callbacks_waiting

SCRIPT = Path(__file__).with_name("wrk_calls.lua")
SECONDS = 20
WARM_UP = 2
CONNECTIONS = 64
CALLS = 4_000  # made before, and posted over and over: making one takes longer than verifying it
BATCH = 100  # SendGrid's events in a call
ACCOUNT = RelayAccount("mk")

Call = tuple[dict[str, str], bytes]


@dataclass(frozen=True)
class _Kind:
    relay: str
    marketing: str  # configuration
    events: int  # in a call
    calls: Callable[[BenchHouse], Iterator[Call]]


async def bench() -> list[dict[str, object]]:
    kinds = (
        _Kind("ses", BY_SES, 1, _sns_calls),
        _Kind("sendgrid", BY_SENDGRID, BATCH, _sendgrid_calls),
    )
    return [await _measure(kind) for kind in kinds]


async def _measure(kind: _Kind) -> dict[str, object]:
    if WRK is None:
        return {"bench": "receiver", "skipped": "wrk is not there: apt-get install wrk"}
    async with bench_house(kind.marketing, ports(*PORTS)) as house, _certificate_served(house):
        calls = house.folder / "calls.tsv"
        calls.write_bytes(b"".join(_line(call) for call in kind.calls(house)))
        url = f"http://{house.settings.house.host}:{house.settings.house.api_port}"
        arguments = [str(calls), f"/hooks/{kind.relay}/{ACCOUNT}"]
        async with house.roles(("api",)) as (api,), aiohttp.ClientSession() as session:
            await until_ready(session, url)
            await run_wrk(SCRIPT, url, arguments, connections=CONNECTIONS, seconds=WARM_UP)
            before = await callbacks_waiting(house.db)
            cpu = cpu_seconds(api.pid), cpu_seconds(house.postgres_pid)
            found = await run_wrk(SCRIPT, url, arguments, connections=CONNECTIONS, seconds=SECONDS)
            api_cpu, postgres_cpu = cpu_seconds(api.pid) - cpu[0], cpu_seconds(house.postgres_pid) - cpu[1]
        stored = await callbacks_waiting(house.db) - before
    return {
        "bench": "receiver",
        "relay": kind.relay,
        "events_a_call": kind.events,
        "calls": stored,
        "events_per_s": round(stored * kind.events / float(str(found["seconds"]))),
        **{name: found[name] for name in ("p50_ms", "p99_ms", "max_ms", "bad", "timeouts")},
        "api_cpu_us_a_call": round(api_cpu / stored * 1e6),
        "postgres_cpu_us_a_call": round(postgres_cpu / stored * 1e6),
    }


def _line(call: Call) -> bytes:
    headers, body = call
    return b"\t".join([*(f"{name}={value}".encode() for name, value in headers.items()), body]) + b"\n"


def _topic(house: BenchHouse) -> tuple[Topic, str] | None:
    table = house.settings.relays[ACCOUNT]
    if not isinstance(table, SesAccountSettings):
        return None
    key = load_key(house.folder / "simulator" / "mk.pem")
    return Topic(table.topic_arns[0], "2", key, make_certificate(key, datetime.now(UTC))), table.base_url


@asynccontextmanager
async def _certificate_served(house: BenchHouse) -> AsyncIterator[None]:
    """SNS's own part, at the address where the house looks for it."""
    found = _topic(house)
    if found is None:
        yield
        return
    topic, base_url = found
    (house.folder / "certificate.pem").write_bytes(topic.certificate)

    async def show(_request: web.Request) -> web.Response:
        return web.Response(body=(house.folder / "certificate.pem").read_bytes())

    app = web.Application()
    app.add_routes([web.get("/{file}", show)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(base_url.rpartition(":")[2])).start()
    try:
        yield
    finally:
        await runner.cleanup()


def _sns_calls(house: BenchHouse) -> Iterator[Call]:
    found = _topic(house)
    assert found is not None
    topic, base_url = found
    for number in range(CALLS):
        fields = topic.notification(_ses_event(number), base_url, datetime.now(UTC))
        call = sns_call(topic, fields)
        yield dict(call.headers), json.dumps(fields, separators=(",", ":")).encode()


def _ses_event(number: int) -> str:
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    recipient = f"reader{number}@sink.sim.test"
    headers = [{"name": f"X-Header-{n}", "value": "a value of a usual length " * 2} for n in range(12)]
    return json.dumps(
        {
            "eventType": "Delivery",
            "delivery": {"timestamp": at, "recipients": [recipient], "smtpResponse": "250 2.0.0 OK"},
            "mail": {
                "timestamp": at,
                "messageId": f"0100{number:016x}-000000",
                "destination": [recipient],
                "headers": headers,
                "tags": {"posthouse_job": [_job(number)], "posthouse_attempt": ["1"]},
            },
        }
    )


def _sendgrid_calls(house: BenchHouse) -> Iterator[Call]:
    table = house.settings.relays[ACCOUNT]
    assert isinstance(table, SendGridAccountSettings)
    key = load_pem_private_key(Path(signing_key_path(table)).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    stamp = str(int(time.time()))
    for number in range(CALLS // 10):
        body = json.dumps([_sendgrid_event(number * BATCH + n) for n in range(BATCH)]).encode()
        signature = key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        headers = {
            "Content-Type": "application/json",
            "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        }
        yield headers, body


def _sendgrid_event(number: int) -> dict[str, object]:
    return {
        "email": f"reader{number}@sink.sim.test",
        "timestamp": int(time.time()),
        "event": "delivered",
        "sg_event_id": base64.urlsafe_b64encode(f"delivered-{number}".encode()).decode(),
        "sg_message_id": f"m{number}.filter0001.16648.5515E0B88.0",
        "response": "250 2.0.0 OK",
        "posthouse_job": _job(number),
        "posthouse_attempt": "1",
    }


def _job(number: int) -> str:
    return str(uuid7(int(time.time() * 1000), number))
