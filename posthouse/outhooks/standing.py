"""What a set of answers says of the endpoints they came from, and writing both."""

import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from posthouse.domain.ids import EndpointId
from posthouse.domain.webhook import DeliveryState
from posthouse.outhooks.sending import Answer
from posthouse.storage import webhook_deliveries
from posthouse.storage.db import Database, Transaction, retry_conflicts
from posthouse.storage.webhook_deliveries import Disabled, Standing


async def record(
    db: Database, answers: Sequence[Answer], now: datetime, disable_after: timedelta, rng: random.Random
) -> list[Disabled]:
    """Write answers durably; the endpoints that this disables. Raises NotNow."""
    standings = standings_of(answers, now)

    async def work(tx: Transaction) -> list[Disabled]:
        written = [answer.answered for answer in answers]
        return await webhook_deliveries.record(tx, written, standings, now, now - disable_after)

    return await retry_conflicts(db, work, rng=rng)


def standings_of(answers: Iterable[Answer], now: datetime) -> list[Standing]:
    """One for each endpoint. A single success says that it is well, whatever else it answered."""

    def whose(answer: Answer) -> EndpointId:
        return answer.answered.endpoint_id

    ordered = sorted(answers, key=whose)
    return [_standing(endpoint, list(group), now) for endpoint, group in groupby(ordered, key=whose)]


def _standing(endpoint: EndpointId, answers: Sequence[Answer], now: datetime) -> Standing:
    verdicts = [answer.verdict for answer in answers]
    pauses = [verdict.pause for verdict in verdicts if verdict.pause is not None]
    errors = [verdict.error for verdict in verdicts if verdict.error]
    gone = [verdict.gone for verdict in verdicts if verdict.gone is not None]
    return Standing(
        endpoint,
        succeeded=any(verdict.state is DeliveryState.DELIVERED for verdict in verdicts),
        error=errors[-1] if errors else "",
        not_before=now + max(pauses) if pauses else None,
        gone=gone[0] if gone else None,
    )
