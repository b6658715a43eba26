"""The ledger: one JSON line for each mail, written before the mail is answered."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import msgspec

from posthouse.simulator.events import write_all

_TAIL_BYTES = 1024 * 1024


class Via(StrEnum):
    SMTP = "smtp"
    SENDGRID = "sendgrid"
    MAILGUN = "mailgun"
    SES = "ses"
    POSTMARK = "postmark"


class Outcome(StrEnum):
    """What a mail that was taken comes to in the end."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"  # delivered after deferrals
    HARD = "hard"
    SOFT = "soft"
    BLOCK = "block"
    ASYNC = "async"  # delivered, then bounced hard
    DROPPED = "dropped"


class LedgerEntry(msgspec.Struct, frozen=True):
    """`at` is Unix time in seconds. Job id and attempt are what the sender put into its custom data
    `posthouse_job` and `posthouse_attempt`, or into the header `X-Posthouse-Id: job.attempt`."""

    n: int
    at: float
    account: str
    via: Via
    to: str
    sender: str = msgspec.field(name="from")
    message_id: str
    job_id: str | None
    attempt: int | None
    subject: str
    outcome: Outcome


class _Number(msgspec.Struct):
    n: int


class Ledger:
    """Append-only. `append` calls back when its lines are as durable as was asked for."""

    def __init__(self, path: Path, *, fsync: bool) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        self._fsync = fsync
        self._encoder = msgspec.json.Encoder()
        self._last_n = self._continue_from()
        self._waiting: list[Callable[[], None]] = []
        self._wanted = asyncio.Event()
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def next_n(self) -> int:
        self._last_n += 1
        return self._last_n

    def append(self, entries: list[LedgerEntry], then: Callable[[], None]) -> None:
        """One write for all entries; `then` runs at once, or after the next fsync."""
        write_all(self._file, b"".join([self._encoder.encode(entry) + b"\n" for entry in entries]))
        for entry in entries:
            self._counts[entry.account, entry.via.value, entry.outcome.value] += 1
        if not self._fsync:
            then()
            return
        self._waiting.append(then)
        self._wanted.set()

    async def run(self) -> None:
        """Group fsync: one for everybody who came while the last one ran."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            group, self._waiting = self._waiting, []
            await asyncio.to_thread(os.fsync, self._file)
            for then in group:
                then()

    def summary(self) -> dict[str, int | dict[str, int]]:
        """Mails taken since the start: all, by account, by way in, by outcome."""
        by: tuple[Counter[str], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
        for key, number in self._counts.items():
            for counter, name in zip(by, key, strict=True):
                counter[name] += number
        return {
            "messages": sum(self._counts.values()),
            "last_n": self._last_n,
            "by_account": dict(by[0]),
            "by_via": dict(by[1]),
            "by_outcome": dict(by[2]),
        }

    def close(self) -> None:
        os.close(self._file)

    def _continue_from(self) -> int:
        """The last number of an earlier run. A line torn by a crash is ended, so that the next is whole."""
        size = os.fstat(self._file).st_size
        tail = os.pread(self._file, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        if tail and not tail.endswith(b"\n"):
            write_all(self._file, b"\n")
        for line in reversed(tail.splitlines()):
            try:
                return msgspec.json.decode(line, type=_Number).n
            except msgspec.DecodeError:
                continue
        return 0
