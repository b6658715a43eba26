"""`posthouse serve ROLE`: one process of the house."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, assert_never

import typer
import uvloop

from posthouse.app import roles
from posthouse.app.inbound import run_inbound
from posthouse.cli.call import call_of
from posthouse.config import PARENT_PIPE, Settings, load
from posthouse.domain.stream import Stream
from posthouse.telemetry import configure_logging, log

Run = Callable[[Settings, asyncio.Event], Awaitable[None]]


class RoleName(StrEnum):
    API = "api"
    WORKER = "worker"
    QUARANTINE = "quarantine"
    PROCESSOR = "processor"
    TRACK = "track"
    INBOUND = "inbound"
    SIMULATOR = "simulator"


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(
    context: typer.Context,
    role: Annotated[RoleName, typer.Argument(help="Which process to be.")],
    stream: Annotated[Stream, typer.Option(help="For a worker: whose mail.")] = Stream.TRANSACTIONAL,
    port: Annotated[
        int | None,
        typer.Option(help="For a worker: where its probes answer, if not as configured; 0: nowhere."),
    ] = None,
) -> None:
    """Be one process of the house until SIGTERM or Ctrl-C, then drain."""
    configure_logging(role.value if role is not RoleName.WORKER else f"worker.{stream.value}")
    settings = load(call_of(context).config, os.environ)
    uvloop.run(_until_told(_runner(role, stream, port), settings))


def _runner(role: RoleName, stream: Stream, port: int | None) -> Run:
    match role:
        case RoleName.API:
            return roles.run_api
        case RoleName.WORKER:
            return lambda settings, stop: roles.run_worker(settings, stream, stop, port)
        case RoleName.QUARANTINE:
            return lambda settings, stop: roles.run_quarantine(settings, stream, stop)
        case RoleName.PROCESSOR:
            return roles.run_processor
        case RoleName.TRACK:
            return roles.run_track
        case RoleName.INBOUND:
            return run_inbound
        case RoleName.SIMULATOR:
            return roles.run_simulation
        case _:
            assert_never(role)


async def _until_told(run: Run, settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _stop_with_parent(loop, stop)
    log.info("started")
    await run(settings, stop)
    log.info("stopped")


def _stop_with_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """The pipe is readable only when its other end is closed: the parent is gone, however it went."""
    pipe = os.environ.get(PARENT_PIPE)
    if pipe is None:
        return

    def gone() -> None:
        loop.remove_reader(int(pipe))
        stop.set()

    loop.add_reader(int(pipe), gone)
