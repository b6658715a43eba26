"""An application's endpoint with faults: a real HTTP server on loopback that verifies every signature with
the `standardwebhooks` package, which is none of ours."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import TypeAlias
from unittest.mock import patch

import msgspec
from aiohttp import web
from api_house import free_port
from standardwebhooks import webhooks

Answer: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Told(msgspec.Struct, frozen=True):
    """A message as the receiver reads it."""

    type: str
    created_at: str
    data: dict[str, object]


@dataclass
class Receiver:
    """`answers` are given first, one each; then `always`. `secrets`: any of them may have signed."""

    port: int
    secrets: list[str] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)
    ids: list[str] = field(default_factory=list)  # webhook-id of every request, in the order of arrival
    told: dict[str, Told] = field(default_factory=dict)
    signatures: list[str] = field(default_factory=list)
    bad: int = 0
    paths: Counter[str] = field(default_factory=Counter)
    always: Answer | None = None
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))  # it refuses old signatures
    release: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    async def take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.paths[request.path] += 1
        headers = {name.lower(): value for name, value in request.headers.items()}
        if not self._verified(body, headers):
            self.bad += 1
            return web.Response(status=401)
        self.ids.append(headers["webhook-id"])
        self.signatures.append(headers["webhook-signature"])
        self.told[headers["webhook-id"]] = msgspec.json.decode(body, type=Told)
        if self.answers:
            return await self.answers.popleft()(request)
        return await (self.always or ok)(request)

    def _verified(self, body: bytes, headers: dict[str, str]) -> bool:
        with patch.object(webhooks, "datetime", _standing_at(self.now())):
            for secret in self.secrets:
                try:
                    webhooks.Webhook(secret).verify(body, headers)
                except webhooks.WebhookVerificationError:
                    continue
                return True
        return False

    async def hang(self, _: web.Request) -> web.StreamResponse:
        """Until the test lets go."""
        await self.release.wait()
        return web.Response()


def _standing_at(moment: datetime) -> type[datetime]:
    """A `datetime` whose now is that of the test: the package asks the system."""

    class Standing(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Standing":
            return cls.fromtimestamp(moment.timestamp(), tz)

    return Standing


async def ok(_: web.Request) -> web.StreamResponse:
    return web.Response(text="thanks")


def status(code: int, text: str = "", **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=code, text=text, headers=named)

    return answer


async def huge(request: web.Request) -> web.StreamResponse:
    """As much as the other side reads."""
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        while True:
            await response.write(b"x" * 65536)
    except (ConnectionError, asyncio.CancelledError):
        return response


async def drip(request: web.Request) -> web.StreamResponse:
    """A head, and then a byte now and then, for ever."""
    response = web.StreamResponse(status=500)
    await response.prepare(request)
    try:
        while True:
            await response.write(b".")
            await asyncio.sleep(0.05)
    except (ConnectionError, asyncio.CancelledError):
        return response


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver(free_port())
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", receiver.port).start()
    try:
        yield receiver
    finally:
        receiver.release.set()
        await runner.cleanup()
