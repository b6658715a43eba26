"""`python -m posthouse.simulator SETTINGS.toml`: a simulation on its own. Prints its endpoints as JSON."""

import asyncio
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

from posthouse.simulator.main import Endpoints, run
from posthouse.simulator.providers import BadTableError
from posthouse.simulator.settings import BadSettingsError, SimulatorSettings, load_settings


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        uvloop.run(_simulate(load_settings(Path(arguments[0]))))
    except (BadSettingsError, BadTableError, OSError) as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 1
    return 0


async def _simulate(settings: SimulatorSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, stop, _announce)


def _announce(endpoints: Endpoints) -> None:
    sys.stdout.write(f"{msgspec.json.encode(endpoints).decode()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
