"""A small SMTP server whose faults can be scripted. It shares no code with the client it tests."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Taken:
    """A mail the server saw to its end, its dots unstuffed."""

    sender: str
    recipient: str
    data: bytes


@dataclass(slots=True)
class Script:
    """What the server does; `on_*` are keyed by recipient and hold whole replies without their line end."""

    extensions: tuple[str, ...] = ("PIPELINING", "SIZE 6000000", "8BITMIME", "ENHANCEDSTATUSCODES")
    greeting: str = "220 scripted.example ESMTP"
    ehlo: str | None = None  # a whole reply instead of the extensions
    auth: str = "235 2.7.0 ok"
    rset: str = "250 2.0.0 flushed"
    on_mail: dict[str, str] = field(default_factory=dict)  # keyed by sender
    on_rcpt: dict[str, str] = field(default_factory=dict)
    on_data: dict[str, str] = field(default_factory=dict)
    on_dot: dict[str, str] = field(default_factory=dict)
    raw_answer: dict[str, bytes] = field(
        default_factory=dict
    )  # instead of the answer to the dot; then closes
    answer_in_data: dict[str, str] = field(default_factory=dict)  # said within the content, then closes
    hold_dot: dict[str, asyncio.Event] = field(default_factory=dict)  # answers the dot when it is set
    hold_greeting: asyncio.Event | None = None
    starttls: str = "502 5.5.1 not here"
    hang_at_dot: set[str] = field(default_factory=set)
    hang_at_rcpt: set[str] = field(default_factory=set)
    cut_at_dot: set[str] = field(default_factory=set)
    cut_in_data: set[str] = field(default_factory=set)
    cut_at_rcpt: set[str] = field(default_factory=set)
    data_despite_refusals: bool = False  # answers DATA with 354 though no recipient was taken
    mails_per_connection: int = 1_000_000  # then 421
    most_connections: int = 1_000_000  # at a time; more are greeted with 421
    silent: bool = False  # takes the connection and says nothing


class _Gone(Exception):
    """The script says to close the line."""


class ScriptedSmtp:
    """Listens on a loopback port while its context is open."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.taken: list[Taken] = []
        self.commands: list[str] = []
        self.connections = 0
        self.begun = 0
        self._changed = asyncio.Condition()
        self._handlers: set[asyncio.Task[None]] = set()
        # A small window, so that a client notices that nobody reads.
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the accepted ones inherit it
        self.port: int = self._socket.getsockname()[1]

    async def __aenter__(self) -> "ScriptedSmtp":
        self._server = await asyncio.start_server(self._serve, sock=self._socket)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers)

    @property
    def open_connections(self) -> int:
        return len(self._handlers)

    def drop_connections(self) -> None:
        for handler in self._handlers:
            handler.cancel()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        self.connections += 1
        try:
            await _Dialogue(self, reader, writer).hold()
        except (_Gone, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def note(self, command: str) -> None:
        async with self._changed:
            self.commands.append(command)
            self.begun += command.upper().startswith("MAIL")
            self._changed.notify_all()

    async def take(self, mail: Taken) -> None:
        async with self._changed:
            self.taken.append(mail)
            self._changed.notify_all()


class _Dialogue:
    def __init__(
        self, server: ScriptedSmtp, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._script = server.script
        self._reader = reader
        self._writer = writer
        self._sender = ""
        self._asked: str | None = None  # the last recipient, refused or not
        self._recipient: str | None = None
        self._mails = 0

    async def hold(self) -> None:
        if self._script.silent:
            await asyncio.Event().wait()
        if self._script.hold_greeting is not None:
            await self._script.hold_greeting.wait()
        crowded = self._server.open_connections > self._script.most_connections
        await self._say("421 4.7.0 too many connections" if crowded else self._script.greeting)
        while line := await self._reader.readline():
            command = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
            await self._server.note(command)
            await self._obey(command)

    async def _obey(self, command: str) -> None:
        verb = command.split(" ", 1)[0].upper()
        match verb:
            case "EHLO":
                await self._say(self._script.ehlo or self._features())
            case "HELO":
                await self._say("250 scripted.example")
            case "STARTTLS":
                await self._say(self._script.starttls)
            case "AUTH":
                await self._auth(command)
            case "MAIL":
                await self._mail(command)
            case "RCPT":
                await self._rcpt(command)
            case "DATA":
                await self._data()
            case "RSET":
                self._recipient = self._asked = None
                await self._say(self._script.rset)
            case "QUIT":
                await self._say("221 2.0.0 bye")
                raise _Gone
            case _:
                await self._say("500 5.5.2 what?")

    def _features(self) -> str:
        lines = ["scripted.example", *self._script.extensions]
        return "\r\n".join([f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"])

    async def _auth(self, command: str) -> None:
        if command.upper() == "AUTH LOGIN":
            for prompt in ("334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"):
                await self._say(prompt)
                await self._server.note((await self._reader.readline()).decode().strip())
        await self._say(self._script.auth)

    async def _mail(self, command: str) -> None:
        self._asked = self._recipient = None
        self._sender = command.partition("<")[2].rpartition(">")[0]
        if self._mails >= self._script.mails_per_connection:
            await self._say("421 4.7.0 enough for one connection")
            raise _Gone
        self._mails += 1
        await self._say(self._script.on_mail.get(self._sender, "250 2.1.0 ok"))

    async def _rcpt(self, command: str) -> None:
        name = command.partition("<")[2].rpartition(">")[0]
        self._asked = name
        if name in self._script.cut_at_rcpt:
            raise _Gone
        if name in self._script.hang_at_rcpt:
            await asyncio.Event().wait()
        reply = self._script.on_rcpt.get(name, "250 2.1.5 ok")
        if self._sender in self._script.on_mail:
            reply = "503 5.5.1 no sender"
        if reply.startswith("2"):
            self._recipient = name
        await self._say(reply)

    async def _data(self) -> None:
        if self._recipient is None and not self._script.data_despite_refusals:
            await self._say("503 5.5.1 no valid recipients")
            return
        name = self._recipient or self._asked or ""
        reply = self._script.on_data.get(name, "354 go ahead")
        await self._say(reply)
        if reply.startswith("354"):
            await self._content(name)

    async def _content(self, name: str) -> None:
        if name in self._script.cut_in_data:
            await self._reader.read(1_000)
            raise _Gone
        if name in self._script.answer_in_data:
            await self._reader.read(1_000)
            await self._say(self._script.answer_in_data[name])
            await asyncio.Event().wait()
        lines = []
        while (line := await self._reader.readline()) != b".\r\n":
            if not line:
                raise _Gone
            lines.append(line[1:] if line.startswith(b".") else line)
        if self._recipient is None:
            await self._say("554 5.5.1 no valid recipients")
            return
        await self._server.take(Taken(self._sender, name, b"".join(lines)))
        await self._answer(name)

    async def _answer(self, name: str) -> None:
        if name in self._script.hang_at_dot:
            await asyncio.Event().wait()
        if name in self._script.hold_dot:
            await self._script.hold_dot[name].wait()
        if name in self._script.cut_at_dot:
            raise _Gone
        if name in self._script.raw_answer:
            self._writer.write(self._script.raw_answer[name])
            self._writer.close()
            await self._writer.wait_closed()
            raise _Gone
        await self._say(self._script.on_dot.get(name, f"250 2.0.0 Ok: queued as Q{len(self._server.taken)}"))
        self._recipient = self._asked = None

    async def _say(self, reply: str) -> None:
        self._writer.write(reply.encode() + b"\r\n")
        await self._writer.drain()
        if reply.startswith("421"):
            self._writer.close()
            await self._writer.wait_closed()
            raise _Gone
