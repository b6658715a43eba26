"""A fake of a relay that is reached over HTTP: plain HTTP/1.1 on a loopback port, with every fault the laws
of the relay port know. A provider's fake says whom a request is for, and what is answered."""

import asyncio
import json
from abc import ABC, abstractmethod
from datetime import UTC, datetime

from relay_laws import Fault

NOW = datetime(2026, 3, 1, tzinfo=UTC)
THROTTLE_HINT = 30.0


class CutMidBody(Exception):
    """The server hangs up with the request half read."""


class Request:
    """One request as the server read it."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.lines = head.decode("latin-1").split("\r\n")
        self.path = self.lines[0].split(" ")[1]
        self.body = body
        self.json = json.loads(body if body[:1] in (b"{", b"[") else b"null")

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in self.lines[1:])}


class FakeHttpRelay(ABC):
    """A provider's side of one call. Written on sockets, so that it can be rude."""

    def __init__(self) -> None:
        self.faults: dict[str, Fault] = {}
        self.raw_answers: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.asides: list[Request] = []  # that hand over no mail
        self.asides_hang = False
        self.raw_aside: bytes | None = None  # to every one of them, before the line is closed
        self.begun = 0  # mails
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._progress = asyncio.Condition()
        self._busy: set[asyncio.Task[None]] = set()

    @abstractmethod
    def recipients(self, request: Request) -> list[str]:
        """Whom the mails of a request are for, in their order."""

    @abstractmethod
    def answer(self, request: Request, faults: list[Fault | None], taken: int) -> bytes:
        """What is said to a request, one fault or none for each of its mails. `taken`: mails so far."""

    def aside(self, request: Request) -> bytes | None:
        """The answer to a request that hands over no mail; None: it does."""
        return None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 16)

    @property
    def address(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._busy):
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    async def taken(self, mails: int) -> None:
        async with self._progress:
            await self._progress.wait_for(lambda: self._mails() >= mails)

    async def asked(self, times: int) -> None:
        """Return when so many requests that hand over no mail were answered."""
        async with self._progress:
            await self._progress.wait_for(lambda: len(self.asides) >= times)

    def _mails(self) -> int:
        return sum(len(self.recipients(request)) for request in self.requests)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (CutMidBody, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._busy.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read a request and answer it. False: the connection ends here."""
        first = await reader.read(1)
        if not first:
            return False
        head = first + await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        start = await reader.readexactly(min(length, 4096))
        if any(fault is Fault.CUT_MID_BODY and name.encode() in start for name, fault in self.faults.items()):
            self.begun += 1
            raise CutMidBody
        request = Request(head.strip(), start + await reader.readexactly(length - len(start)))
        aside = self.aside(request)
        if aside is not None:
            if self.asides_hang:
                await self._note(self.asides, request)
                await reader.read()
                return False
            writer.write(aside if self.raw_aside is None else self.raw_aside)
            await writer.drain()
            await self._note(self.asides, request)
            return self.raw_aside is None
        return await self._hand_over(request, reader, writer)

    async def _hand_over(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        recipients = self.recipients(request)
        self.begun += len(recipients)
        faults = [self.faults.get(recipient) for recipient in recipients]
        if Fault.BAD_CREDENTIALS not in faults:
            await self._note(self.requests, request)
        raw = [self.raw_answers[recipient] for recipient in recipients if recipient in self.raw_answers]
        if raw:
            writer.write(raw[0])
            await writer.drain()
            return False
        if Fault.CUT_AFTER_BODY in faults:
            return False
        if Fault.HANG_AFTER_BODY in faults:
            await reader.read()
            return False
        writer.write(self.answer(request, faults, self._mails()))
        await writer.drain()
        return True

    async def _note(self, where: list[Request], request: Request) -> None:
        where.append(request)
        async with self._progress:
            self._progress.notify_all()


def http(status: str, body: bytes = b"", headers: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *([headers] if headers else []), "", ""]
    return "\r\n".join(lines).encode() + body
