"""A fake mail/send: plain HTTP/1.1 on a loopback port, with every fault the laws of the relay port know."""

import asyncio
import json
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
        self.json = json.loads(body)

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in self.lines[1:])}


class FakeSendGrid:
    """Written on sockets, so that it can be rude."""

    def __init__(self) -> None:
        self.faults: dict[str, Fault] = {}
        self.raw_answers: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.begun = 0
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._progress = asyncio.Condition()
        self._busy: set[asyncio.Task[None]] = set()

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
            await self._progress.wait_for(lambda: len(self.requests) >= mails)

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
        self.begun += 1
        head = first + await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        start = await reader.readexactly(min(length, 4096))
        if any(fault is Fault.CUT_MID_BODY and name.encode() in start for name, fault in self.faults.items()):
            raise CutMidBody
        request = Request(head.strip(), start + await reader.readexactly(length - len(start)))
        recipient = request.json["personalizations"][0]["to"][0]["email"]
        if (fault := self.faults.get(recipient)) is not Fault.BAD_CREDENTIALS:
            self.requests.append(request)
            async with self._progress:
                self._progress.notify_all()
        if recipient in self.raw_answers:
            writer.write(self.raw_answers[recipient])
            await writer.drain()
            return False
        if fault is Fault.CUT_AFTER_BODY:
            return False
        if fault is Fault.HANG_AFTER_BODY:
            await reader.read()
            return False
        writer.write(answer_to(fault, len(self.requests)))
        await writer.drain()
        return True


def answer_to(fault: Fault | None, number: int) -> bytes:
    match fault:
        case None:
            return http("202 Accepted", headers=f"X-Message-Id: id-{number}")
        case Fault.REJECT_RECIPIENT:
            return http(
                "400 Bad Request", error("Does not contain a valid address.", "personalizations.0.to")
            )
        case Fault.REJECT_MESSAGE:
            return http("413 Payload Too Large", error("The request is too large", None))
        case Fault.TROUBLE:
            return http("503 Service Unavailable", b"upstream is away")
        case Fault.THROTTLE:
            reset = int(NOW.timestamp() + THROTTLE_HINT)
            return http(
                "429 Too Many Requests", error("too many requests", None), f"X-RateLimit-Reset: {reset}"
            )
        case Fault.BAD_CREDENTIALS:
            return http("401 Unauthorized", error("The provided authorization grant is invalid", None))
        case _:
            raise AssertionError(fault)


def http(status: str, body: bytes = b"", headers: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *([headers] if headers else []), "", ""]
    return "\r\n".join(lines).encode() + body


def error(message: str, field: str | None) -> bytes:
    return json.dumps({"errors": [{"message": message, "field": field, "help": None}]}).encode()
