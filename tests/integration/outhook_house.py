"""The processor's side of outgoing webhooks under a clock that stands, on a real database."""

import random
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from receiver import Receiver
from stored_jobs import Letter, accept

from posthouse.clock import ManualClock
from posthouse.domain.event import BounceClass, Event, EventType, Origin
from posthouse.domain.ids import EndpointId, EventId, JobId, RelayAccount, uuid7
from posthouse.domain.webhook import Endpoint, EventName, Interest
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.outhooks.desk import Desk, Wanted
from posthouse.outhooks.sending import Sender
from posthouse.outhooks.signing import SecretBox
from posthouse.status.apply import Policy, apply
from posthouse.storage import webhook_deliveries
from posthouse.storage.db import Database
from posthouse.storage.webhook_deliveries import Delivery, Range
from posthouse.telemetry import Metrics
from posthouse.worker.outhooks import Outhooks, Terms

POLICY = Policy((timedelta(hours=1),), {})
RETRIES = [timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30)]
BOX = SecretBox([bytes(range(32))])
TIMEOUT = 0.5  # seconds that a receiver has, of real time
ALL = frozenset(EventName)


@dataclass
class OuthookHouse:
    db: Database
    clock: ManualClock
    worker: Outhooks
    desk: Desk
    metrics: Metrics
    http: HttpClient

    async def endpoint(self, receiver: Receiver, interest: Interest | None = None) -> Endpoint:
        """An endpoint at the receiver, which learns the secret."""
        wanted = Wanted(receiver.url, "", interest or Interest(ALL))
        endpoint, secret = await self.desk.create(wanted, self.clock.now())
        receiver.secrets.append(secret)
        receiver.now = self.clock.now
        return endpoint

    async def settle(self) -> None:
        """Turns until nothing is due at this moment and nothing is in hand."""
        while await self.worker.turn() or self.worker.under_way:
            if self.worker.under_way:
                await self.worker.wait(5.0)

    async def later(self, wait: timedelta) -> None:
        """So much later, with a little more for the jitter, and settled."""
        self.clock.advance(wait.total_seconds() * 1.1 + 0.001)
        await self.settle()

    async def find(self, endpoint: Endpoint) -> Endpoint:
        return await self.desk.find(endpoint.endpoint_id)

    async def log(self, endpoint: EndpointId) -> list[Delivery]:
        every = Range(uuid7_after(self.clock.now()), uuid7_after(datetime(2000, 1, 1, tzinfo=UTC)))
        return await webhook_deliveries.page(self.db, endpoint, every, 100)


def uuid7_after(moment: datetime) -> EventId:
    return EventId(uuid7(int(moment.timestamp() * 1000) + 1, 0))


@asynccontextmanager
async def outhook_house(
    db: Database, receivers: Sequence[Receiver], *, concurrency: int = 8, box: SecretBox = BOX
) -> AsyncIterator[OuthookHouse]:
    clock = ManualClock(datetime.now(UTC))  # receivers compare the time of a signature with their own
    policy = EgressPolicy(frozenset(f"127.0.0.1:{receiver.port}" for receiver in receivers))
    http = HttpClient(
        policy, ClientLimits(connect=TIMEOUT, total=TIMEOUT, connections=1000, reply_bytes=4096)
    )
    metrics = Metrics()
    sender = Sender(http, box, clock, random.Random(secrets.randbits(64)), RETRIES)
    terms = Terms(concurrency, timedelta(seconds=60), timedelta(days=5))
    desk = Desk(db, box, policy, secrets.token_bytes, secrets.randbits)
    try:
        yield OuthookHouse(db, clock, Outhooks(db, sender, terms, metrics), desk, metrics, http)
    finally:
        await http.close()


async def accepted_mails(db: Database, count: int, letter: Letter | None = None) -> list[JobId]:
    return await accept(db, [letter or Letter()] * count)


async def happen(db: Database, jobs: Sequence[JobId], kind: EventType, **more: object) -> None:
    """Events of their relay about these mails, recorded as the processor does it."""
    at = datetime.now(UTC)
    events = [
        Event(
            job_id=job,
            event_id=EventId(uuid7(int(at.timestamp() * 1000), random.getrandbits(74))),
            attempt=0,
            type=kind,
            origin=Origin.RELAY,
            occurred_at=at,
            relay=RelayAccount("mail-one"),
            bounce=BounceClass.HARD if kind is EventType.BOUNCED else None,
            diagnostic=str(more.get("diagnostic", "")),
            url=str(more["url"]) if "url" in more else None,
            machine=bool(more.get("machine", False)),
        )
        for job in jobs
    ]
    async with db.transaction() as tx:
        await apply(tx, events, POLICY)
