"""SendGrid's Event Webhook: signed batches, some twice, some late, none in order, repeated until taken."""

import asyncio
import heapq
import random
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from posthouse.clock import Clock
from posthouse.simulator.events import EventKind, EventLog, MailRef, Stage
from posthouse.simulator.settings import BadSettingsError, WebhookHabits

SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"
_BATCH_BYTES = 768 * 1024
_SOONEST_FLUSH = 0.02


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """One event as it goes out. `repeat`: a second copy, which is not counted again."""

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


class Signer:
    """ECDSA P-256 over timestamp + body, as the Event Webhook signs."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public_key = b64encode(public).decode()  # as SendGrid shows it

    def headers(self, timestamp: str, body: bytes) -> dict[str, str]:
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(SHA256()))
        return {
            SIGNATURE_HEADER: b64encode(signature).decode(),
            TIMESTAMP_HEADER: timestamp,
            "Content-Type": "application/json",
        }


def load_signer(path: Path) -> Signer:
    """The key in a PEM file, made when missing. Raises BadSettingsError when it is no P-256 key."""
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return Signer(key)
    try:
        loaded = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise BadSettingsError(f"{path}: {error}") from error
    if not isinstance(loaded, ec.EllipticCurvePrivateKey) or not isinstance(loaded.curve, ec.SECP256R1):
        raise BadSettingsError(f"{path}: not an ECDSA P-256 key")
    return Signer(loaded)


def batch_body(events: Sequence[WebhookEvent]) -> bytes:
    """A JSON array that ends with CRLF, as SendGrid's does: receivers that parse before they verify fail."""
    return b"[" + b",\r\n".join([event.payload for event in events]) + b"]\r\n"


class Webhook:
    """The event webhook of one account."""

    def __init__(
        self,
        url: str,
        signer: Signer,
        habits: WebhookHabits,
        *,
        events: EventLog,
        clock: Clock,
        rng: random.Random,
        time_scale: float,
    ) -> None:
        self.counts = WebhookCounts()
        self._url = url
        self._signer = signer
        self._habits = habits
        self._log = events
        self._clock = clock
        self._rng = rng
        self._scale = time_scale
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
        self._log.record(event.kind, Stage.DECIDED, event.ref)
        late = self._rng.random() < self._habits.late_share
        held_back = self._rng.random() * self._habits.disorder + (self._habits.late_by if late else 0.0)
        at = happens_at + held_back * self._scale
        self._push(at, event)
        if self._rng.random() < self._habits.duplicate_share:
            again = at + self._rng.random() * 2 * self._habits.disorder * self._scale
            self._push(again, replace(event, repeat=True))

    async def run(self) -> None:
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
        """A batch that failed before, or up to 768 KB of new events (SendGrid's limit)."""
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
        taken = await self._taken(batch_body(batch.events))
        del self._flying[batch.seq]
        if taken:
            self._acknowledge(batch.events)
        else:
            self._try_later(batch)

    async def _taken(self, body: bytes) -> bool:
        """Whether the receiver answered 2xx. Redirects are not followed, as SendGrid does not."""
        headers = self._signer.headers(str(int(self._clock.now().timestamp())), body)
        self.counts.posts += 1
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                taken = 200 <= answer.status < 300
        except (ClientError, TimeoutError, OSError):
            taken = False
        self.counts.posts_failed += not taken
        return taken

    def _acknowledge(self, events: Sequence[WebhookEvent]) -> None:
        for event in events:
            if event.repeat:
                self.counts.repeats_acked += 1
                continue
            self.counts.events_acked += 1
            self._log.record(event.kind, Stage.DONE, event.ref)

    def _try_later(self, batch: _Batch) -> None:
        habits = self._habits
        wait = min(habits.retry_most, habits.retry_first * 2.0 ** min(batch.tries, 30))
        at = asyncio.get_running_loop().time() + wait * self._scale * (0.5 + self._rng.random() / 2)
        if at - batch.first_at > habits.retry_until * self._scale:
            self._give_up(batch.events)
            return
        heapq.heappush(self._retries, _Batch(at, batch.seq, batch.events, batch.tries + 1, batch.first_at))

    def _give_up(self, events: Sequence[WebhookEvent]) -> None:
        for event in events:
            if not event.repeat:
                self.counts.events_given_up += 1
                self._log.record(event.kind, Stage.FAILED, event.ref, "not taken in time")
