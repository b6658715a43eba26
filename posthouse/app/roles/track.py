"""Pixels, links and unsubscribing: what readers reach."""

import asyncio
import random
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack

from posthouse.app.house import open_house
from posthouse.app.role import Part
from posthouse.compose.unsubscribe import UnsubscribeTokens
from posthouse.config import Settings
from posthouse.domain.event import Event
from posthouse.storage import links
from posthouse.web import server
from posthouse.web.links import LinkCache
from posthouse.web.recorder import Recorder as ReaderRecorder
from posthouse.web.spool import Spool
from posthouse.web.tracking import Tracking, build_tracking
from posthouse.web.unsubscribe import suppress as suppress_reader

LINK_CACHE_BYTES = 64_000_000
SPOOL_BYTES = 256_000_000


async def run(settings: Settings, part: Part, stop: asyncio.Event) -> None:
    """Answer until told to stop."""
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(settings, without_database=True))
        folder = settings.data_dir / "track"

        async def record(events: Sequence[Event]) -> None:
            await house.record(events)

        spool = Spool(folder / "spool", max_bytes=SPOOL_BYTES)
        deps = Tracking(
            find_link=lambda link_hash, job_id: links.find(house.general, link_hash, job_id),
            tokens=UnsubscribeTokens(house.keyring.unsubscribe),
            suppress=lambda token, now: suppress_reader(house.general, token, now),
            find_trouble=_no_trouble,  # known links and pixels are answered while the database is away
            links=await stack.enter_async_context(
                LinkCache(folder / "links.jsonl", max_bytes=LINK_CACHE_BYTES).running()
            ),
            recorder=await stack.enter_async_context(
                ReaderRecorder(record, spool, clock=house.clock, metrics=house.metrics).running()
            ),
            clock=house.clock,
            rng=random.Random(secrets.randbits(64)),  # noqa: S311  # ids of events, not secrets
            metrics=house.metrics,
            job_retention=settings.retention.jobs,
            link_retention=settings.retention.links,
        )
        app = build_tracking(deps)
        await server.serve(app, settings.house.host, settings.house.track_port, stop, part.sharing)


async def _no_trouble() -> Sequence[str]:
    return []
