"""The two ports of the bus. Every implementation passes the laws in tests/conformance."""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from posthouse.domain.job import ClaimedJob, Held
from posthouse.domain.outgoing import EmailEvent
from posthouse.relays.base import RawCallback


class JobSource(Protocol):
    """Where a worker of one stream takes its jobs from."""

    async def take(self, limit: int) -> list[ClaimedJob]:
        """Up to `limit` due jobs, claimed (committed) for this worker; [] when none is due.

        Suppressed and expired jobs end in the same statement and are not among the answers.
        """
        ...

    async def release(self, held: Sequence[Held], due_at: datetime | None) -> int:
        """Give back jobs whose hand-over was not begun. `due_at` None: due as they were. Returns how many
        were still held."""
        ...

    async def disown(self, in_hand: Collection[Held]) -> int:
        """Give back what is claimed for this worker without its knowing: a claim whose answer was lost.
        Everything but `in_hand`; returns how many."""
        ...

    def done(self, held: Sequence[Held]) -> None:
        """Nothing of these is in hand any more, and what became of them is committed. Called after `release`
        too."""
        ...

    async def wait(self, timeout: float) -> None:
        """Return when a hint says that jobs may be due, or after `timeout` seconds."""
        ...

    async def leave(self) -> None:
        """Take nothing any more: what this worker would have been given is for the others from now on. What
        is in hand stays so, and is still `done` or released. Does not fail."""
        ...

    def pause(self) -> None:
        """`take` answers [] until `resume`; the place is kept."""
        ...

    def resume(self) -> None: ...


class Position(NamedTuple):
    """Where a callback stands in its log, which may be in parts."""

    part: int
    number: int


@dataclass(frozen=True, slots=True)
class HeldCallback:
    position: Position
    callback: RawCallback
    received_at: datetime


class CallbackBatch(Protocol):
    """Callbacks held by one reader until it leaves the context; leaving with an error gives them back."""

    callbacks: Sequence[HeldCallback]

    async def set_aside(self, held: HeldCallback, reason: str, payload: bytes) -> None:
        """`payload`, all of it or a part, to the dead letters with the reason; the others go on."""
        ...

    async def postpone(self, held: HeldCallback, until: datetime) -> None:
        """Look at it again, not before `until`."""
        ...


class EventStream(Protocol):
    """Where everybody may read what happens to mail: analytics, a warehouse, other services."""

    async def publish(self, events: Sequence[EmailEvent]) -> None:
        """Durable when this returns. Events of one job keep their order within a call. Raises NotNow."""
        ...


class CallbackSink(Protocol):
    """Where the receiver leaves relay callbacks."""

    async def append(self, callbacks: Sequence[RawCallback]) -> None:
        """Durable when this returns; only then may the relay be answered 2xx. Raises NotNow."""
        ...


class EventLog(CallbackSink, Protocol):
    """Relay callbacks between the receiver and the processor, which reads one batch after the other."""

    def read(self, limit: int) -> AbstractAsyncContextManager[CallbackBatch]:
        """Callbacks that nobody else holds: those of one `append` in their order. Done with when the context
        ends without an error; else they come again."""
        ...

    async def wait(self, timeout: float) -> None: ...
