"""What a relay says of mail that is not in the database: its addresses still count."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from posthouse.domain.address import normalise
from posthouse.domain.errors import InvalidAddress
from posthouse.domain.event import BounceClass, EventType
from posthouse.domain.ids import AddressKey
from posthouse.domain.suppression import SuppressionReason, SuppressionScope
from posthouse.relays.base import Unplaced
from posthouse.storage import recording
from posthouse.storage.db import Database
from posthouse.storage.recording import NewSuppression


async def suppress_unplaced(db: Database, unplaced: Sequence[Unplaced], now: datetime) -> None:
    """A verified hard bounce, complaint or unsubscribing counts, whoever sent the mail. Raises NotNow."""
    new = list(_suppressions(unplaced, now))
    if new:
        async with db.transaction() as tx:
            await recording.suppress(tx, new)


def _suppressions(unplaced: Sequence[Unplaced], now: datetime) -> Iterator[NewSuppression]:
    for stray in unplaced:
        why = _why(stray)
        address = _key(stray.recipient)
        if why is not None and address is not None:
            reason, scope = why
            note = "reported by the relay for a mail that is not in the database"
            yield NewSuppression(address, scope, reason, now, None, note)


def _why(stray: Unplaced) -> tuple[SuppressionReason, SuppressionScope] | None:
    match stray.type, stray.bounce:
        case EventType.BOUNCED, BounceClass.HARD:
            return SuppressionReason.BOUNCE, SuppressionScope.ALL
        case EventType.COMPLAINED, _:
            return SuppressionReason.SPAM, SuppressionScope.ALL
        case EventType.UNSUBSCRIBED, _:
            return SuppressionReason.UNSUBSCRIBE, SuppressionScope.MARKETING
        case _:
            return None


def _key(address: str | None) -> AddressKey | None:
    try:
        return None if address is None else normalise(address)
    except InvalidAddress:
        return None
