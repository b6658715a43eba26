"""The line under an SMTP dialogue: a socket, TLS, replies as they come, and one end to all of it."""

import asyncio
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from posthouse.clock import Clock
from posthouse.replies.reply import Reply, ReplyReader

#: Small enough that most of a large mail is still ours when the line breaks: it is then known as not taken.
_SEND_BUFFER = 131_072


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for each answer (RFC 5321 section 4.5.3.2)."""

    connect: float = 30.0  # TCP, TLS
    greeting: float = 300.0
    command: float = 300.0  # EHLO, STARTTLS, AUTH, MAIL, RCPT, RSET
    data: float = 120.0  # the 354
    block: float = 180.0  # any progress while the content is written
    final_dot: float = 600.0
    check_every: float = 1.0  # how late a time-out may be noticed


class Broken(Exception):
    """The connection is of no more use."""


class Line(asyncio.Protocol, ABC):
    """One connection. `broken` says why it is of no more use; it never comes back."""

    def __init__(self, *, clock: Clock, timeouts: Timeouts, on_lost: Callable[[], None]) -> None:
        self.broken: str | None = None
        self._clock = clock
        self._timeouts = timeouts
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._transports: tuple[asyncio.Transport, ...] = ()  # that one, and under TLS the one below it
        self._closed = self._loop.create_future()
        self._reader = ReplyReader()
        self._more = False  # the server had already said more when this reply was read
        self._answer: asyncio.Future[Reply] | None = self._loop.create_future()
        self._since = 0.0  # when the server last said something, or was last asked after a silence

    @abstractmethod
    def _on_reply(self, reply: Reply) -> None:
        """A reply that no command of the handshake waits for."""

    @abstractmethod
    def _on_break(self, reason: str) -> None:
        """The line has just ended. Called once."""

    @property
    def quiet(self) -> bool:
        """Whether it holds and the server has said all that it began to say."""
        return self.broken is None and not self._reader.pending

    async def greeting(self) -> Reply:
        """The server's first words. Raises Broken, TimeoutError."""
        assert self._answer is not None
        return await self._answer_within(self._answer, self._timeouts.greeting)

    async def ask(self, command: bytes) -> Reply:
        """One command of the handshake. Raises Broken, TimeoutError."""
        if self.broken is not None:
            raise Broken(self.broken)
        self._answer = self._loop.create_future()
        self._write(command)
        return await self._answer_within(self._answer, self._timeouts.command)

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Goes on under TLS (RFC 3207 section 4). Raises Broken, OSError."""
        raw = self._transport
        if raw is None or self.broken is not None or self._more or self._reader.pending:
            # Words before the handshake would count as said under TLS (CVE-2011-0411).
            raise Broken(self.broken or "the server spoke between STARTTLS and TLS")
        secured = await self._loop.start_tls(
            raw, self, context, server_hostname=host, ssl_handshake_timeout=self._timeouts.connect
        )
        if secured is None:
            raise Broken("the connection was lost during the TLS handshake")
        self._transport, self._transports = secured, (secured, raw)

    def abandon(self, reason: str) -> None:
        """Breaks the connection now, without a goodbye."""
        self._break(reason)

    async def close(self, within: float) -> None:
        """Say goodbye to an idle server; after `within` seconds without its TCP or TLS goodbye, just go."""
        if self.broken is None and self._transport is not None:
            self._transport.write(b"QUIT\r\n")
            self._transport.close()
            self.broken = "closed"
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(self._closed)
        except TimeoutError:
            self._abort()

    # ---- asyncio.Protocol --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio.Transport in all but name.
        self._transport = cast(asyncio.Transport, transport)
        self._transports = (self._transport,)
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._break(f"the connection was lost: {exc}" if exc else "the server closed the connection")
        if not self._closed.done():
            self._closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self.broken is not None:
            return
        replies = self._reader.feed(data)
        fault = self._reader.fault
        if replies:
            self._since = self._clock.monotonic()
            self._deal_with(replies, more_after=fault is not None or self._reader.pending)
        if fault is not None:
            self._break(f"the server does not speak SMTP: {fault}")

    def _deal_with(self, replies: list[Reply], *, more_after: bool) -> None:
        left = len(replies)
        for reply in replies:
            left -= 1
            self._more = left > 0 or more_after
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(reply)
            else:
                self._on_reply(reply)
            if self.broken is not None:
                return

    # ---- for the dialogue --------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        if self._transport is not None and self.broken is None:
            self._transport.write(data)

    def _buffered(self) -> int:
        """Bytes that the kernel does not have yet."""
        size = 0
        for transport in self._transports:
            size += transport.get_write_buffer_size()
        return size

    def _is_failing(self) -> bool:
        """Whether a transport has given up and dropped its buffer, and `connection_lost` is on its way."""
        for transport in self._transports:  # noqa: SIM110 - on the way of every mail; `any` costs twice as much
            if transport.is_closing():
                return True
        return False

    def _break(self, reason: str) -> None:
        if self.broken is not None:
            return
        self.broken = reason
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Broken(reason))
            self._answer.exception()  # seen: nobody may be waiting
        self._on_break(reason)
        self._abort()
        self._on_lost()

    def _abort(self) -> None:
        for transport in self._transports:
            transport.abort()

    @staticmethod
    async def _answer_within(answer: asyncio.Future[Reply], seconds: float) -> Reply:
        async with asyncio.timeout(seconds):
            return await answer
