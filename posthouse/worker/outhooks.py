"""The loop of outgoing webhooks: events become deliveries, due ones go out, answers are recorded in sets.

Everything but the requests themselves happens in one turn after another; the requests are tasks. An endpoint
has as many of them as its own share allows, so one that hangs fills its share and nobody else's.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.domain.ids import EndpointId
from posthouse.domain.webhook import DeliveryState
from posthouse.failpoints import failpoint
from posthouse.outhooks import fanout, standing
from posthouse.outhooks.sending import Answer, Sender
from posthouse.outhooks.signing import SigningSecret
from posthouse.storage import webhook_deliveries, webhooks
from posthouse.storage.db import Database
from posthouse.storage.webhook_deliveries import Claimed, DueEndpoint, Standing
from posthouse.telemetry import Metrics, log

POLL: Final = 0.25  # seconds
#: Deliveries that one turn makes due again of a redelivery.
REDELIVERED: Final = 1000
#: On the way out: what was not answered by then is sent again by the next processor.
DRAIN: Final = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Terms:
    """How endpoints are treated. `lease`: a delivery whose answer is not recorded by then is sent again; it
    must be longer than an attempt can take."""

    concurrency: int
    lease: timedelta
    disable_after: timedelta


class Outhooks:
    """Sends what endpoints are to be told, in one process of any number."""

    def __init__(self, db: Database, sender: Sender, terms: Terms, metrics: Metrics) -> None:
        self._db = db
        self._sender = sender
        self._terms = terms
        self._metrics = metrics
        self._in_hand: Counter[EndpointId] = Counter()  # until the answer is recorded
        self._answers: list[Answer] = []
        self._requests: list[asyncio.Task[None]] = []
        self._answered = asyncio.Event()

    @property
    def under_way(self) -> bool:
        """Whether anything is in hand whose answer is not recorded."""
        return self._in_hand.total() > 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. A database that is away puts everything off; a bug ends it, aloud."""
        while not stop.is_set():
            try:
                busy = await self.turn()
            except NotNow as error:
                log.warning("webhooks put off", reason=error.message)
                busy = False
            if not busy:
                await self.wait(POLL)
        await self.drain()

    async def turn(self) -> bool:
        """Record, take in, make due again, send; whether there is more to do at once. Raises NotNow, and
        what a request has raised, which is a bug."""
        self._answered.clear()
        self._sweep_requests()
        await self._record()
        taken = await fanout.fan_out(self._db, self._sender.clock.now(), self._sender.rng)
        again = await webhooks.redeliver_some(self._db, REDELIVERED, self._sender.clock.now())
        await self._send_due()
        return taken > 0 or again is not None

    async def wait(self, seconds: float) -> None:
        """Until something was answered, or so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._answered.wait()
        except TimeoutError:
            return

    async def drain(self) -> None:
        """Give requests that are under way a moment to be answered, and record what was. What is left stays
        leased, and is sent again."""
        if self._requests:
            await asyncio.wait(self._requests, timeout=DRAIN)
        for request in self._requests:
            request.cancel()
        try:
            await self._record()
        except NotNow as error:
            log.warning("answers of webhooks are not recorded: they are sent again", reason=error.message)

    def _sweep_requests(self) -> None:
        for request in self._requests:
            if request.done():
                request.result()
        self._requests = [request for request in self._requests if not request.done()]

    async def _record(self) -> None:
        """What could not be recorded stays, and counts as in hand: an outage of ours takes in no more."""
        answers = list(self._answers)
        if not answers:
            return
        failpoint("outhooks.answered")
        now = self._sender.clock.now()
        disabled = await standing.record(self._db, answers, now, self._terms.disable_after, self._sender.rng)
        failpoint("outhooks.recorded")
        del self._answers[: len(answers)]
        for answer in answers:
            self._in_hand[answer.answered.endpoint_id] -= 1
            self._metrics.webhook_deliveries.labels(_result(answer.answered.state)).inc()
        for one in disabled:
            log.error("webhook disabled", endpoint_id=str(one.endpoint_id), reason=one.reason)

    async def _send_due(self) -> None:
        for endpoint in await webhook_deliveries.due_endpoints(self._db, self._sender.clock.now()):
            room = self._share(endpoint) - self._in_hand[endpoint.endpoint_id]
            if room <= 0:
                continue
            try:
                secrets = self._sender.secrets_of(endpoint)
            except Misconfigured as error:
                await self._disable(endpoint.endpoint_id, error.message)
                continue
            await self._claim(endpoint, secrets, room)

    async def _claim(self, endpoint: DueEndpoint, secrets: Sequence[SigningSecret], room: int) -> None:
        now = self._sender.clock.now()
        claimed = await webhook_deliveries.claim(
            self._db, endpoint.endpoint_id, room, now, now + self._terms.lease
        )
        failpoint("outhooks.claimed")
        self._in_hand[endpoint.endpoint_id] += len(claimed)
        for delivery in claimed:
            self._requests.append(asyncio.create_task(self._send(endpoint, secrets, delivery)))

    def _share(self, endpoint: DueEndpoint) -> int:
        """One that fails is asked one at a time, until it answers again: a dead one has a backlog."""
        return self._terms.concurrency if endpoint.failing_since is None else 1

    async def _send(self, endpoint: DueEndpoint, secrets: Sequence[SigningSecret], delivery: Claimed) -> None:
        try:
            self._answers.append(await self._sender.send(endpoint, secrets, delivery))
        finally:
            self._answered.set()

    async def _disable(self, endpoint: EndpointId, reason: str) -> None:
        now = self._sender.clock.now()
        told = Standing(endpoint, succeeded=False, error=reason, gone=reason)
        async with self._db.transaction() as tx:
            await webhook_deliveries.record(tx, [], [told], now, now - self._terms.disable_after)
        log.error("webhook disabled", endpoint_id=str(endpoint), reason=reason)


def _result(state: DeliveryState) -> str:
    return "retried" if state is DeliveryState.PENDING else state.value
