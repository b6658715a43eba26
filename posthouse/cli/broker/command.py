"""`posthouse broker`: a Kafka broker on this machine, for development."""

import os
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from posthouse.cli.broker.server import running
from posthouse.cli.call import call_of


def register(app: typer.Typer) -> None:
    app.command("broker")(command)


def command(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Option(help="Where its data is (default: `kafka` in the data folder).")
    ] = None,
) -> None:
    """Run a Kafka broker of one node on this machine until Ctrl-C. For development: nothing is copied."""
    place = folder or call_of(context).settings().data_dir / "kafka"
    with running(place.absolute(), os.environ) as broker:
        Console().print(f"KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap_servers}", highlight=False)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
