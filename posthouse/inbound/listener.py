"""The SMTP listener for bounce mails and complaints. It says yes after the commit only.

The protocol is aiosmtpd's: a body ends at CRLF.CRLF and nowhere else, so that nobody smuggles a second mail.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from posthouse.clock import Clock
from posthouse.domain.errors import NotNow
from posthouse.failpoints import failpoint
from posthouse.inbound.desk import Addressee, Desk
from posthouse.inbound.letters import letter
from posthouse.relays.base import RawCallback
from posthouse.telemetry import Metrics, log

#: Seconds from one command to the next, and for a whole body: a slow client holds a place of others.
PATIENCE: Final = 120.0
#: A bounce has one recipient; a server may join a few reports.
MAX_RECIPIENTS: Final = 50
#: After a stop: seconds for bodies that are under way. Who gets no answer sends again.
DRAIN: Final = 3.0

#: Makes letters durable. Raises NotNow.
Keep = Callable[[Sequence[RawCallback]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Bounds:
    host: str
    port: int
    helo_name: str
    max_message_bytes: int
    max_connections: int
    tls: ssl.SSLContext | None = None


class Doorman:
    """What aiosmtpd asks about recipients and bodies. The method names are its own."""

    def __init__(self, desk: Desk, keep: Keep, clock: Clock, metrics: Metrics) -> None:
        self._desk = desk
        self._keep = keep
        self._clock = clock
        self._metrics = metrics

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if len(envelope.rcpt_tos) >= MAX_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        if self._desk.addressee(address) is Addressee.NOBODY:
            self._count("refused")
            return "550 5.1.1 No such mailbox here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """The answer is yes once the mail is durable, as with a relay's webhook."""
        mail = envelope.original_content or b""
        now = self._clock.now()
        try:
            await self._keep([letter(mail, address, now) for address in envelope.rcpt_tos])
        except NotNow as error:
            log.warning("a bounce mail could not be stored", reason=error.message)
            self._count("unavailable")
            return "451 4.3.0 It cannot be stored now, try again later"
        failpoint("inbound.stored")
        self._count("stored")
        return "250 2.0.0 Stored"

    async def handle_exception(self, error: Exception) -> str:
        """A bug of ours, or a client that broke off: never a 5xx, which would lose the report."""
        log.error("the inbound listener failed", reason=repr(error))
        return "451 4.3.0 Local error, try again later"

    def _count(self, result: str) -> None:
        self._metrics.inbound_mails.labels(result).inc()


class _Conversation(SMTP):
    #: Reports quote mails whose lines no standard allows; they are only read, not passed on.
    line_length_limit = 65_536

    def __init__(self, doorman: Doorman, bounds: Bounds, open_now: "_OpenNow") -> None:
        super().__init__(
            doorman,
            data_size_limit=bounds.max_message_bytes,
            enable_SMTPUTF8=True,
            hostname=bounds.helo_name,
            ident="ESMTP",
            tls_context=bounds.tls,
            timeout=PATIENCE,
            loop=asyncio.get_running_loop(),
        )
        self._open_now = open_now

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._open_now.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._open_now.remove(self)
        super().connection_lost(error)

    def break_off(self) -> None:
        if self.transport is not None:
            self.transport.close()


class _OpenNow:
    """The conversations that are under way."""

    def __init__(self) -> None:
        self._all: set[_Conversation] = set()
        self._none = asyncio.Event()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, conversation: _Conversation) -> None:
        self._all.add(conversation)
        self._none.clear()

    def remove(self, conversation: _Conversation) -> None:
        self._all.discard(conversation)
        if not self._all:
            self._none.set()

    async def end_within(self, seconds: float) -> None:
        """Wait for all to end; break off those that do not."""
        if self._all:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._none.wait(), seconds)
        for conversation in tuple(self._all):
            conversation.break_off()


class _Full(asyncio.Protocol):
    """RFC 5321 section 4.2.1: 421, and the client comes again later."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio.Transport in everything but their bases.
        client = cast(asyncio.Transport, transport)
        client.write(b"421 4.3.2 Too many connections, try again later\r\n")
        client.close()


class Listener:
    """Listens while the context is open."""

    def __init__(self, doorman: Doorman, bounds: Bounds) -> None:
        self._doorman = doorman
        self._bounds = bounds
        self._open_now = _OpenNow()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._answer, self._bounds.host, self._bounds.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._open_now.end_within(DRAIN)

    def _answer(self) -> asyncio.BaseProtocol:
        if len(self._open_now) >= self._bounds.max_connections:
            return _Full()
        return _Conversation(self._doorman, self._bounds, self._open_now)
