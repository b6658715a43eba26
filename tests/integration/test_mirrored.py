"""An address on a relay's own suppression list goes on ours, without counting as a bounce."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from recorded_events import Desk, open_desk, sent, told
from stored_jobs import Letter, open_eyes, residual

from posthouse.domain.event import EventType
from posthouse.domain.job import Status
from posthouse.domain.suppression import SuppressionReason
from posthouse.storage.db import Database


@pytest.fixture
async def desk(queue_database: Database) -> AsyncIterator[Desk]:
    eyes = await open_eyes(queue_database.dsn)
    yield await open_desk(queue_database, eyes)
    await eyes.close()


@pytest.mark.parametrize(
    ("reason", "scope"),
    [
        (SuppressionReason.BOUNCE, "all"),
        (SuppressionReason.SPAM, "all"),
        (SuppressionReason.UNSUBSCRIBE, "marketing"),
    ],
)
async def test_what_the_relay_would_not_try_is_ours_to_know(
    desk: Desk, reason: SuppressionReason, scope: str
) -> None:
    held = await desk.sending()
    await desk.record([sent(held)])
    refused = replace(told(held, EventType.REJECTED), mirrored=reason, diagnostic="Not delivering")
    await desk.record([refused])
    assert (await desk.job(held)).status is Status.FAILED
    assert await desk.eyes.suppressions() == [(Letter().address, scope, reason.value, "Not delivering")]
    assert await residual(desk.db) == []


async def test_a_mail_that_is_only_rejected_suppresses_nobody(desk: Desk) -> None:
    held = await desk.sending()
    await desk.record([told(held, EventType.REJECTED)])
    assert await desk.eyes.suppressions() == []
