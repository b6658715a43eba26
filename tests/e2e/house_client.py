"""An application that keeps a line for every promise, and asks again by the same key until it has one."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import aiohttp
import msgspec

from posthouse.cli.demo.client import Accepted, Api, Promise
from posthouse.domain.stream import Stream

#: A promise that does not come within this is not coming. Seconds.
PATIENCE: Final = 60.0
CONCURRENCY: Final = 16
_AGAIN: Final = 0.05  # seconds

RECEIPT: Final = {
    "key": "receipt",
    "name": "Receipt",
    "subject": "Your order {{ order }}",
    "html": '<h1>Thank you!</h1><p><a href="https://shop.example/orders/{{ order }}">See your order</a></p>',
    "publish": True,
}
NEWSLETTER: Final = {
    "key": "newsletter",
    "name": "Newsletter",
    "subject": "News {{ order }}",
    "html": '<p>News. <a href="https://news.shop.example/{{ order }}">Read on</a></p>'
    '<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>',
    "publish": True,
}


@dataclass(frozen=True, slots=True)
class Mail:
    """A post. `to` is its name everywhere: in the key, in the database, at the far end; `number` tells
    several to one address apart."""

    to: str
    stream: Stream
    extra: Mapping[str, object] = field(default_factory=dict)
    number: int = 0

    @property
    def key(self) -> str:
        return f"{self.stream}-{self.to}-{self.number}"

    def body(self) -> dict[str, object]:
        variables = {"order": self.to.partition("@")[0]}
        match self.stream:
            case Stream.TRANSACTIONAL:
                sender, template = "Shop <orders@shop.example>", "receipt"
            case Stream.MARKETING:
                sender, template = "News <hello@news.shop.example>", "newsletter"
        return {
            "from": sender,
            "to": self.to,
            "stream": self.stream.value,
            "template": {"key": template, "variables": variables},
            **self.extra,
        }


def mails(tag: str, n: int, *streams: Stream, kind: str = "ok") -> list[Mail]:
    """`n` mails for each stream, to people of the simulator's `kind` who belong to this `tag` only."""
    return [
        Mail(f"{kind}-{tag}-{stream.value[:2]}{number}@gmail.sim.test", stream)
        for number in range(n)
        for stream in streams or tuple(Stream)
    ]


@dataclass(frozen=True, slots=True)
class Promised:
    job_id: UUID
    replayed: bool


class Client:
    def __init__(self, api: Api, ledger: Path) -> None:
        self.api = api
        self.answers: Counter[int] = Counter()  # by HTTP status; 0: none came
        self._ledger = ledger.open("ab", buffering=0)

    def close(self) -> None:
        self._ledger.close()

    @asynccontextmanager
    async def posting(self, crowd: Sequence[Mail]) -> AsyncIterator[None]:
        """Posts while the block runs, and has every promise when it is over."""
        task = asyncio.create_task(self.post_all(crowd))
        try:
            yield
            assert len(await task) == len(crowd)
        finally:
            task.cancel()

    async def post_all(self, crowd: Sequence[Mail]) -> list[Promised]:
        """A promise for each mail, in order."""
        room = asyncio.Semaphore(CONCURRENCY)

        async def one(mail: Mail) -> Promised:
            async with room:
                return await self.post(mail)

        return await asyncio.gather(*(one(mail) for mail in crowd))

    async def post(self, mail: Mail) -> Promised:
        """Asks until there is a 2xx, which is written down before anybody sees it."""
        body = mail.body()
        async with asyncio.timeout(PATIENCE):
            while True:
                status, answer, replayed = await self._ask(mail, body)
                self.answers[status] += 1
                if status == 202:
                    return self._promised(mail, answer, replayed=replayed)
                assert status in (0, 409, 503), f"{status}: {answer.decode()}"
                await asyncio.sleep(_AGAIN)

    async def _ask(self, mail: Mail, body: Mapping[str, object]) -> tuple[int, bytes, bool]:
        try:
            return await self.api.post("/v1/emails", body, {"Idempotency-Key": mail.key})
        except (aiohttp.ClientError, TimeoutError):
            return 0, b"no answer", False

    def _promised(self, mail: Mail, answer: bytes, *, replayed: bool) -> Promised:
        accepted = msgspec.json.decode(answer, type=Accepted)
        now = datetime.now(UTC).isoformat()
        promise = Promise(now, accepted.id, accepted.recipients, mail.key, replayed)
        self._ledger.write(msgspec.json.encode(promise) + b"\n")
        return Promised(UUID(accepted.recipients[0].id), replayed)
