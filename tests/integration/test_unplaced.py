"""What relays say of mail that is not in the database: its addresses still count."""

from datetime import UTC, datetime

import pytest

from posthouse.domain.address import normalise
from posthouse.domain.event import BounceClass, EventType
from posthouse.domain.suppression import SuppressionReason, SuppressionScope
from posthouse.relays.base import Unplaced
from posthouse.storage import suppressions
from posthouse.storage.db import Database
from posthouse.worker.unplaced import suppress_unplaced


@pytest.mark.parametrize(
    ("kind", "bounce", "entry"),
    [
        (EventType.BOUNCED, BounceClass.HARD, (SuppressionReason.BOUNCE, SuppressionScope.ALL)),
        (EventType.COMPLAINED, None, (SuppressionReason.SPAM, SuppressionScope.ALL)),
        (EventType.UNSUBSCRIBED, None, (SuppressionReason.UNSUBSCRIBE, SuppressionScope.MARKETING)),
        (EventType.BOUNCED, BounceClass.SOFT, None),
        (EventType.BOUNCED, BounceClass.BLOCK, None),
        (EventType.DELIVERED, None, None),
    ],
)
async def test_a_strangers_event_counts_for_its_address(
    database: Database,
    kind: EventType,
    bounce: BounceClass | None,
    entry: tuple[SuppressionReason, SuppressionScope] | None,
) -> None:
    address = f"Stray-{kind}-{bounce}@inbox.test"
    strays = [Unplaced(address, kind, bounce, b"raw"), Unplaced(None, kind, bounce, b"raw")]
    await suppress_unplaced(database, [*strays, Unplaced("no address", kind, bounce, b"")], datetime.now(UTC))
    found = await suppressions.entries_of(database, normalise(address))
    assert [(one.reason, one.scope) for one in found] == ([entry] if entry else [])
