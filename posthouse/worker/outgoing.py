"""Events to the event stream: what the outbox holds is published, and only then gone from it."""

from typing import Final

from posthouse.bus.port import EventStream
from posthouse.failpoints import failpoint
from posthouse.storage import outbox
from posthouse.storage.db import Database

#: Sets in one go: a processor that is told to end must not be kept by events that never run out.
SETS: Final = 50


async def publish_events(db: Database, stream: EventStream) -> int:
    """Everything that waits, or much of it; how many events. Any number of processes may do it.

    At least once: a process that dies after the stream has a set and before the outbox is rid of it leaves it
    to be published again, under the same event ids. Raises NotNow.
    """
    published = 0
    for _ in range(SETS):
        events = await _publish_set(db, stream)
        if not events:
            break
        published += events
    return published


async def _publish_set(db: Database, stream: EventStream) -> int:
    async with outbox.outgoing(db) as events:
        failpoint("outbox.taken")
        await stream.publish(events)
        if events:
            failpoint("outbox.published")
    return len(events)
