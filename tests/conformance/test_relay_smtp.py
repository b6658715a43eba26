"""The SMTP relay keeps the laws of the relay port."""

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, default
from uuid import UUID

import pytest
from relay_laws import Fault, Letter, Mail, Received, RelayHarness, RelayLaws
from smtp_scripted import ScriptedSmtp, Taken

from posthouse.clock import SystemClock
from posthouse.domain.ids import JobId, RelayAccount
from posthouse.domain.message import Addressing, Mailbox, RawMail, Rendered
from posthouse.domain.stream import Stream
from posthouse.relays.base import Relay
from posthouse.relays.smtp import SmtpAccount, SmtpRelay, Timeouts, Tls

JOB = JobId(UUID(int=7))
QUICK = Timeouts(connect=1.0, greeting=1.0, command=1.0, data=1.0, block=1.0, final_dot=1.0, check_every=0.02)


def settings(port: int) -> SmtpAccount:
    return SmtpAccount(
        account=RelayAccount("scripted"),
        host="127.0.0.1",
        port=port,
        helo_name="posthouse.example",
        tls=Tls.NONE,
        timeouts=QUICK,
        begin_within=10.0,  # the laws ask what happens, not how fast this machine is
    )


def raw_mail(
    recipient: str, data: bytes, *, sender: str = "bounce@example.net", utf8: bool = False
) -> RawMail:
    return RawMail(JOB, 1, sender, recipient, data, utf8)


def content(letter: Letter) -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(letter.sender_name, "shop", "example.net")
    message["To"] = "undisclosed:;"
    message["Subject"] = letter.subject
    for name, value in letter.headers:
        message[name] = value
    message.set_content(letter.text)
    return message.as_bytes()


def decoded(mail: Taken) -> Received:
    message = message_from_bytes(mail.data, policy=default)
    assert isinstance(message, EmailMessage)
    return Received(
        recipient=mail.recipient,
        subject=str(message["Subject"]),
        sender_name=message["From"].addresses[0].display_name,
        text=str(message.get_content()).replace("\r\n", "\n"),
        headers={name.lower(): str(value) for name, value in message.items()},
    )


class SmtpHarness:
    throttle_hint: float | None = None
    knows_unfinished = True
    together = 1

    def __init__(self, server: ScriptedSmtp, silent: ScriptedSmtp) -> None:
        self._server = server
        self._silent = silent
        self._account = settings(server.port)

    def relay(self) -> Relay:
        return SmtpRelay(self._account, clock=SystemClock(), rng=random.Random(1))

    def lonely_relay(self) -> Relay:
        return SmtpRelay(replace(self._account, port=1), clock=SystemClock(), rng=random.Random(1))

    def unreachable_relay(self) -> Relay:
        account = replace(self._account, port=self._silent.port)
        return SmtpRelay(account, clock=SystemClock(), rng=random.Random(1))

    def mail(self, letter: Letter) -> Mail:
        return raw_mail(letter.recipient, content(letter))

    def unsupported(self) -> Sequence[Mail]:
        plain = content(Letter())
        return [
            Rendered(
                job_id=JOB,
                attempt=1,
                stream=Stream.TRANSACTIONAL,
                return_path="bounce@example.net",
                recipient="ann@example.org",
                sender=Mailbox("shop@example.net"),
                addressing=Addressing(),
                subject="not raw",
                text="not raw",
                html=None,
                message_id="<1@example.net>",
                date=datetime(2026, 1, 1, tzinfo=UTC),
            ),
            raw_mail("ann@example.org", plain, utf8=True),
            raw_mail("åsa@example.org", plain),
            raw_mail("ann@example.org", plain, sender="åsa@example.net"),
            raw_mail("ann@example.org", plain + b"a bare\nline feed\r\n"),
            raw_mail("ann@example.org", plain + b"a bare\rcarriage return\r\n"),
            raw_mail("ann@example.org", plain + b"a NUL \0\r\n"),
            raw_mail("ann@example.org> SIZE=1", plain),
            raw_mail("ann@example.org\r\nRSET", plain),
            raw_mail("", plain),
            raw_mail("ann@example.org", plain + b"too large\r\n" * 600_000),
        ]

    def script(self, recipient: str, fault: Fault) -> None:
        script = self._server.script
        match fault:
            case Fault.REJECT_RECIPIENT:
                script.on_rcpt[recipient] = "550 5.1.1 no such user"
            case Fault.REJECT_MESSAGE:
                script.on_dot[recipient] = "552 5.3.4 message too big"
            case Fault.TROUBLE:
                script.on_dot[recipient] = "451 4.3.0 try again"
            case Fault.THROTTLE:
                script.on_rcpt[recipient] = "450 4.7.1 too fast"
            case Fault.BAD_CREDENTIALS:
                script.auth = "535 5.7.8 no"
                script.extensions += ("AUTH PLAIN LOGIN",)
                self._account = replace(
                    self._account, user="me", password="wrong", allow_clear_text_auth=True
                )
            case Fault.HANG_AFTER_BODY:
                script.hang_at_dot.add(recipient)
            case Fault.CUT_AFTER_BODY:
                script.cut_at_dot.add(recipient)
            case Fault.CUT_MID_BODY:
                script.cut_in_data.add(recipient)

    def garbage(self) -> Sequence[bytes]:
        return [
            b"",
            b"\r\n",
            b"2",
            b"250",
            b"250 ok without an end",
            b"250-ok, and\r\n",
            b"250-ok\r\n550 or not\r\n",
            b"250ok\r\n",
            b" 250 ok\r\n",
            b"OK\r\n",
            b"150 ok\r\n",
            b"600 ok\r\n",
            b"354 more\r\n",
            b"399 what\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"\0" * 100 + b"\r\n",
            b"\xff\xfe\xfd\r\n",
            b"x" * 100_000,
            b"250-y\r\n" * 50_000,
            b"421 4.0.0 going\r\n",
            b"554 \xff\0\x1b[2J\r\n",
        ]

    def answer_with(self, recipient: str, raw: bytes) -> None:
        self._server.script.raw_answer[recipient] = raw

    def begun(self) -> int:
        return self._server.begun

    async def taken(self, mails: int) -> None:
        await self._server.wait_for(lambda: len(self._server.taken) >= mails)

    def received(self) -> Sequence[Received]:
        return [decoded(mail) for mail in self._server.taken]


class TestSmtp(RelayLaws):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[RelayHarness]:
        async with ScriptedSmtp() as server, ScriptedSmtp() as silent:
            silent.script.silent = True
            yield SmtpHarness(server, silent)


class TestSmtpStepByStep(RelayLaws):
    """The same with a server that knows no PIPELINING and no more than SIZE and 8BITMIME."""

    @pytest.fixture
    async def harness(self) -> AsyncIterator[RelayHarness]:
        async with ScriptedSmtp() as server, ScriptedSmtp() as silent:
            server.script.extensions = ("SIZE 6000000", "8BITMIME")
            silent.script.silent = True
            yield SmtpHarness(server, silent)
