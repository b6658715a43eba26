"""A run of callbacks that cannot be read: something is wrong with the house, not with each."""

from collections.abc import Sequence

from posthouse.domain.errors import PoisonRun


class PoisonLimit:
    """Counts callbacks in a row that cannot be read, over batches."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._run = 0

    def after(self, refusals: Sequence[str | None]) -> int:
        """How long the run is after a batch, of which each callback has its reason or None.

        Raises PoisonRun where it reaches the limit. The batch then comes again, so it must not count yet.
        """
        run = self._run
        for reason in refusals:
            run = 0 if reason is None else run + 1
            if run >= self.limit:
                raise PoisonRun(
                    f"{run} relay callbacks in a row cannot be read, the last one because {reason}. They are "
                    "kept, and none is processed until that is mended. To set them all aside as dead "
                    "letters instead, raise poison_limit in [house].",
                    pointer="/house/poison_limit",
                )
        return run

    def done(self, run: int) -> None:
        """The batch after which the run was so long is done with."""
        self._run = run
