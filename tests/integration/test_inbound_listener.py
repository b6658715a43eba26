"""The inbound listener with real SMTP clients: who may be written to, and when it says yes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiosmtplib
import pytest
from worker_jobs import claimed_job

from posthouse.clock import SystemClock
from posthouse.domain.bounce_mail import INBOUND, INBOUND_ACCOUNT, RECIPIENT_HEADER
from posthouse.domain.errors import NotNow
from posthouse.domain.return_path import return_path
from posthouse.inbound.desk import Addressee, Desk
from posthouse.inbound.listener import Bounds, Doorman, Listener
from posthouse.relays.base import RawCallback
from posthouse.simulator.certificate import server_context
from posthouse.telemetry import Metrics

KEY = b"k" * 32
DOMAIN = "bounce.shop.example"
OURS = return_path(claimed_job(1).held, DOMAIN, KEY)
OTHER = return_path(claimed_job(2).held, DOMAIN, KEY)
MAIL = b"From: mailer-daemon@mx.test\r\nSubject: failure\r\n\r\nno such user\r\n"
PATIENCE = 20.0


class Shelf:
    """What was made durable."""

    def __init__(self) -> None:
        self.letters: list[RawCallback] = []
        self.away = False

    async def keep(self, letters: Sequence[RawCallback]) -> None:
        if self.away:
            raise NotNow("the database is away")
        self.letters += letters


def a_listener(shelf: Shelf, **changes: object) -> Listener:
    desk = Desk([DOMAIN, "bounce.news.example"], ["fbl@shop.example"], KEY)
    bounds = {
        "host": "127.0.0.1",
        "port": 0,
        "helo_name": "mx.shop.example",
        "max_message_bytes": 100_000,
        "max_connections": 3,
    }
    doorman = Doorman(desk, shelf.keep, SystemClock(), Metrics())
    return Listener(doorman, Bounds(**{**bounds, **changes}))  # type: ignore[arg-type]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def listener(shelf: Shelf) -> AsyncIterator[Listener]:
    async with asyncio.timeout(PATIENCE), a_listener(shelf) as opened:
        yield opened


def client(listener: Listener, **changes: object) -> aiosmtplib.SMTP:
    options: dict[str, object] = {"start_tls": False, **changes}
    return aiosmtplib.SMTP(hostname="127.0.0.1", port=listener.port, timeout=PATIENCE, **options)  # type: ignore[arg-type]


async def test_a_bounce_to_a_signed_return_path_is_kept_as_it_came(listener: Listener, shelf: Shelf) -> None:
    async with client(listener) as smtp:
        _, reply = await smtp.sendmail("", [OURS], MAIL)
    assert "Stored" in reply
    [letter] = shelf.letters
    assert (letter.relay, letter.account, letter.body) == (INBOUND, INBOUND_ACCOUNT, MAIL)
    assert letter.headers[RECIPIENT_HEADER] == OURS


async def test_each_recipient_has_its_own_letter(listener: Listener, shelf: Shelf) -> None:
    async with client(listener) as smtp:
        await smtp.sendmail("", [OURS, OTHER], MAIL)
    assert [letter.headers[RECIPIENT_HEADER] for letter in shelf.letters] == [OURS, OTHER]


@pytest.mark.parametrize(
    "address",
    [
        "ann@elsewhere.example",
        f"ann@{DOMAIN}",
        OURS.replace("b+0", "b+1", 1),
        OURS[:-1] + "X",
        OURS.replace(DOMAIN, "evil.example"),
        OURS.replace("b+", "b+00"),
    ],
)
async def test_nobody_else_is_written_to(listener: Listener, shelf: Shelf, address: str) -> None:
    async with client(listener) as smtp:
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
            await smtp.sendmail("", [address], MAIL)
    assert [one.code for one in refused.value.recipients] == [550]
    assert shelf.letters == []


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (OURS, Addressee.RETURN_PATH),
        (OURS.upper(), Addressee.RETURN_PATH),
        (OURS.replace(DOMAIN, "bounce.news.example"), Addressee.RETURN_PATH),
        ("fbl@Shop.example", Addressee.FEEDBACK),
        (f"postmaster@{DOMAIN}", Addressee.ROLE),
        (f"Abuse@{DOMAIN.upper()}", Addressee.ROLE),
        ("postmaster@elsewhere.example", Addressee.NOBODY),
        ("", Addressee.NOBODY),
        ("@", Addressee.NOBODY),
    ],
)
def test_addressees(address: str, expected: Addressee) -> None:
    assert Desk([DOMAIN, "bounce.news.example"], ["FBL@shop.example"], KEY).addressee(address) is expected


async def test_while_it_cannot_be_stored_the_sender_is_to_come_again(
    listener: Listener, shelf: Shelf
) -> None:
    shelf.away = True
    async with client(listener) as smtp:
        with pytest.raises(aiosmtplib.SMTPDataError) as refused:
            await smtp.sendmail("", [OURS], MAIL)
        assert refused.value.code == 451
        shelf.away = False
        await smtp.sendmail("", [OURS], MAIL)
    assert len(shelf.letters) == 1


async def test_a_mail_over_the_limit_is_refused_and_not_kept(listener: Listener, shelf: Shelf) -> None:
    async with client(listener) as smtp:
        with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
            await smtp.sendmail("", [OURS], b"x: y\r\n\r\n" + b"z" * 70 + b"\r\n" * 60_000)
    assert refused.value.code == 552
    assert shelf.letters == []


async def test_lines_of_a_quoted_mail_may_be_longer_than_the_standard_allows(
    listener: Listener, shelf: Shelf
) -> None:
    mail = MAIL + b"y" * 60_000 + b"\r\n"
    async with client(listener) as smtp:
        await smtp.sendmail("", [OURS], mail)
    assert shelf.letters[0].body == mail


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\r\n.\r\r\n", b"\r\n\x00.\r\n"]
)
async def test_nothing_but_crlf_dot_crlf_ends_a_mail(listener: Listener, shelf: Shelf, end: bytes) -> None:
    """SMTP smuggling: a second mail behind an end that only some servers see (CVE-2023-51764 and kin)."""
    smuggled = f"MAIL FROM:<>\r\nRCPT TO:<{OTHER}>\r\nDATA\r\nSubject: smuggled\r\n\r\nx".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    await reader.readline()
    for command in (b"HELO mx.test", b"MAIL FROM:<>", b"RCPT TO:<" + OURS.encode() + b">", b"DATA"):
        writer.write(command + b"\r\n")
        await reader.readline()
    writer.write(b"Subject: a\r\n\r\nfirst" + end + smuggled + b"\r\n.\r\nQUIT\r\n")
    await reader.read()
    writer.close()
    assert [letter.headers[RECIPIENT_HEADER] for letter in shelf.letters] == [OURS]
    assert b"smuggled" in shelf.letters[0].body


async def test_one_connection_too_many_is_told_to_come_again(listener: Listener) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(3):
            smtp = await stack.enter_async_context(client(listener))
            assert (await smtp.noop()).code == 250
        with pytest.raises(aiosmtplib.SMTPException, match=r"421|Too many"):
            await client(listener).connect()
    async with client(listener) as smtp:
        await smtp.sendmail("", [OURS], MAIL)


async def test_it_offers_starttls_where_it_has_a_certificate(shelf: Shelf, tmp_path: Path) -> None:
    context = server_context(tmp_path / "certificate.pem", SystemClock().now())
    async with (
        asyncio.timeout(PATIENCE),
        a_listener(shelf, tls=context) as listener,
        client(listener, start_tls=True, validate_certs=False) as smtp,
    ):
        await smtp.sendmail("", [OURS], MAIL)
    assert len(shelf.letters) == 1


async def test_a_stop_lets_nobody_wait(shelf: Shelf) -> None:
    async with asyncio.timeout(PATIENCE):
        async with a_listener(shelf) as listener:
            port = listener.port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert (await reader.readline()).startswith(b"220")
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
