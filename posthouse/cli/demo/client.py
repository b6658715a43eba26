"""The demo as an application: it posts mail over HTTP and keeps a line of every promise it was given."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from posthouse.cli.demo.plan import DemoMail
from posthouse.domain.errors import PosthouseError

CONCURRENCY: Final = 32
TRIES: Final = 10


class Recipient(msgspec.Struct, frozen=True):
    id: str
    email: str


class Accepted(msgspec.Struct, frozen=True):
    """The body of a 202."""

    id: str
    status: str
    recipients: list[Recipient]


class Promise(msgspec.Struct, frozen=True):
    """A line of the client's ledger: what `posthouse audit --ledger` reads."""

    at: str
    id: str
    recipients: list[Recipient]
    key: str | None
    replayed: bool


class Ledger:
    """Append-only; one line a 2xx."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")

    def write(self, promise: Promise) -> None:
        self._file.write(msgspec.json.encode(promise) + b"\n")

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class Api:
    """A key at a running API."""

    url: str
    key: str
    session: aiohttp.ClientSession

    async def post(
        self, path: str, body: object, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, bool]:
        """Status, body, and whether the answer was a replay."""
        async with self.session.post(
            f"{self.url}{path}",
            data=msgspec.json.encode(body),
            headers={
                "Authorization": f"Bearer {self.key}",
                "Content-Type": "application/json",
                **(headers or {}),
            },
        ) as response:
            replayed = response.headers.get("Idempotent-Replayed") == "true"
            return response.status, await response.read(), replayed

    async def get(self, path: str) -> bytes:
        headers = {"Authorization": f"Bearer {self.key}"}
        async with self.session.get(f"{self.url}{path}", headers=headers) as response:
            return await response.read()

    async def must_post(self, path: str, body: object) -> None:
        status, answer, _ = await self.post(path, body)
        if status >= 300:
            raise PosthouseError(f"POST {path} was answered {status}: {answer.decode(errors='replace')}")


async def send_all(
    api: Api, crowd: Sequence[DemoMail], ledger: Ledger, sent: Callable[[], None]
) -> dict[str, str]:
    """Post every mail; job id by address. An answer that did not come is asked for again by the same key."""
    ids: dict[str, str] = {}
    waiting = iter(enumerate(crowd))

    async def work() -> None:
        for number, mail in waiting:
            accepted, key, replayed = await _send(api, number, mail)
            ids[mail.to] = accepted.recipients[0].id
            ledger.write(
                Promise(datetime.now(UTC).isoformat(), accepted.id, accepted.recipients, key, replayed)
            )
            sent()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENCY):
            group.create_task(work())
    return ids


async def _send(api: Api, number: int, mail: DemoMail) -> tuple[Accepted, str, bool]:
    key, body = f"demo-{number}", mail.body
    if mail.expires_in is not None:
        body = {**body, "expires_at": (datetime.now(UTC) + mail.expires_in).isoformat()}
    for attempt in range(TRIES):
        try:
            status, answer, replayed = await api.post("/v1/emails", body, {"Idempotency-Key": key})
        except aiohttp.ClientError:
            status, answer, replayed = 0, b"no answer", False
        if status == 202:
            return msgspec.json.decode(answer, type=Accepted), key, replayed
        if 400 <= status < 500:
            break
        await asyncio.sleep(0.1 * 2**attempt)
    raise PosthouseError(f"A mail to {mail.to} was answered {status}: {answer.decode(errors='replace')}")
