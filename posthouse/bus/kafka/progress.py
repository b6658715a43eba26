"""How far a member is in each partition: which records are in hand, and so what may be committed."""

from collections.abc import Iterable, Mapping


class Progress:
    """The offset to commit is that of the first record in hand: a later one that is done never hides it."""

    def __init__(self) -> None:
        self._in_hand: dict[int, dict[int, None]] = {}  # by partition, offsets in their order
        self._next: dict[int, int] = {}
        self._committed: dict[int, int] = {}

    def took(self, partition: int, offset: int) -> None:
        """Records of a partition are taken in their order."""
        self._in_hand.setdefault(partition, {})[offset] = None
        self._next[partition] = offset + 1

    def done(self, partition: int, offset: int) -> None:
        """In any order, and also for a partition that was lost meanwhile."""
        self._in_hand.get(partition, {}).pop(offset, None)

    def to_commit(self) -> dict[int, int]:
        """By partition, where it differs from what was committed last."""
        reached = {p: next(iter(in_hand), self._next[p]) for p, in_hand in self._in_hand.items()}
        return {p: offset for p, offset in reached.items() if self._committed.get(p) != offset}

    def committed(self, offsets: Mapping[int, int]) -> None:
        self._committed.update(offsets)

    def lost(self, partitions: Iterable[int]) -> None:
        """They are another member's; if they come back, it is from where he committed."""
        for partition in partitions:
            for known in (self._in_hand, self._next, self._committed):
                known.pop(partition, None)
