"""`posthouse up`: the whole house on this machine."""

import asyncio
import os
import secrets
import signal
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from posthouse.cli.broker.server import Broker, running
from posthouse.cli.call import call_of
from posthouse.cli.house import RunningHouse, running_house
from posthouse.clock import SystemClock
from posthouse.config import Settings, load
from posthouse.domain.errors import Misconfigured
from posthouse.domain.stream import Stream
from posthouse.storage import keys
from posthouse.storage.background import in_background
from posthouse.storage.db import PoolKind, open_pool
from posthouse.storage.sql import load_queries
from posthouse.telemetry import log

_KEY_FILE = "first.key"


def register(app: typer.Typer) -> None:
    app.command("up")(up)


def up(
    context: typer.Context,
    kafka: Annotated[
        bool,
        typer.Option("--kafka", help="On Kafka: where none is configured, on a broker of its own."),
    ] = False,
) -> None:
    """Start the database and every role, print how to send a mail, and run until Ctrl-C."""
    config, console = call_of(context).config, Console()
    settings = load(config, os.environ)
    if not kafka or settings.kafka.bootstrap_servers:
        asyncio.run(_up(settings, config, console))
        return
    console.print("starting a Kafka broker (the first start fetches it)")
    with running(settings.data_dir / "kafka", os.environ) as broker:
        asyncio.run(_up_on(broker, settings, config, console))


async def _up_on(broker: Broker, settings: Settings, config: Path | None, console: Console) -> None:
    async with in_background(_keep_broker_up(broker), "broker"):
        await _up(_on_one_broker(settings, broker), config, console)


async def _keep_broker_up(broker: Broker) -> None:
    """As the database is: what ends by itself is started again, for as long as that takes."""
    while True:
        await asyncio.sleep(1.0)
        if broker.is_running:
            continue
        log.error("the Kafka broker ended; starting it again")
        broker.kill()
        try:
            await asyncio.to_thread(broker.start)
        except Misconfigured as error:
            log.error("the Kafka broker did not start; trying again", reason=error.message)


def _on_one_broker(settings: Settings, broker: Broker) -> Settings:
    """One broker has one copy of everything."""
    kafka = msgspec.structs.replace(
        settings.kafka,
        bootstrap_servers=broker.bootstrap_servers,
        replication_factor=1,
        min_insync_replicas=1,
    )
    return msgspec.structs.replace(settings, kafka=kafka)


async def _up(settings: Settings, config: Path | None, console: Console) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    console.print("starting the house (the first start makes its database)")
    async with running_house(settings, config) as house:
        _welcome(console, settings, house, await _first_key(settings, house))
        await house.supervisor.watch(stop)
        console.print("draining")
    console.print("stopped")


async def _first_key(settings: Settings, house: RunningHouse) -> str:
    """The key of the first start, kept in the data folder for its owner."""
    path = settings.data_dir / _KEY_FILE
    if path.exists():
        return path.read_text(encoding="ascii").strip()
    db = await open_pool(house.dsn, PoolKind.GENERAL, load_queries(), max_size=1)
    try:
        _, secret = await keys.create(
            db,
            name="first",
            stream=None,
            from_domains=[],
            now=SystemClock().now(),
            random_bytes=secrets.token_bytes,
        )
    finally:
        await db.close()
    path.touch(mode=0o600)
    path.write_text(secret + "\n", encoding="ascii")
    return secret


def _welcome(console: Console, settings: Settings, house: RunningHouse, key: str) -> None:
    api = f"http://{settings.house.host}:{settings.house.api_port}"
    domain = settings.streams[Stream.TRANSACTIONAL].from_domains[0]
    simulated = any(relay.simulator for relay in settings.relays.values())
    to = "you@gmail.sim.test" if simulated else f"you@{domain}"
    console.print(f"\nPosthouse is up: {', '.join(house.pids)}\n")
    console.print("Send a mail:\n")
    mail = {"from": f"Shop <hello@{domain}>", "to": to, "subject": "Hello", "text": "It works."}
    console.print(
        f"curl {api}/v1/emails -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' "
        f"-d '{msgspec.json.encode(mail).decode()}'\n",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    if simulated:
        console.print(
            f"Mail goes to a simulator: see http://127.0.0.1:{settings.simulation.control_port}/sim/messages"
        )
    console.print("Ctrl-C drains and stops it.")
