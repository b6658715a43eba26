"""Callbacks that wait at the relay: fetched, stored, and only then given back as stored."""

import asyncio

from posthouse.bus.port import CallbackSink
from posthouse.domain.errors import NotNow
from posthouse.failpoints import failpoint
from posthouse.relays.base import CallbackSource
from posthouse.telemetry import Metrics, log


async def pull(source: CallbackSource, sink: CallbackSink, metrics: Metrics) -> None:
    """Until cancelled. What was fetched and not stored, by us or by a process that died, comes again."""
    while True:
        try:
            await step(source, sink, metrics)
        except NotNow as error:
            log.warning("cannot pull callbacks", relay=source.account, reason=error.message)
            await asyncio.sleep(error.retry_after)


async def step(source: CallbackSource, sink: CallbackSink, metrics: Metrics) -> int:
    """One fetch. Returns how many callbacks. Raises NotNow."""
    fetched = await source.fetch()
    if not fetched:
        return 0
    await sink.append([one.callback for one in fetched])
    failpoint("puller.stored")
    metrics.callbacks.labels(fetched[0].callback.relay, source.account, "pulled").inc(len(fetched))
    await source.stored(fetched)
    return len(fetched)
