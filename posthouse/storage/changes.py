"""What a client still changes of mail it posted. SQL in queries/changes.sql; the jobs are locked before."""

from collections.abc import Sequence
from datetime import datetime

from posthouse.domain.ids import JobId
from posthouse.storage.db import Transaction


async def reschedule(
    tx: Transaction, jobs: Sequence[JobId], due_at: datetime, scheduled_at: datetime | None
) -> None:
    """Make the jobs wait for a new time. The books of those that change their state are the caller's."""
    if jobs:
        await tx.execute("reschedule_jobs", jobs, min(jobs), max(jobs), due_at, scheduled_at)


async def forbid_repeat(tx: Transaction, jobs: Sequence[JobId]) -> None:
    """However the attempt under way ends: a doubt about it is no reason to send again."""
    if jobs:
        await tx.execute("forbid_repeat", jobs, min(jobs), max(jobs))
