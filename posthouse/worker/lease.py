"""A worker's lease: it beats, and it begins no hand-over that its last confirmed beat does not cover."""

import asyncio
import os
import socket
from dataclasses import dataclass
from datetime import timedelta

from posthouse.clock import Clock
from posthouse.domain.errors import NotNow, PosthouseError
from posthouse.domain.ids import InstanceId
from posthouse.domain.stream import Stream
from posthouse.storage import leases
from posthouse.storage.db import Database
from posthouse.telemetry import log


class LeaseLost(PosthouseError):
    """This process was declared dead; its jobs belong to others now."""

    code = "lease_lost"


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    beat_every: timedelta
    begin_within: timedelta


class Lease:
    def __init__(self, db: Database, instance: InstanceId, terms: LeaseTerms, clock: Clock) -> None:
        self._db = db
        self._terms = terms
        self._clock = clock
        self._confirmed = float("-inf")  # monotonic time at which the last confirmed beat was sent
        self.instance = instance

    async def enlist(self, role: str, stream: Stream | None) -> None:
        """Be known before anything is claimed."""
        sent = self._clock.monotonic()
        await leases.enlist(self._db, self.instance, role, stream, socket.gethostname(), os.getpid())
        self._confirmed = sent

    def may_begin(self) -> bool:
        """Whether a hand-over may begin now. Asked before the first byte of each."""
        return self._clock.monotonic() - self._confirmed < self._terms.begin_within.total_seconds()

    async def keep(self) -> None:
        """Beat until cancelled. A database that is away costs beats, not the lease; raises LeaseLost."""
        while True:
            await asyncio.sleep(self._terms.beat_every.total_seconds())
            sent = self._clock.monotonic()
            try:
                alive = await leases.beat(self._db, self.instance)
            except NotNow as error:
                log.warning("beat not confirmed", instance=str(self.instance), reason=error.message)
                continue
            if not alive:
                self._confirmed = float("-inf")
                raise LeaseLost(
                    "This worker was declared dead while it lived (it was stopped, or cut off from the "
                    "database); its jobs were taken over. It ends now: start it again."
                )
            self._confirmed = sent

    async def retire(self) -> None:
        """A clean end: nothing is held any more."""
        await leases.retire(self._db, self.instance)
