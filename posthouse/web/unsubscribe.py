"""What unsubscribing does to the house."""

from datetime import datetime

from posthouse.compose.unsubscribe import Unsubscribe
from posthouse.domain.address import normalise
from posthouse.domain.suppression import Suppression, SuppressionReason, SuppressionSource
from posthouse.storage import suppressions
from posthouse.storage.db import Database


async def suppress(db: Database, unsubscribe: Unsubscribe, now: datetime) -> None:
    """Nothing of the token's scope is claimed for its address once this has returned, because it is committed
    and every claim looks. Doing it again changes nothing. Raises NotNow."""
    await suppressions.add(
        db,
        Suppression(
            address=normalise(unsubscribe.address),
            reason=SuppressionReason.UNSUBSCRIBE,
            scope=unsubscribe.scope,
            source=SuppressionSource.EVENT,
            added_at=now,
            job_id=unsubscribe.job_id,
            note="unsubscribed by the link in a mail",
        ),
    )
