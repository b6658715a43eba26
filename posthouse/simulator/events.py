"""What the simulation decides and what came of it: one JSON line each, and counts."""

import asyncio
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from posthouse.clock import Clock

_BUFFER_BYTES = 256 * 1024
_FLUSH_SECONDS = 0.2


class EventKind(StrEnum):
    PROCESSED = "processed"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    HARD = "hard"
    SOFT = "soft"
    BLOCK = "block"
    DROPPED = "dropped"
    COMPLAINT = "complaint"
    HUMAN_OPEN = "human_open"
    MACHINE_OPEN = "machine_open"
    CLICK = "click"
    MACHINE_CLICK = "machine_click"
    UNSUBSCRIBE = "unsubscribe"


class Stage(StrEnum):
    """Decided comes once for each event, then one of the others (none while it is under way)."""

    DECIDED = "decided"
    DONE = "done"  # the webhook got a 2xx; the visit was answered as it should be; SMTP said so in its reply
    FAILED = "failed"  # the visit was answered wrongly, or the webhook's 24 hours are over
    REFUSED = "refused"  # the address to visit was not of this machine


@dataclass(frozen=True, slots=True)
class MailRef:
    """Which accepted mail an event is about. `n` 0: refused at RCPT, so there is none."""

    n: int
    account: str
    to: str
    job_id: str | None = None
    attempt: int | None = None


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    at: float
    kind: EventKind
    stage: Stage
    n: int
    account: str
    to: str
    job_id: str | None
    attempt: int | None
    detail: str = ""


class EventLog:
    """Append-only; buffered, because no promise hangs on it."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._clock = clock
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()
        self._counts: Counter[tuple[str, Stage, EventKind]] = Counter()

    def record(self, kind: EventKind, stage: Stage, ref: MailRef, detail: str = "") -> None:
        self._counts[ref.account, stage, kind] += 1
        line = _Line(
            round(self._clock.now().timestamp(), 3),
            kind,
            stage,
            ref.n,
            ref.account,
            ref.to,
            ref.job_id,
            ref.attempt,
            detail,
        )
        self._buffer += self._encoder.encode(line)
        self._buffer += b"\n"
        if len(self._buffer) >= _BUFFER_BYTES:
            self.flush()

    def summary(self, account: str | None = None) -> Mapping[str, Mapping[str, int]]:
        """Counts by stage and kind, of one account or of all."""
        counts: dict[str, Counter[str]] = {stage.value: Counter() for stage in Stage}
        for (name, stage, kind), number in self._counts.items():
            if account is None or account == name:
                counts[stage.value][kind.value] += number
        return counts

    def flush(self) -> None:
        write_all(self._file, self._buffer)
        self._buffer.clear()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            self.flush()

    def close(self) -> None:
        self.flush()
        os.close(self._file)


def write_all(file: int, data: bytes | bytearray) -> None:
    """Writes every byte; os.write alone may stop short."""
    view = memoryview(bytes(data))
    while view:
        view = view[os.write(file, view) :]
