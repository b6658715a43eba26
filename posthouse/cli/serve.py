"""`posthouse serve ROLE`: one process of the house, or several of one role."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
import uvloop

from posthouse.app.role import Part, RoleName, run_of, worker_stream
from posthouse.cli.call import call_of
from posthouse.cli.processes import at_port, children_of, supervise
from posthouse.config import PARENT_PIPE, Settings, load
from posthouse.domain.stream import Stream
from posthouse.telemetry import configure_logging, log
from posthouse.web.server import Sharing


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(
    context: typer.Context,
    role: Annotated[RoleName, typer.Argument(help="Which process to be.")],
    stream: Annotated[
        Stream | None,
        typer.Option(
            help="Whose mail: for a worker (default: transactional) and for a dispatcher (default: both)."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Where it answers, if not as configured; 0, where there are only probes: nowhere."),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            help="So many of them, each started again when it dies. api and track share their port; of the "
            "others, the second has the port after the first's, and so on.",
        ),
    ] = 1,
    share_port: Annotated[
        bool, typer.Option("--share-port", help="For api and track: others may answer on this port too.")
    ] = False,
) -> None:
    """Be one process of the house until SIGTERM or Ctrl-C, then drain."""
    configure_logging(role.value if role is not RoleName.WORKER else f"worker.{worker_stream(stream)}")
    config = call_of(context).config
    settings = load(config, os.environ)
    if port is not None:
        settings = at_port(settings, role, stream, port)
    if processes > 1:
        children = children_of(role, stream, processes, settings)
        uvloop.run(_until_told(lambda _, stop: supervise(children, config, stop), settings))
        return
    run, part = run_of(role), Part(stream, Sharing.SHARED if share_port else Sharing.ALONE)
    uvloop.run(_until_told(lambda settings, stop: run(settings, part, stop), settings))


async def _until_told(run: Callable[[Settings, asyncio.Event], Awaitable[None]], settings: Settings) -> None:
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
