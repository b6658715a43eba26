"""The HTTP client against a server on loopback: tricks, caps, redirects, and what a failure proves."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from yarl import URL

from posthouse.net.client import (
    ClientLimits,
    Denied,
    HttpClient,
    InDoubt,
    NoReply,
    NotTaken,
    Reply,
    Withheld,
)
from posthouse.net.guard import EgressPolicy

TRICKS = [
    "https://127.0.0.1:{port}/", "https://127.1:{port}/", "https://127.0.1:{port}/", "https://2130706433:{port}/",
    "https://017700000001:{port}/", "https://0x7f000001:{port}/", "https://0x7f.0.0.1:{port}/",
    "https://0177.0.0.1:{port}/", "https://0:{port}/", "https://0.0.0.0:{port}/", "https://localhost:{port}/",
    "https://LOCALHOST:{port}/", "https://localhost.:{port}/", "https://127.0.0.2:{port}/",
    "https://127.255.255.254:{port}/", "https://[::1]:{port}/", "https://[::]:{port}/",
    "https://[::ffff:127.0.0.1]:{port}/", "https://[::ffff:7f00:1]:{port}/", "https://[0:0:0:0:0:ffff:7f00:1]:{port}/",
    "https://[::127.0.0.1]:{port}/", "https://[64:ff9b::7f00:1]:{port}/", "https://user@127.0.0.1:{port}/",
    "https://api.sendgrid.com@127.0.0.1:{port}/", "https://127.0.0.1:{port}/#@api.sendgrid.com/",
    "https://127.0.0.1:{port}\\@api.sendgrid.com/", "https://１２７.０.０.１:{port}/", "https://①②⑦.0.0.1:{port}/",
    "https://127。0。0。1:{port}/", "https://loc%61lhost:{port}/", "https://127.0.0.1%00.example:{port}/",
    "https:127.0.0.1:{port}/", "https:///127.0.0.1:{port}/", "//127.0.0.1:{port}/", "127.0.0.1:{port}",
    "http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://example.com:{port}/",
    "file:///etc/passwd", "ftp://127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/", "unix:///tmp/x", "ws://127.0.0.1:{port}/",
    "javascript:alert(1)", "https://", "https://:{port}/", "https://ip6-localhost:{port}/",
]  # fmt: skip


@dataclass
class Server:
    port: int = 0
    connections: int = 0
    bytes_read: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(behaviour: Behaviour | None = None) -> AsyncIterator[Server]:
    state = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        state.tasks.add(task)
        state.connections += 1
        try:
            if behaviour is not None:
                await behaviour(reader, writer)
            else:
                state.bytes_read += len(await reader.read())
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in state.tasks:
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)


def answering(raw: bytes) -> Behaviour:
    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()

    return behaviour


def yes() -> bool:
    return True


async def ask(server: Server, body: bytes = b"", begin: Callable[[], bool] = yes) -> Reply | NoReply:
    client = HttpClient(
        EgressPolicy(frozenset({f"127.0.0.1:{server.port}"})),
        ClientLimits(connect=0.3, total=0.5, reply_bytes=1000),
    )
    try:
        return await client.post(URL(f"http://127.0.0.1:{server.port}/x"), {}, body, begin)
    finally:
        await client.close()


async def test_no_trick_reaches_a_private_address() -> None:
    async with serving() as server:
        client = HttpClient(EgressPolicy(), ClientLimits(connect=2.0))
        tried = 0
        for trick in TRICKS:
            try:
                url = URL(trick.format(port=server.port))
            except ValueError:
                continue
            answer = await client.post(url, {}, b"secret", yes)
            assert isinstance(answer, Denied | NotTaken), trick
            tried += 1
        await client.close()
        assert tried > 30, "the URL library refuses some tricks itself, but not most"
        assert server.connections == 0


async def test_an_allowed_destination_is_no_door_to_its_neighbours() -> None:
    async with serving() as open_door, serving() as closed_door:
        client = HttpClient(EgressPolicy(frozenset({f"127.0.0.1:{open_door.port}"})))
        answer = await client.post(URL(f"http://127.0.0.1:{closed_door.port}/"), {}, b"", yes)
        await client.close()
        assert isinstance(answer, Denied)
        assert closed_door.connections == 0


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    async with serving() as elsewhere:
        moved = (
            f"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:{elsewhere.port}/\r\nContent-Length: 0\r\n\r\n"
        )
        async with serving(answering(moved.encode())) as server:
            answer = await ask(server)
        assert isinstance(answer, Reply)
        assert answer.status == 307
        assert elsewhere.connections == 0


async def test_headers_are_lower_case_and_the_body_is_capped() -> None:
    raw = b"HTTP/1.1 400 Bad\r\nX-Message-ID: a\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
    async with serving(answering(raw)) as server:
        answer = await ask(server)
    assert isinstance(answer, Reply)
    assert answer.headers["x-message-id"] == "a"
    assert answer.body == b"x" * 1000


async def test_an_endless_body_ends_at_the_cap() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with serving(endless) as server:
        answer = await ask(server)
    assert isinstance(answer, Reply)
    assert len(answer.body) == 1000


async def test_a_compressed_bomb_stays_packed() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    async with serving(answering(head.encode() + bomb)) as server:
        answer = await ask(server)
    assert isinstance(answer, Reply)
    assert answer.body == bomb[:1000]


async def test_a_body_cut_short_does_not_hide_the_status() -> None:
    async with serving(answering(b"HTTP/1.1 202 OK\r\nContent-Length: 100\r\n\r\nhalf")) as server:
        answer = await ask(server)
    assert isinstance(answer, Reply)
    assert (answer.status, answer.body) == (202, b"half")


async def test_a_withheld_request_puts_nothing_on_the_wire() -> None:
    async with serving() as server:
        assert await ask(server, b"secret", lambda: False) == Withheld()
        await asyncio.gather(*server.tasks)
        assert (server.connections, server.bytes_read) == (1, 0)


async def test_begin_is_asked_once_and_only_with_a_connection() -> None:
    asked: list[int] = []

    def begin() -> bool:
        asked.append(1)
        return True

    async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as server:
        assert isinstance(await ask(server, b"x", begin), Reply)
    assert len(asked) == 1
    assert isinstance(await ask(server, b"x", begin), NotTaken)
    assert len(asked) == 1


async def test_silence_is_doubt() -> None:
    async with serving() as server:
        assert isinstance(await ask(server), InDoubt)


async def test_silence_with_a_body_half_sent_is_doubt_too() -> None:
    """A closing transport still sends what it holds."""
    stopped = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stopped.wait()

    async with serving(deaf) as server:
        assert isinstance(await ask(server, bytes(20_000_000)), InDoubt)
        stopped.set()


def self_signed() -> ssl.SSLContext:
    """A server's TLS with a certificate for 127.0.0.1 that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        pem = Path(folder) / "server.pem"
        pem.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        context.load_cert_chain(pem)
    return context


async def test_a_certificate_that_nobody_vouches_for_gets_no_request() -> None:
    read: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=self_signed())
    address = "{}:{}".format(*server.sockets[0].getsockname())
    client = HttpClient(EgressPolicy(frozenset({address})))
    answer = await client.post(URL(f"https://{address}/"), {"Authorization": "Bearer SG.key"}, b"x", yes)
    await client.close()
    server.close()
    assert isinstance(answer, NotTaken)
    assert "certificate" in answer.reason.lower()
    assert read == []


async def test_a_name_that_does_not_exist_took_nothing() -> None:
    client = HttpClient(EgressPolicy(), ClientLimits(connect=5.0))
    answer = await client.post(URL("https://no-such-host.invalid/"), {}, b"", yes)
    await client.close()
    assert isinstance(answer, NotTaken)


async def test_one_client_keeps_its_connection() -> None:
    async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\r\nok")
            await writer.drain()

    async with serving(polite) as server:
        client = HttpClient(EgressPolicy(frozenset({f"127.0.0.1:{server.port}"})))
        url = URL(f"http://127.0.0.1:{server.port}/")
        for _ in range(3):
            assert isinstance(await client.post(url, {}, b"", yes), Reply)
        await client.close()
        assert server.connections == 1
        assert await client.post(url, {}, b"", yes) == NotTaken("the client is closed")


@pytest.mark.parametrize(("connect", "total"), [(0.0, 1.0), (2.0, 1.0), (-1.0, 1.0)])
def test_limits_must_make_sense(connect: float, total: float) -> None:
    with pytest.raises(ValueError, match="time to connect"):
        ClientLimits(connect=connect, total=total)
