"""Pretend relays and the people behind them."""

import asyncio

from posthouse.app.role import Part
from posthouse.app.simulation import simulation
from posthouse.config import Settings
from posthouse.simulator.main import run as run_simulator


async def run(settings: Settings, _part: Part, stop: asyncio.Event) -> None:
    """Pretend until told to stop."""
    await run_simulator(simulation(settings), stop)
