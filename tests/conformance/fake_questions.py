"""A relay's side of an inquiry: plain HTTP/1.1 on a loopback port, with every trouble that the laws know."""

import asyncio
from abc import ABC, abstractmethod

from fake_http_relay import Request, http
from inquiry_laws import Trouble


class FakeQuestions(ABC):
    """Written on sockets, so that it can be rude. A provider's fake says what is answered."""

    def __init__(self) -> None:
        self.trouble: Trouble | None = None
        self.raw_answer: bytes | None = None
        self.requests: list[Request] = []
        self._server: asyncio.Server | None = None
        self._busy: set[asyncio.Task[None]] = set()

    @abstractmethod
    def answer(self, request: Request) -> bytes:
        """The body of a 200, as JSON."""

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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._busy.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read a question and answer it. False: the connection ends here."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        request = Request(head.strip(), await reader.readexactly(length))
        self.requests.append(request)
        if self.raw_answer is not None:
            writer.write(self.raw_answer)
            await writer.drain()
            return False
        if self.trouble is Trouble.CUT:
            return False
        if self.trouble is Trouble.HANG:
            await reader.read()
            return False
        writer.write(self._said(request))
        await writer.drain()
        return True

    def _said(self, request: Request) -> bytes:
        match self.trouble:
            case Trouble.ERROR:
                return http("503 Service Unavailable", b"upstream is away")
            case Trouble.FORBIDDEN:
                return http("401 Unauthorized", b"Forbidden")
            case Trouble.THROTTLE:
                return http("429 Too Many Requests", b"", "Retry-After: 30")
            case _:
                return http("200 OK", self.answer(request), "Content-Type: application/json")
