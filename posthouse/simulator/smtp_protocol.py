"""The server's side of one SMTP connection (RFC 5321, 2920, 3207, 4954, 6531).

Lines and bodies end at CRLF and CRLF.CRLF only: a bare CR or LF never ends anything, and a body that holds
one is refused, so that no mail can smuggle another.
"""

import asyncio
from enum import Enum, auto
from typing import Protocol, cast

from posthouse.simulator.faults import Fault
from posthouse.simulator.settings import FaultKind
from posthouse.simulator.smtp_auth import AuthDialogue
from posthouse.simulator.smtp_syntax import (
    BadCommand,
    MailCommand,
    parse_mail,
    parse_rcpt,
    unstuffed,
)

_LINE_BYTES = 4096  # RFC 4954 wants 12,288 for AUTH; no mechanism here needs a thousand
_RECIPIENTS = 1000
_PAUSE_BYTES = 1024 * 1024
_END = b"\r\n.\r\n"
_EMPTY = b".\r\n"  # the end of a body of no lines


class Phase(Enum):
    COMMAND = auto()
    BODY = auto()
    OVERSIZE = auto()  # a body too large, read to its end and thrown away


class Desk(Protocol):
    """What a connection asks the house behind it."""

    account: str
    max_message_bytes: int
    offers_starttls: bool
    password: str | None

    def joined(self, connection: "SmtpConnection") -> None: ...

    def left(self, connection: "SmtpConnection") -> None: ...

    def fault(self) -> Fault | None: ...

    def ask(self, address: str) -> str | None:
        """The refusal of a recipient; None: welcome."""
        ...

    def take(self, sender: str, recipients: list[str], body: bytes, connection: "SmtpConnection") -> None:
        """Takes a mail; calls `connection.taken` when it may be answered."""
        ...

    def start_tls(self, connection: "SmtpConnection") -> None: ...


class SmtpConnection(asyncio.Protocol):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._searched = 0  # how much of the buffer is known to hold no end of a body
        self._phase = Phase.COMMAND
        self._held = False  # an answer is on its way; nothing is read before it
        self._stalled = False  # the client does not read its answers, so it gets no more of them
        self._advancing = False
        self._replies: list[bytes] = []
        self._auth: AuthDialogue | None = None  # under way
        self._greeted = False
        self._encrypted = False
        self._authenticated = desk.password is None
        self._sender: str | None = None
        self._smtputf8 = False
        self._recipients: list[str] = []
        self._fault: Fault | None = None

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio.Transport in everything but their bases.
        self._transport = cast(asyncio.Transport, transport)
        self._desk.joined(self)
        self._reply("220 simulator.test ESMTP")
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._buffer.clear()
        self._desk.left(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._waits and len(self._buffer) > _PAUSE_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self._advance()

    def pause_writing(self) -> None:
        self._stalled = True

    def resume_writing(self) -> None:
        self._stalled = False
        self._advance()

    # --- what the desk calls ---

    def taken(self, reply: str) -> None:
        """The mail is durable: answer, or fail as the fault wants."""
        fault = self._fault
        self._reset()
        if fault is not None and fault.spec.kind is FaultKind.CUT_AFTER_BODY:
            self.abort()
            return
        if fault is not None and fault.spec.kind is FaultKind.SLOW:
            asyncio.get_running_loop().call_later(fault.spec.delay_ms / 1000, self._answer, reply)
        else:
            self._answer(reply)

    def secured(self, transport: asyncio.Transport) -> None:
        """TLS stands; the client's first words under it may be here already."""
        self._transport = transport
        self._held = False
        self._advance()

    def abort(self) -> None:
        """Cuts the line, without a word."""
        if self._transport is not None:
            self._transport.abort()

    def shut(self) -> None:
        """Says goodbye where nothing is under way; else the connection may end its mail."""
        if self._sender is None and not self._held:
            self._close("421 4.3.2 Service not available, closing transmission channel")
            self._flush()

    @property
    def transport(self) -> asyncio.Transport | None:
        return self._transport

    # --- the dialogue ---

    @property
    def _waits(self) -> bool:
        return self._held or self._stalled

    def _answer(self, reply: str) -> None:
        self._reply(reply)
        self._held = False
        self._advance()

    def _advance(self) -> None:
        """As far as the buffer goes. Not twice at once: an answer that needs no waiting comes from within."""
        if self._advancing:
            return
        self._advancing = True
        while not self._waits and self._step():
            pass
        self._advancing = False
        self._flush()
        if not self._waits and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _step(self) -> bool:
        if self._transport is None or self._transport.is_closing():
            return False
        return self._take_line() if self._phase is Phase.COMMAND else self._take_body()

    def _take_line(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0 or end > _LINE_BYTES:
            if len(self._buffer) > _LINE_BYTES:
                self._close("500 5.5.6 Line too long")
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if b"\n" in line or b"\r" in line or b"\0" in line:
            self._reply("500 5.5.2 Bare CR, LF or NUL in a command")
        elif self._auth is not None:
            self._after_auth(self._auth.answer(line))
        else:
            self._command(line)
        return True

    def _command(self, line: bytes) -> None:
        verb, _, argument = line.partition(b" ")
        match verb.upper():
            case b"MAIL":
                self._mail(argument)
            case b"RCPT":
                self._rcpt(argument)
            case b"DATA":
                self._data()
            case b"EHLO":
                self._ehlo()
            case b"HELO":
                self._greeted = True
                self._reset()
                self._reply("250 simulator.test")
            case b"RSET":
                self._reset()
                self._reply("250 2.0.0 Ok")
            case b"NOOP":
                self._reply("250 2.0.0 Ok")
            case b"QUIT":
                self._close("221 2.0.0 Bye")
            case b"AUTH":
                self._begin_auth(argument)
            case b"STARTTLS":
                self._starttls()
            case b"VRFY":
                self._reply("252 2.5.2 Send some mail, I will try my best")
            case _:
                self._reply("500 5.5.2 Command not recognized")

    def _ehlo(self) -> None:
        self._greeted = True
        self._reset()
        words = ["PIPELINING", f"SIZE {self._desk.max_message_bytes}", "8BITMIME", "SMTPUTF8"]
        if self._desk.offers_starttls and not self._encrypted:
            words.append("STARTTLS")
        if self._desk.password is not None:
            words.append("AUTH PLAIN LOGIN")
        self._reply("250-simulator.test")
        for word in words:
            self._reply(f"250-{word}")
        self._reply("250 ENHANCEDSTATUSCODES")

    def _mail(self, argument: bytes) -> None:
        if not self._greeted or self._sender is not None:
            self._reply("503 5.5.1 Bad sequence of commands")
        elif not self._authenticated:
            self._reply("530 5.7.0 Authentication required")
        else:
            self._begin(parse_mail(argument, self._desk.max_message_bytes))

    def _begin(self, command: MailCommand | BadCommand) -> None:
        if isinstance(command, BadCommand):
            self._reply(command.reply)
            return
        fault = self._desk.fault()
        if fault is not None and fault.spec.kind is FaultKind.THROTTLE:
            self._reply("451 4.7.0 Throttling failure: maximum sending rate exceeded")
        elif fault is not None and fault.spec.kind is FaultKind.UNAUTHORIZED:
            self._reply("530 5.7.0 Authentication required")
        else:
            self._fault, self._sender, self._smtputf8 = fault, command.sender, command.smtputf8
            self._reply("250 2.1.0 Ok")

    def _rcpt(self, argument: bytes) -> None:
        if self._sender is None:
            self._reply("503 5.5.1 Error: need MAIL command")
        elif len(self._recipients) >= _RECIPIENTS:
            self._reply("452 4.5.3 Too many recipients")
        else:
            address = parse_rcpt(argument, smtputf8=self._smtputf8)
            if isinstance(address, BadCommand):
                self._reply(address.reply)
            else:
                self._recipient(address)

    def _recipient(self, address: str) -> None:
        refusal = self._desk.ask(address)
        if refusal is None:
            self._recipients.append(address)
            self._reply("250 2.1.5 Ok")
        elif refusal.startswith("421"):
            self._close(refusal)
        else:
            self._reply(refusal)

    def _data(self) -> None:
        if self._sender is None:
            self._reply("503 5.5.1 Error: need MAIL command")
        elif not self._recipients:
            self._reply("554 5.5.1 Error: no valid recipients")
        else:
            self._phase = Phase.BODY
            self._searched = 0
            self._reply("354 End data with <CR><LF>.<CR><LF>")

    def _take_body(self) -> bool:
        buffer = self._buffer
        if buffer and self._fault is not None and self._fault.spec.kind is FaultKind.CUT_MID_BODY:
            self.abort()
            return False
        if self._phase is Phase.BODY and self._searched == 0 and buffer.startswith(_EMPTY):
            del buffer[: len(_EMPTY)]
            self._end_of_body(b"")
            return True
        end = buffer.find(_END, max(0, self._searched - len(_END) + 1))
        if end < 0:
            self._body_goes_on()
            return False
        body = bytes(buffer[: end + 2])
        del buffer[: end + len(_END)]
        self._end_of_body(body)
        return True

    def _body_goes_on(self) -> None:
        buffer = self._buffer
        if len(buffer) > self._desk.max_message_bytes + _LINE_BYTES:
            self._phase = Phase.OVERSIZE
        if self._phase is Phase.OVERSIZE:
            del buffer[: -len(_END)]
        self._searched = len(buffer) if len(buffer) >= len(_EMPTY) else 0

    def _end_of_body(self, stuffed: bytes) -> None:
        oversize = self._phase is Phase.OVERSIZE or len(stuffed) > self._desk.max_message_bytes
        self._phase = Phase.COMMAND
        self._searched = 0
        if oversize:
            self._refuse_body("552 5.3.4 Message size exceeds fixed limit")
            return
        lines = stuffed.count(b"\r\n")
        if stuffed.count(b"\n") != lines or stuffed.count(b"\r") != lines:
            self._refuse_body("550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal; bare CR or LF in the message")
            return
        if self._fault is not None and self._fault.spec.kind is FaultKind.SERVER_ERROR:
            self._refuse_body("451 4.3.0 Requested action aborted: local error in processing")
            return
        self._held = True
        if self._fault is not None and self._fault.spec.kind is FaultKind.HANG:
            self._fault.over.add_done_callback(lambda _: self.abort())
            return
        assert self._sender is not None
        self._desk.take(self._sender, self._recipients, unstuffed(stuffed), self)

    def _refuse_body(self, reply: str) -> None:
        self._reset()
        self._reply(reply)

    # --- AUTH and STARTTLS ---

    def _starttls(self) -> None:
        if not self._desk.offers_starttls or self._encrypted:
            self._reply("502 5.5.1 STARTTLS is not available")
            return
        self._reply("220 2.0.0 Ready to start TLS")
        self._flush()
        self._forget_plain_text()
        self._desk.start_tls(self)

    def _forget_plain_text(self) -> None:
        """All that was said before TLS, and what was pipelined behind STARTTLS (RFC 3207 section 4.2)."""
        if self._transport is not None:
            self._transport.pause_reading()  # until the handshake reads
        self._held = True
        self._encrypted = True
        self._greeted = False
        self._buffer.clear()
        self._reset()

    def _begin_auth(self, argument: bytes) -> None:
        if self._desk.password is None or self._authenticated or self._sender is not None:
            self._reply("503 5.5.1 AUTH is not possible now")
            return
        self._auth = AuthDialogue(self._desk.account, self._desk.password)
        self._after_auth(self._auth.begin(argument))

    def _after_auth(self, reply: str) -> None:
        self._reply(reply)
        if self._auth is not None and self._auth.over:
            self._authenticated = self._auth.succeeded
            self._auth = None

    # --- small things ---

    def _reset(self) -> None:
        self._sender = None
        self._smtputf8 = False
        self._recipients = []
        self._fault = None

    def _reply(self, text: str) -> None:
        self._replies.append(text.encode() + b"\r\n")

    def _close(self, reply: str) -> None:
        self._reply(reply)
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._replies and self._transport is not None:
            self._transport.write(b"".join(self._replies))
        self._replies.clear()
