"""The one sandbox address whose end is ours and not a relay's: `suppressed@sandbox.invalid`."""

from collections.abc import Iterable
from datetime import datetime

from posthouse.domain.sandbox import Ending, ending_of
from posthouse.domain.suppression import SuppressionReason, SuppressionScope
from posthouse.storage.acceptance import NewJob
from posthouse.storage.recording import NewSuppression


def suppressions_wanted(jobs: Iterable[NewJob], at: datetime) -> list[NewSuppression]:
    """The suppressions that these jobs are to meet. Stored with them, so that the claim finds both: it ends
    such a job as it ends every suppressed one."""
    return [
        NewSuppression(
            job.address_key,
            SuppressionScope.ALL,
            SuppressionReason.MANUAL,
            at,
            job.job_id,
            "an address of the sandbox that is always suppressed",
        )
        for job in jobs
        if job.sandbox and ending_of(job.to_address) is Ending.SUPPRESSED
    ]
