"""The way to an open session: TCP, greeting, EHLO, STARTTLS, EHLO again, AUTH."""

import asyncio
import base64
import ssl
from collections.abc import Callable

from posthouse.clock import Clock
from posthouse.domain.errors import Misconfigured
from posthouse.relays.base import AccountTrouble, TryLater
from posthouse.relays.smtp_account import SmtpAccount, Tls
from posthouse.relays.smtp_client import Session
from posthouse.relays.smtp_line import Broken
from posthouse.relays.smtp_wire import Extensions, extensions_of
from posthouse.replies.classify import ReplyClass, Stage, classify
from posthouse.replies.reply import Reply


class ConnectFailed(Exception):
    """No session, and what that means for the mails that wait for one."""

    def __init__(self, outcome: TryLater | AccountTrouble) -> None:
        super().__init__(outcome.reply)
        self.outcome = outcome


def tls_context(account: SmtpAccount) -> ssl.SSLContext | None:
    """The TLS settings of an account; None where it has no TLS. Reads files. Raises Misconfigured."""
    if account.tls is Tls.NONE:
        return None
    context = ssl.create_default_context()
    if account.ca_file is not None:
        try:
            context.load_verify_locations(account.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise Misconfigured(f"{account.account}: ca_file {account.ca_file}: {error}") from error
    if not account.verify_certificates:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def connect(
    account: SmtpAccount, context: ssl.SSLContext | None, clock: Clock, on_lost: Callable[[Session], None]
) -> Session:
    """A session that is ready for MAIL. Raises ConnectFailed."""
    session = Session(
        clock=clock,
        timeouts=account.timeouts,
        mails_per_connection=account.mails_per_connection,
        on_lost=on_lost,
    )
    try:
        await _open_line(session, account, context)
        await _greet(session, account)
        if account.tls is Tls.STARTTLS:
            await _secure(session, account, context)
        if account.user is not None:
            await _sign_in(session, account, account.user, account.password or "")
    except (
        Broken,
        OSError,
        UnicodeError,
    ) as error:  # time-outs and TLS are OSErrors
        session.abandon("the connection was not opened")
        raise _unreachable(account, error) from error
    except BaseException:
        session.abandon("the connection was not opened")
        raise
    return session


def _unreachable(account: SmtpAccount, error: Exception) -> ConnectFailed:
    words = str(error) or "no answer in time"
    return ConnectFailed(TryLater(f"{account.host}:{account.port}: {words}", slow_relay=True))


async def _open_line(session: Session, account: SmtpAccount, context: ssl.SSLContext | None) -> None:
    async with asyncio.timeout(account.timeouts.connect):
        await asyncio.get_running_loop().create_connection(lambda: session, account.host, account.port)
    if account.tls is Tls.IMPLICIT:
        assert context is not None
        await session.start_tls(context, account.host)


async def _greet(session: Session, account: SmtpAccount) -> None:
    _require(await session.greeting(), Stage.CONNECT)
    await _hello(session, account)


async def _hello(session: Session, account: SmtpAccount) -> None:
    name = account.helo_name.encode()
    reply = await session.ask(b"EHLO %b\r\n" % name)
    if reply.code in (500, 502, 504):  # a server from before 1995 (RFC 5321 section 3.2)
        _require(await session.ask(b"HELO %b\r\n" % name), Stage.EHLO)
        session.extensions = Extensions()
        return
    _require(reply, Stage.EHLO)
    session.extensions = extensions_of(reply)


async def _secure(session: Session, account: SmtpAccount, context: ssl.SSLContext | None) -> None:
    assert context is not None
    if not session.extensions.starttls:
        raise _misconfigured(f"{account.host} does not offer STARTTLS; no mail goes there in clear text")
    _require(await session.ask(b"STARTTLS\r\n"), Stage.STARTTLS)
    await session.start_tls(context, account.host)
    await _hello(session, account)


async def _sign_in(session: Session, account: SmtpAccount, user: str, password: str) -> None:
    if account.tls is Tls.NONE and not account.allow_clear_text_auth:
        raise _misconfigured("the password is not sent in clear text: set tls, or allow_clear_text_auth")
    offered = session.extensions.auth
    if "PLAIN" in offered:
        secret = base64.b64encode(f"\0{user}\0{password}".encode())
        _require(await session.ask(b"AUTH PLAIN %b\r\n" % secret), Stage.AUTH)
    elif "LOGIN" in offered:
        await _login(session, user, password)
    else:
        raise _misconfigured(f"{account.host} offers neither AUTH PLAIN nor AUTH LOGIN")


async def _login(session: Session, user: str, password: str) -> None:
    reply = await session.ask(b"AUTH LOGIN\r\n")
    for secret in (user, password):
        if reply.code != 334:
            break
        reply = await session.ask(b"%b\r\n" % base64.b64encode(secret.encode()))
    _require(reply, Stage.AUTH)


def _misconfigured(words: str) -> ConnectFailed:
    return ConnectFailed(AccountTrouble(words))


def _require(reply: Reply, stage: Stage) -> None:
    verdict = classify(stage, reply.code, reply.enhanced, reply.text)
    match verdict.reply_class:
        case ReplyClass.ACCEPTED:
            return
        case ReplyClass.ACCOUNT | ReplyClass.PROTOCOL:
            raise ConnectFailed(AccountTrouble(str(reply), reply.code, reply.enhanced))
        case _:
            raise ConnectFailed(
                TryLater(str(reply), slow_relay=True, smtp_code=reply.code, enhanced_code=reply.enhanced)
            )
