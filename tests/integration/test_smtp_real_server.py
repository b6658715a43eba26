"""The SMTP relay against a server of other people, aiosmtpd, with aiosmtplib as the oracle."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import aiosmtplib
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from posthouse.clock import SystemClock
from posthouse.domain.ids import JobId, RelayAccount
from posthouse.domain.message import RawMail
from posthouse.relays.base import Accepted, AccountTrouble, Outcome, RejectedMessage, TryLater
from posthouse.relays.smtp import SmtpAccount, SmtpRelay, Timeouts, Tls

NAME = "mail.example.test"
TIMEOUTS = Timeouts(
    connect=5.0, greeting=5.0, command=5.0, data=5.0, block=5.0, final_dot=5.0, check_every=0.05
)
MESSAGE = b"From: shop@example.net\r\nSubject: hi\r\n\r\n.dots\r\n..and dots\r\nGr\xc3\xbc\xc3\x9fe\r\n"


@dataclass(frozen=True, slots=True)
class Certificates:
    authority: Path
    chain: Path
    stranger: Path  # an authority that signed nothing

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain)
        return context


def _authority(name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        _unsigned(subject, subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("ca")
    authority_key, server_key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    authority = _authority("Throw-away", authority_key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    server = (
        _unsigned(subject, authority.subject, server_key.public_key())
        .add_extension(names, critical=False)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "stranger.pem")
    made.authority.write_bytes(authority.public_bytes(Encoding.PEM))
    secret = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    made.chain.write_bytes(secret + server.public_bytes(Encoding.PEM))
    stranger = _authority("Stranger", ec.generate_private_key(ec.SECP256R1()))
    made.stranger.write_bytes(stranger.public_bytes(Encoding.PEM))
    return made


@dataclass  # without slots: aiosmtpd reads every attribute, and Python 3.11.2 then fails at __weakref__
class Inbox:
    """A handler of aiosmtpd."""

    taken: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    tls: list[bool] = field(default_factory=list)
    users: list[bytes] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.taken.append((envelope.mail_from or "", list(envelope.rcpt_tos), envelope.content))
        assert server.transport is not None
        self.tls.append(server.transport.get_extra_info("ssl_object") is not None)
        return f"250 2.0.0 Ok: queued as {len(self.taken)}"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        self.users.append(data.login)
        return AuthResult(success=data.password == "sécret".encode(), handled=False)


@asynccontextmanager
async def serve(
    inbox: Inbox, context: ssl.SSLContext | None, tls: Tls, *, auth: bool = False
) -> AsyncIterator[int]:
    def protocol() -> SMTP:
        return SMTP(
            inbox,
            enable_SMTPUTF8=True,
            tls_context=context if tls is Tls.STARTTLS else None,
            require_starttls=tls is Tls.STARTTLS,
            authenticator=inbox.authenticate if auth else None,
            auth_required=auth,
            auth_require_tls=tls is Tls.STARTTLS,
            data_size_limit=1_000_000,
            hostname="mx.example.test",
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, ssl=context if tls is Tls.IMPLICIT else None)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def account_of(port: int, certificates: Certificates, tls: Tls) -> SmtpAccount:
    return SmtpAccount(
        account=RelayAccount("real"),
        host="127.0.0.1",
        port=port,
        helo_name="posthouse.example",
        tls=tls,
        timeouts=TIMEOUTS,
        begin_within=10.0,
        ca_file=str(certificates.authority),
    )


def mail(recipient: str = "ann@example.org", data: bytes = MESSAGE, *, utf8: bool = False) -> RawMail:
    return RawMail(JobId(UUID(int=1)), 1, "bounce@example.net", recipient, data, utf8)


async def send(account: SmtpAccount, *mails: RawMail) -> list[Outcome]:
    relay = SmtpRelay(account, clock=SystemClock(), rng=random.Random(1))
    try:
        async with asyncio.timeout(20):
            return await relay.send_many(mails, lambda: True)
    finally:
        await relay.close()


@pytest.mark.parametrize("tls", Tls)
async def test_mails_arrive_byte_for_byte(certificates: Certificates, tls: Tls) -> None:
    inbox = Inbox()
    names = [f"r{n}@example.org" for n in range(20)]
    async with serve(inbox, certificates.server_context(), tls) as port:
        outcomes = await send(account_of(port, certificates, tls), *map(mail, names))
    assert {type(outcome) for outcome in outcomes} == {Accepted}
    assert sorted(recipients for _, recipients, _ in inbox.taken) == sorted([name] for name in names)
    assert {content for _, _, content in inbox.taken} == {MESSAGE}
    assert set(inbox.tls) == {tls is not Tls.NONE}


async def test_the_same_bytes_as_the_oracle(certificates: Certificates) -> None:
    inbox = Inbox()
    async with serve(inbox, None, Tls.NONE) as port:
        ours = await send(account_of(port, certificates, Tls.NONE), mail())
        await aiosmtplib.send(
            MESSAGE,
            sender="bounce@example.net",
            recipients=["ann@example.org"],
            hostname="127.0.0.1",
            port=port,
            start_tls=False,
        )
    assert isinstance(ours[0], Accepted)
    assert inbox.taken[0] == inbox.taken[1]


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
async def test_a_large_mail_under_tls(certificates: Certificates, tls: Tls) -> None:
    inbox = Inbox()
    data = b"Subject: large\r\n\r\n" + b".a line of a large mail\r\n" * 35_000
    async with serve(inbox, certificates.server_context(), tls) as port:
        [outcome] = await send(account_of(port, certificates, tls), mail(data=data))
    assert isinstance(outcome, Accepted), outcome
    assert inbox.taken[0][2] == data


async def test_what_the_server_says_is_too_large_stays_here(certificates: Certificates) -> None:
    inbox = Inbox()
    async with serve(inbox, None, Tls.NONE) as port:
        [outcome] = await send(account_of(port, certificates, Tls.NONE), mail(data=b"x\r\n" * 400_000))
    assert isinstance(outcome, RejectedMessage)
    assert "1000000" in outcome.reply
    assert inbox.taken == []


async def test_addresses_of_every_script(certificates: Certificates) -> None:
    inbox, address = Inbox(), "पोस्ट@उदाहरण.example"
    async with serve(inbox, None, Tls.NONE) as port:
        [outcome] = await send(account_of(port, certificates, Tls.NONE), mail(address, utf8=True))
    assert isinstance(outcome, Accepted), outcome
    assert inbox.taken[0][1] == [address]


@pytest.mark.parametrize(
    ("password", "kind"), [("sécret", Accepted), ("guess", AccountTrouble)], ids=["right", "wrong"]
)
async def test_signing_in(certificates: Certificates, password: str, kind: type[Outcome]) -> None:
    inbox = Inbox()
    async with serve(inbox, certificates.server_context(), Tls.STARTTLS, auth=True) as port:
        account = replace(account_of(port, certificates, Tls.STARTTLS), user="shop", password=password)
        outcomes = await send(account, mail(), mail())
    assert [type(outcome) for outcome in outcomes] == [kind, kind]
    assert set(inbox.users) == {b"shop"}


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
async def test_a_certificate_of_a_stranger_is_not_trusted(certificates: Certificates, tls: Tls) -> None:
    inbox = Inbox()
    async with serve(inbox, certificates.server_context(), tls) as port:
        account = replace(account_of(port, certificates, tls), ca_file=str(certificates.stranger))
        [refused] = await send(account, mail())
        assert isinstance(refused, TryLater), refused
        assert refused.slow_relay
        assert "certificate" in refused.reply.lower()
        assert inbox.taken == []
        [taken] = await send(replace(account, verify_certificates=False), mail())
        assert isinstance(taken, Accepted)


async def test_a_certificate_for_another_name_is_not_trusted(certificates: Certificates) -> None:
    inbox = Inbox()
    async with serve(inbox, certificates.server_context(), Tls.STARTTLS) as port:
        account = replace(account_of(port, certificates, Tls.STARTTLS), host="localhost")
        [outcome] = await send(account, mail())
    assert isinstance(outcome, TryLater)
    assert outcome.slow_relay
    assert inbox.taken == []
