"""The probes of the roles that serve nothing else: /healthz, /readyz and /metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from posthouse.app.house import House
from posthouse.domain.errors import NotNow
from posthouse.storage.partitions import missing
from posthouse.web import server
from posthouse.web.ops import build_ops

#: For a process that nobody asks.
NO_PORT: Final = 0


async def serve_ops(house: House, port: int, own: Callable[[], Sequence[str]] = tuple) -> None:
    """Probes and metrics, until cancelled; nothing at NO_PORT. `own`: why this role is not ready, beside what
    is wrong with the house."""
    if port == NO_PORT:
        return
    trouble = trouble_of(house)

    async def find() -> Sequence[str]:
        return [*await trouble(), *own()]

    app = build_ops(house.metrics.registry, find)
    stop = asyncio.Event()
    serving = asyncio.create_task(server.serve(app, house.settings.house.host, port, stop))
    try:
        await asyncio.shield(serving)
    finally:
        stop.set()
        await serving


def trouble_of(house: House) -> Callable[[], Awaitable[Sequence[str]]]:
    """Why a role is not ready: the database is away, or has no place for today's mail."""

    async def find() -> Sequence[str]:
        try:
            lacking = await missing(house.general, house.clock.now().date())
        except NotNow as error:
            return [error.message]
        return [f"partitions are missing: {', '.join(lacking)}"] if lacking else []

    return find
