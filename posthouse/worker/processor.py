"""The event processor: relay callbacks from the log, normalised, recorded; what fits nowhere is set aside."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from posthouse.bus.port import CallbackBatch, EventLog, HeldCallback
from posthouse.clock import Clock, stopped_within
from posthouse.domain.errors import NotNow, PoisonRun
from posthouse.domain.event import Event
from posthouse.failpoints import failpoint
from posthouse.ingest.normalize import Normalized, Refused
from posthouse.relays.base import RawCallback, Unplaced
from posthouse.status.apply import Applied
from posthouse.telemetry import Metrics, log
from posthouse.worker.poison import PoisonLimit

#: Callbacks read, and events recorded, at a time.
CALLBACKS: Final = 50
EVENTS: Final = 500
POLL: Final = 0.25
#: An event may name a job that this database does not have yet only by mistake or after a restore.
HOMELESS_WAIT: Final = timedelta(hours=1)
#: The log wakes a callback by its own clock; ours may be behind it.
CLOCK_SKEW: Final = timedelta(minutes=1)
#: A run of callbacks that cannot be read is looked at again after so long. Seconds.
POISON_PAUSE: Final = 30.0


@dataclass(frozen=True, slots=True)
class ProcessorTools:
    log: EventLog
    normalize: Callable[[RawCallback], Normalized | Refused]
    record: Callable[[Sequence[Event]], Awaitable[Applied]]
    #: A verified bounce or complaint counts for its address even when its job is not ours or long gone.
    suppress: Callable[[Sequence[Unplaced]], Awaitable[None]]
    poison: PoisonLimit
    clock: Clock
    metrics: Metrics


async def run(tools: ProcessorTools, stop: asyncio.Event) -> None:
    """Process until `stop`. What was read and not finished is read again by the next processor."""
    while not stop.is_set():
        try:
            done = await step(tools)
        except NotNow as error:
            log.warning("cannot process callbacks", reason=error.message)
            done = 0
        except PoisonRun as error:
            log.error("processing callbacks has stopped", reason=error.message)
            tools.metrics.callbacks_stopped.set(1)
            await stopped_within(stop, POISON_PAUSE)
            continue
        tools.metrics.callbacks_stopped.set(0)
        if done == 0:
            await tools.log.wait(POLL)


async def step(tools: ProcessorTools) -> int:
    """Read, normalise, record, set aside, acknowledge: one batch. Returns how many callbacks."""
    async with tools.log.read(CALLBACKS) as batch:
        if not batch.callbacks:
            return 0
        read = [(held, tools.normalize(held.callback)) for held in batch.callbacks]
        failpoint("processor.read")
        homeless = await _record(tools, [event for _, found in read for event in _events(found)])
        failpoint("processor.recorded")
        run = tools.poison.after([_refusal(found) for _, found in read])
        for held, found in read:
            await _finish(tools, batch, held, found, homeless)
    tools.poison.done(run)
    failpoint("processor.acknowledged")
    return len(read)


def _events(found: Normalized | Refused) -> Sequence[Event]:
    return () if isinstance(found, Refused) else found.events


def _refusal(found: Normalized | Refused) -> str | None:
    return found.reason if isinstance(found, Refused) else None


async def _record(tools: ProcessorTools, events: Sequence[Event]) -> set[Event]:
    homeless: set[Event] = set()
    for start in range(0, len(events), EVENTS):
        part = events[start : start + EVENTS]
        applied = await tools.record(part)
        homeless.update(applied.homeless)
        for event in part:
            tools.metrics.events.labels(event.type.value).inc()
    return homeless


async def _finish(
    tools: ProcessorTools,
    batch: CallbackBatch,
    held: HeldCallback,
    found: Normalized | Refused,
    homeless: set[Event],
) -> None:
    """Set aside what cannot be read, or names no job of ours. A job that is only unknown yet is looked for
    once more after an hour, and nothing of its callback is set aside before."""
    if isinstance(found, Refused):
        await _bury(tools, batch, held, found.reason, held.callback.body)
        return
    await tools.suppress(found.unplaced)
    lost = [event for event in found.events if event in homeless] if homeless else []
    if lost and tools.clock.now() - held.received_at < HOMELESS_WAIT - CLOCK_SKEW:
        await batch.postpone(held, held.received_at + HOMELESS_WAIT)
        return
    await tools.suppress([_unplaced(event) for event in lost])
    for unplaced in found.unplaced:
        await _bury(tools, batch, held, "names no job of ours", unplaced.raw)
    for event in lost:
        await _bury(tools, batch, held, "its job is not known", event.raw or b"")


def _unplaced(event: Event) -> Unplaced:
    return Unplaced(event.recipient, event.type, event.bounce, event.raw or b"")


async def _bury(
    tools: ProcessorTools, batch: CallbackBatch, held: HeldCallback, reason: str, payload: bytes
) -> None:
    tools.metrics.dead_letters.labels(held.callback.relay).inc()
    await batch.set_aside(held, reason, payload)
