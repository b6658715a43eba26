"""A relay's webhook: events alone or in batches, some twice, some late, in any order, again until taken.

What a call looks like, how it is signed and which answer ends it is the vendor's (`Style`); when it is made
and made again are its habits.
"""

import asyncio
import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from aiohttp import ClientError, ClientSession, ClientTimeout

from posthouse.clock import Clock
from posthouse.simulator.events import EventKind, EventLog, MailRef, Stage
from posthouse.simulator.settings import WebhookHabits

_BATCH_BYTES = 768 * 1024  # SendGrid's limit; the others send one event in a call
_SOONEST_FLUSH = 0.02


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """One event as it goes out. `repeat`: a second copy, or more words about it; not counted again."""

    kind: EventKind
    ref: MailRef
    payload: bytes
    repeat: bool = False


@dataclass(order=True, slots=True)
class _Waiting:
    at: float
    seq: int
    event: WebhookEvent = field(compare=False)


@dataclass(order=True, slots=True)
class _Batch:
    """`tries` so far; `first_at`: when the first was made."""

    at: float
    seq: int
    events: Sequence[WebhookEvent] = field(compare=False)
    tries: int = field(compare=False, default=0)
    first_at: float = field(compare=False, default=0.0)


@dataclass(slots=True)
class WebhookCounts:
    posts: int = 0
    posts_failed: int = 0
    events_acked: int = 0  # each event once
    repeats_acked: int = 0
    events_given_up: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the receiver."""

    headers: Mapping[str, str]
    body: bytes


class Style(Protocol):
    """How one vendor's calls look."""

    def call(self, payloads: Sequence[bytes], at: datetime) -> Call:
        """The signed request for these events; made anew for each try."""
        ...

    def is_final(self, status: int) -> bool:
        """Whether an answer that is no 2xx ends the matter, so that the events are lost."""
        ...


class Outbox(Protocol):
    """What the events of one account leave by: posted, or waiting to be fetched."""

    counts: WebhookCounts

    @property
    def pending(self) -> int:
        """Events not yet taken, second copies included."""
        ...


class _Heard(Enum):
    TAKEN = auto()
    FAILED = auto()
    FINAL = auto()  # refused, and the vendor does not ask again


class Webhook:
    """The event webhook of one account."""

    def __init__(
        self,
        url: str,
        style: Style,
        habits: WebhookHabits,
        *,
        events: EventLog,
        clock: Clock,
        rng: random.Random,
        time_scale: float,
        ready: asyncio.Event | None = None,
    ) -> None:
        self.counts = WebhookCounts()
        self._url = url
        self._style = style
        self._habits = habits
        self._log = events
        self._clock = clock
        self._rng = rng
        self._scale = time_scale
        self._ready = ready
        self._waiting: list[_Waiting] = []
        self._retries: list[_Batch] = []
        self._flying: dict[int, _Batch] = {}
        self._slots = asyncio.Semaphore(habits.in_flight)
        self._seq = 0
        self._session = ClientSession(timeout=ClientTimeout(total=habits.timeout))

    @property
    def pending(self) -> int:
        """Events not yet taken, second copies included."""
        batches = (*self._retries, *self._flying.values())
        return len(self._waiting) + sum(len(batch.events) for batch in batches)

    def send(self, event: WebhookEvent, happens_at: float) -> None:
        """Sends an event some time after it happens (event loop's clock), and perhaps once more."""
        if not event.repeat:
            self._log.record(event.kind, Stage.DECIDED, event.ref)
        late = self._rng.random() < self._habits.late_share
        held_back = self._rng.random() * self._habits.disorder + (self._habits.late_by if late else 0.0)
        at = happens_at + held_back * self._scale
        self._push(at, event)
        if self._rng.random() < self._habits.duplicate_share:
            again = at + self._rng.random() * 2 * self._habits.disorder * self._scale
            self._push(again, replace(event, repeat=True))

    async def run(self) -> None:
        if self._ready is not None:
            await self._ready.wait()
        pause = max(_SOONEST_FLUSH, min(1.0, self._scale) * self._habits.flush_every)
        async with asyncio.TaskGroup() as posts:
            while True:
                await asyncio.sleep(pause)
                await self._post_due(posts, asyncio.get_running_loop().time())

    async def drain(self) -> None:
        """Posts all that waits, due or not, once. For the end, after `run` was cancelled."""
        for batch in self._flying.values():
            heapq.heappush(self._retries, batch)  # whether they arrived is not known: they go again
        self._flying.clear()
        tries_left = len(self._retries) + len(self._waiting)
        async with asyncio.TaskGroup() as posts:
            while tries_left and (self._retries or self._waiting):
                tries_left -= 1
                await self._post_next(posts, float("inf"))

    async def close(self) -> None:
        await self._session.close()

    def _push(self, at: float, event: WebhookEvent) -> None:
        self._seq += 1
        heapq.heappush(self._waiting, _Waiting(at, self._seq, event))

    async def _post_due(self, posts: asyncio.TaskGroup, now: float) -> None:
        while any(queue and queue[0].at <= now for queue in (self._retries, self._waiting)):
            await self._post_next(posts, now)

    async def _post_next(self, posts: asyncio.TaskGroup, now: float) -> None:
        await self._slots.acquire()
        batch = self._next_batch(now)
        self._flying[batch.seq] = batch
        posts.create_task(self._post(batch)).add_done_callback(lambda _: self._slots.release())

    def _next_batch(self, now: float) -> _Batch:
        """A batch that failed before, or up to 768 KB of new events."""
        if self._retries and self._retries[0].at <= now:
            return heapq.heappop(self._retries)
        events: list[WebhookEvent] = []
        size = 0
        while self._waiting and self._waiting[0].at <= now and len(events) < self._habits.batch_max:
            size += len(self._waiting[0].event.payload) + 3
            if events and size > _BATCH_BYTES:
                break
            events.append(heapq.heappop(self._waiting).event)
        self._seq += 1
        return _Batch(now, self._seq, events, first_at=asyncio.get_running_loop().time())

    async def _post(self, batch: _Batch) -> None:
        heard = await self._say([event.payload for event in batch.events])
        del self._flying[batch.seq]
        match heard:
            case _Heard.TAKEN:
                self._acknowledge(batch.events)
            case _Heard.FAILED:
                self._try_later(batch)
            case _Heard.FINAL:
                self._give_up(batch.events, "refused for good")

    async def _say(self, payloads: Sequence[bytes]) -> _Heard:
        """Taken is a 2xx. Redirects are not followed: no relay does."""
        call = self._style.call(payloads, self._clock.now())
        self.counts.posts += 1
        try:
            async with self._session.post(
                self._url, data=call.body, headers=call.headers, allow_redirects=False
            ) as answer:
                status = answer.status
        except (ClientError, TimeoutError, OSError):
            status = 0
        if 200 <= status < 300:
            return _Heard.TAKEN
        self.counts.posts_failed += 1
        return _Heard.FINAL if status and self._style.is_final(status) else _Heard.FAILED

    def _acknowledge(self, events: Sequence[WebhookEvent]) -> None:
        for event in events:
            if event.repeat:
                self.counts.repeats_acked += 1
                continue
            self.counts.events_acked += 1
            self._log.record(event.kind, Stage.DONE, event.ref)

    def _try_later(self, batch: _Batch) -> None:
        wait = self._wait(batch.tries)
        if wait is None:
            self._give_up(batch.events, "not taken in time")
            return
        at = asyncio.get_running_loop().time() + wait * self._scale
        if at - batch.first_at > self._habits.retry_until * self._scale:
            self._give_up(batch.events, "not taken in time")
            return
        heapq.heappush(self._retries, _Batch(at, batch.seq, batch.events, batch.tries + 1, batch.first_at))

    def _wait(self, tries: int) -> float | None:
        """Seconds before the next try, of a schedule or doubling with jitter; None: there is none."""
        habits = self._habits
        if habits.retry_waits:
            return habits.retry_waits[tries] if tries < len(habits.retry_waits) else None
        wait = min(habits.retry_most, habits.retry_first * 2.0 ** min(tries, 30))
        return wait * (0.5 + self._rng.random() / 2)

    def _give_up(self, events: Sequence[WebhookEvent], why: str) -> None:
        for event in events:
            if not event.repeat:
                self.counts.events_given_up += 1
                self._log.record(event.kind, Stage.FAILED, event.ref, why)
