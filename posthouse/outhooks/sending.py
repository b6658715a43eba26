"""One attempt: signed, posted, judged."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from yarl import URL

from posthouse.clock import Clock
from posthouse.net.client import HttpClient
from posthouse.outhooks.judging import Verdict, judge
from posthouse.outhooks.signing import SecretBox, SigningSecret, headers_of
from posthouse.storage.webhook_deliveries import Answered, Claimed, DueEndpoint

_HEADERS: Final = {"content-type": "application/json", "user-agent": "Posthouse-Webhooks/1"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt, with what it says of its endpoint."""

    answered: Answered
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Sender:
    """What an attempt needs."""

    http: HttpClient
    box: SecretBox
    clock: Clock
    rng: random.Random
    retries: Sequence[timedelta]

    def secrets_of(self, endpoint: DueEndpoint) -> list[SigningSecret]:
        """Newest first. Raises Misconfigured."""
        sealed = [endpoint.secret, *([endpoint.previous_secret] if endpoint.previous_secret else [])]
        return [self.box.open(endpoint.endpoint_id, one) for one in sealed]

    async def send(self, endpoint: DueEndpoint, secrets: Sequence[SigningSecret], claimed: Claimed) -> Answer:
        """Raises only on cancellation."""
        at, begun = self.clock.now(), self.clock.monotonic()
        body = claimed.body.encode()
        signed = headers_of(claimed.notice_id, int(at.timestamp()), body, secrets)
        reply = await self.http.post(URL(endpoint.url), {**_HEADERS, **signed}, body, lambda: True)
        verdict = judge(reply, claimed.tries, self.retries, self.clock.now(), self.rng)
        ms = int((self.clock.monotonic() - begun) * 1000)
        return Answer(_answered(claimed, verdict, at, self.clock.now(), ms), verdict)


def _answered(claimed: Claimed, verdict: Verdict, at: datetime, now: datetime, ms: int) -> Answered:
    return Answered(
        endpoint_id=claimed.endpoint_id,
        notice_id=claimed.notice_id,
        attempt=claimed.attempt,
        state=verdict.state,
        due_at=now + (verdict.retry_in or timedelta(0)),
        at=at,
        ms=ms,
        http_status=verdict.http_status,
        error=verdict.error,
        response=verdict.response,
    )
