"""A plain SMTP relay that answers RCPT as the recipients' own servers would."""

import asyncio
import ssl
from collections.abc import Sequence
from functools import partial

from posthouse.simulator.events import MailRef
from posthouse.simulator.faults import Fault, FaultBoard
from posthouse.simulator.ledger import Outcome, Via
from posthouse.simulator.letter import read_mail, scan_headers
from posthouse.simulator.postoffice import PostOffice, Taken
from posthouse.simulator.providers import Mailbox, Verdict
from posthouse.simulator.returned import head_of
from posthouse.simulator.returns import Returns, Sent
from posthouse.simulator.settings import SmtpAccount, SmtpSecurity
from posthouse.simulator.smtp_protocol import SmtpConnection

_BACKLOG = 1024


class SmtpRelay:
    """One account: its listener, and the desk behind its connections."""

    def __init__(
        self,
        account: SmtpAccount,
        *,
        office: PostOffice,
        faults: FaultBoard,
        host: str,
        max_message_bytes: int,
        tls: ssl.SSLContext | None,
        returns: Returns | None = None,
    ) -> None:
        self.account = account.name
        self.password = account.password
        self.max_message_bytes = max_message_bytes
        self.offers_starttls = account.security is SmtpSecurity.STARTTLS
        self.port = account.port
        self._office = office
        self._faults = faults
        self._host = host
        self._tls = tls
        self._returns = returns
        self._implicit_tls = tls if account.security is SmtpSecurity.TLS else None
        self._server: asyncio.Server | None = None
        self._connections: set[SmtpConnection] = set()
        self._handshakes: set[asyncio.Task[None]] = set()

    # --- the listener ---

    async def open(self) -> None:
        """Listens; on a port that was free at the first time, on the same one later. Raises OSError."""
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            partial(SmtpConnection, self),
            self._host,
            self.port,
            ssl=self._implicit_tls,
            backlog=_BACKLOG,
            reuse_address=True,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Stops listening. Idle connections are told goodbye, busy ones may end their mail."""
        self._stop_listening()
        for connection in tuple(self._connections):
            connection.shut()

    async def close(self) -> None:
        """Stops listening and cuts every connection."""
        self._stop_listening()
        for task in tuple(self._handshakes):
            task.cancel()
        for connection in tuple(self._connections):
            connection.abort()
        await asyncio.sleep(0)  # lets the connections learn that they are lost

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    # --- the desk ---

    def joined(self, connection: SmtpConnection) -> None:
        self._connections.add(connection)

    def left(self, connection: SmtpConnection) -> None:
        self._connections.discard(connection)

    def fault(self) -> Fault | None:
        return self._faults.take(self.account)

    def ask(self, address: str) -> str | None:
        refusal = self._office.ask_mailbox(self.account, address)
        return refusal.reply if refusal is not None else None

    def take(self, sender: str, recipients: list[str], body: bytes, connection: SmtpConnection) -> None:
        envelope = scan_headers(body)
        boxes = [self._office.providers.mailbox(address) for address in recipients]
        mails = [Taken(self.account, Via.SMTP, box, sender, envelope, _outcome(box)) for box in boxes]

        def answer(refs: Sequence[MailRef]) -> None:
            connection.taken(f"250 2.0.0 Ok: queued as {refs[0].n:010X}")
            for ref, box in zip(refs, boxes, strict=True):
                complaints = self._office.deliver_plain(ref, box, envelope, partial(read_mail, body))
                if self._returns is not None:
                    self._returns.mail_taken(Sent(ref, box, sender, head_of(body)), complaints)

        self._office.take(mails, body, answer)

    def start_tls(self, connection: SmtpConnection) -> None:
        task = asyncio.get_running_loop().create_task(self._handshake(connection))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _handshake(self, connection: SmtpConnection) -> None:
        transport = connection.transport
        if transport is None or self._tls is None:
            return
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(transport, connection, self._tls, server_side=True)
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError
            connection.abort()
            return
        if secured is None:
            connection.abort()
            return
        connection.secured(secured)


def _outcome(mailbox: Mailbox) -> Outcome:
    """The end of a mail that RCPT let in."""
    verdict = mailbox.fate.verdict if mailbox.fate else None
    match verdict:
        case Verdict.ASYNC:
            return Outcome.ASYNC
        case Verdict.DROP:
            return Outcome.DROPPED
        case _:
            return Outcome.DELIVERED
