"""From events that wait to deliveries: endpoints match events in sets, and one transaction does both."""

import random
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from posthouse.domain.ids import RANDOM_BITS, JobId, NoticeId, uuid7
from posthouse.domain.webhook import Endpoint
from posthouse.failpoints import failpoint
from posthouse.outhooks.matching import wants
from posthouse.outhooks.payload import body_of, name_of
from posthouse.storage import webhook_outbox, webhooks
from posthouse.storage.db import Database, Transaction, retry_conflicts
from posthouse.storage.webhook_outbox import Notice, WaitingEvent

#: Events at a time: what one round holds in memory, each with the body that is told.
EVENTS: Final = 500


def new_notice(now: datetime, random_bits: Callable[[int], int]) -> NoticeId:
    return NoticeId(uuid7(int(now.timestamp() * 1000), random_bits(RANDOM_BITS)))


async def fan_out(db: Database, now: datetime, rng: random.Random) -> int:
    """Make the deliveries of up to `EVENTS` events; how many events these were. Raises NotNow.

    An event that nobody wants any more goes without a trace: it was taken in for an endpoint that has
    changed its mind since, or whose other filters do not let it through.
    """
    endpoints = await webhooks.listening(db)

    async def work(tx: Transaction) -> int:
        taken = await webhook_outbox.take(tx, EVENTS)
        notices = notices_of(taken.events, endpoints, now, rng.getrandbits)
        if notices:
            await webhook_outbox.insert(tx, notices, due_at=now)
        failpoint("outhooks.fanned_out")
        return taken.count

    return await retry_conflicts(db, work, rng=rng)


def notices_of(
    events: Sequence[WaitingEvent],
    endpoints: Sequence[Endpoint],
    now: datetime,
    random_bits: Callable[[int], int],
) -> list[Notice]:
    """A message for each event that somebody wants."""
    found = []
    for event in events:
        name = name_of(event)
        if name is None:
            continue
        wanted_by = tuple(one.endpoint_id for one in endpoints if wants(one.interest, name, event))
        if wanted_by:
            notice = new_notice(now, random_bits)
            found.append(Notice(notice, name, JobId(event.job_id), body_of(name, event), wanted_by))
    return found
