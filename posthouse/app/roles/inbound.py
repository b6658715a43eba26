"""The role `inbound`: bounce mails and complaints, by SMTP or out of a Maildir, into the log of callbacks."""

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

from posthouse.app.bus import callback_sink
from posthouse.app.house import House, open_house
from posthouse.app.probes import serve_ops
from posthouse.app.role import Part
from posthouse.bus.port import CallbackSink
from posthouse.bus.postgres import PostgresCallbacks, PostgresHints
from posthouse.config import InboundSettings, Settings
from posthouse.domain.errors import Misconfigured
from posthouse.inbound.desk import Desk
from posthouse.inbound.listener import Bounds, Doorman, Listener
from posthouse.inbound.maildir import Maildir
from posthouse.worker.chores import Chore, do_chores


async def run(settings: Settings, _part: Part, stop: asyncio.Event) -> None:
    """Take mail in until told to stop. Raises Misconfigured when the configuration names no way in."""
    inbound = settings.inbound
    if not inbound.is_wanted:
        raise Misconfigured("[inbound] names neither a port nor a maildir: there is nothing to listen to.")
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(settings, without_database=True))
        hints = PostgresHints(house.hinter)
        inbox = PostgresCallbacks(house.general, house.listener, hints.callbacks_waiting)
        sink = await stack.enter_async_context(callback_sink(house, inbox))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        if inbound.port:
            doorman = Doorman(_desk(house), sink.append, house.clock, house.metrics)
            await stack.enter_async_context(Listener(doorman, _bounds(settings)))
        if inbound.maildir:
            group.create_task(do_chores([_maildir(house, sink)], stop))
        ops = group.create_task(serve_ops(house, inbound.ops_port))
        await stop.wait()
        ops.cancel()


def _maildir(house: House, sink: CallbackSink) -> Chore:
    inbound = house.settings.inbound
    maildir = Maildir(Path(inbound.maildir), inbound.max_message_bytes)

    async def read() -> None:
        read = await maildir.read(sink.append, house.clock)
        house.metrics.inbound_mails.labels("read").inc(read)

    return Chore("read the Maildir", inbound.maildir_every.total_seconds(), read)


def _desk(house: House) -> Desk:
    settings = house.settings
    domains = [stream.bounce_domain for stream in settings.streams.values()]
    return Desk(domains, settings.inbound.feedback_addresses, house.keyring.return_paths)


def _bounds(settings: Settings) -> Bounds:
    inbound = settings.inbound
    return Bounds(
        host=inbound.host or settings.house.host,
        port=inbound.port,
        helo_name=inbound.helo_name or socket.getfqdn(),
        max_message_bytes=inbound.max_message_bytes,
        max_connections=inbound.max_connections,
        tls=_tls(inbound),
    )


def _tls(inbound: InboundSettings) -> ssl.SSLContext | None:
    """Raises Misconfigured for a certificate or a key that cannot be had."""
    if not inbound.tls_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(inbound.tls_certificate, inbound.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"The inbound listener's certificate cannot be used: {error}.", pointer="/inbound/tls_certificate"
        ) from error
    return context
