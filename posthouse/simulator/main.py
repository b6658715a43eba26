"""Puts a simulation together and runs it until it is told to stop."""

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Final, assert_never

import msgspec

from posthouse.clock import Clock, SystemClock
from posthouse.simulator.certificate import server_context
from posthouse.simulator.control import AccountInfo, Control, Views
from posthouse.simulator.events import EventLog
from posthouse.simulator.faults import FaultBoard
from posthouse.simulator.http_listener import HttpListener
from posthouse.simulator.ledger import Ledger, Via
from posthouse.simulator.loopback import LoopbackBrowser
from posthouse.simulator.mailgun_relay import mailgun_side
from posthouse.simulator.people import Agenda
from posthouse.simulator.postman import Postman
from posthouse.simulator.postmark_relay import postmark_side, postmark_view
from posthouse.simulator.postoffice import PostOffice
from posthouse.simulator.providers import DEFAULT_TABLE, Providers
from posthouse.simulator.returns import Returns
from posthouse.simulator.sendgrid_relay import sendgrid_side, sendgrid_view
from posthouse.simulator.ses_relay import ses_side
from posthouse.simulator.settings import (
    HttpAccount,
    MailgunAccount,
    PostmarkAccount,
    SendGridAccount,
    SesAccount,
    SimulatorSettings,
    SmtpAccount,
    SmtpSecurity,
    check_settings,
)
from posthouse.simulator.smtp_server import SmtpRelay
from posthouse.simulator.store import MessageStore
from posthouse.simulator.webhooks import Outbox, Webhook
from posthouse.simulator.world import HttpSide, World

_DRAIN_SECONDS = 1.0  # for the webhooks' last words

#: How mails are shown that did not come as MIME.
VIEWS: Final[Views] = {Via.SENDGRID: sendgrid_view, Via.POSTMARK: postmark_view}


class Endpoints(msgspec.Struct, frozen=True):
    """Where a running simulation is reached; also written to endpoints.json."""

    control_url: str
    accounts: list[AccountInfo]


#: Told once, when everything listens.
Ready = Callable[[Endpoints], None]


async def run(settings: SimulatorSettings, stop: asyncio.Event, ready: Ready | None = None) -> None:
    """Simulates until `stop` is set; ends within two seconds then.

    Raises BadSettingsError, BadTableError, and OSError for a port or a folder that cannot be had.
    """
    check_settings(settings)
    settings.folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        world = _build(settings, SystemClock(), stack)
        sides = {account.name: _http_side(world, account) for account in settings.http_accounts}
        webhooks = {name: side.webhook for name, side in sides.items() if side.webhook is not None}
        for webhook in webhooks.values():
            stack.push_async_callback(webhook.close)
        talking = tuple(webhooks.values())
        stack.push_async_callback(_say_last_words, talking)  # after the listeners are closed
        postmen = _postmen(world)
        for postman in postmen.values():
            stack.push_async_callback(postman.close)
        accounts = await _open_accounts(world, sides, postmen, stack)
        queues = {name: side.queue for name, side in sides.items() if side.queue is not None}
        control = await _open_control(world, accounts, {**webhooks, **queues}, postmen, stack)
        for spec in settings.faults:
            await world.faults.set(spec)
        endpoints = Endpoints(f"http://{_for_url(settings.host)}:{control.port}", accounts)
        _publish(settings, endpoints)
        if ready is not None:
            ready(endpoints)
        await _live(world, talking, stop)


def _build(settings: SimulatorSettings, clock: Clock, stack: AsyncExitStack) -> World:
    table = (settings.providers_path or DEFAULT_TABLE).read_bytes()
    providers = Providers(table, settings.seed)
    ledger = Ledger(settings.ledger_path, fsync=settings.fsync)
    stack.callback(ledger.close)
    store = MessageStore(settings.bodies_path, keep_bodies=settings.keep_bodies, index_max=settings.index_max)
    stack.callback(store.close)
    events = EventLog(settings.events_path, clock)
    stack.callback(events.close)
    browser = LoopbackBrowser(connections=settings.visitors)
    stack.push_async_callback(browser.close)
    agenda = Agenda(browser, events, hands=settings.visitors, agenda_max=settings.agenda_max)
    office = PostOffice(
        providers=providers,
        ledger=ledger,
        store=store,
        events=events,
        agenda=agenda,
        clock=clock,
        seed=settings.seed,
        time_scale=settings.time_scale,
    )
    return World(settings, clock, ledger, store, events, browser, agenda, office, FaultBoard())


def _http_side(world: World, account: HttpAccount) -> HttpSide:
    match account:
        case SendGridAccount():
            return sendgrid_side(world, account)
        case MailgunAccount():
            return mailgun_side(world, account)
        case PostmarkAccount():
            return postmark_side(world, account)
        case SesAccount():
            return ses_side(world, account)
        case _:
            assert_never(account)


async def _open_accounts(
    world: World, sides: Mapping[str, HttpSide], postmen: Mapping[str, Postman], stack: AsyncExitStack
) -> list[AccountInfo]:
    opened = [
        await _open_http(world, account, sides[account.name], stack)
        for account in world.settings.http_accounts
    ]
    tls = _tls(world)
    opened += [await _open_smtp(world, account, tls, postmen, stack) for account in world.settings.smtp]
    return opened


async def _open_http(
    world: World, account: HttpAccount, side: HttpSide, stack: AsyncExitStack
) -> AccountInfo:
    host = world.settings.host
    listener = HttpListener(side.app, host, account.port)
    stack.push_async_callback(listener.close)
    await world.faults.guard(account.name, listener)
    return AccountInfo(
        name=account.name,
        kind=side.kind,
        host=host,
        port=listener.port,
        url=f"http://{_for_url(host)}:{listener.port}",
        public_key=side.public_key,
        webhook_url=account.webhook_url,
    )


async def _open_smtp(
    world: World,
    account: SmtpAccount,
    tls: ssl.SSLContext | None,
    postmen: Mapping[str, Postman],
    stack: AsyncExitStack,
) -> AccountInfo:
    settings = world.settings
    postman = postmen.get(account.name)
    relay = SmtpRelay(
        account,
        office=world.office,
        faults=world.faults,
        host=settings.host,
        max_message_bytes=settings.max_message_bytes,
        tls=tls,
        returns=None if postman is None else _returns(world, account, postman),
    )
    stack.push_async_callback(relay.close)
    await world.faults.guard(account.name, relay)
    plain = account.security is SmtpSecurity.PLAIN
    return AccountInfo(
        name=account.name,
        kind=Via.SMTP,
        host=settings.host,
        port=relay.port,
        url=f"smtp://{_for_url(settings.host)}:{relay.port}",
        security=account.security.value,
        certificate_path=None if plain else str(settings.certificate_path),
    )


def _postmen(world: World) -> dict[str, Postman]:
    """Of the SMTP accounts whose reports have somewhere to go."""
    return {
        account.name: Postman(account.returns_host, account.returns_port, world.events)
        for account in world.settings.smtp
        if account.returns_port
    }


def _returns(world: World, account: SmtpAccount, postman: Postman) -> Returns:
    return Returns(
        postman=postman,
        feedback_address=account.feedback_address,
        delays=world.office.providers.delays,
        clock=world.clock,
        seed=world.settings.seed,
        time_scale=world.settings.time_scale,
    )


def _tls(world: World) -> ssl.SSLContext | None:
    if all(account.security is SmtpSecurity.PLAIN for account in world.settings.smtp):
        return None
    return server_context(world.settings.certificate_path, world.clock.now())


async def _open_control(
    world: World,
    accounts: Sequence[AccountInfo],
    outboxes: Mapping[str, Outbox],
    postmen: Mapping[str, Postman],
    stack: AsyncExitStack,
) -> HttpListener:
    control = Control(
        accounts=accounts,
        ledger=world.ledger,
        store=world.store,
        events=world.events,
        agenda=world.agenda,
        browser=world.browser,
        outboxes=outboxes,
        postmen=postmen,
        faults=world.faults,
        views=VIEWS,
    )
    listener = HttpListener(control.app(), world.settings.host, world.settings.control_port)
    stack.push_async_callback(listener.close)
    await listener.open()
    return listener


async def _live(world: World, webhooks: Sequence[Webhook], stop: asyncio.Event) -> None:
    stopper = asyncio.create_task(stop.wait())
    workers = [
        asyncio.create_task(work) for work in (world.agenda.run(), world.events.run(), world.ledger.run())
    ]
    workers += [asyncio.create_task(webhook.run()) for webhook in webhooks]
    try:
        await asyncio.wait((stopper, *workers), return_when=asyncio.FIRST_COMPLETED)
        for worker in workers:
            if worker.done():
                worker.result()  # they never end but by an error, which is ours to pass on
    finally:
        for task in (stopper, *workers):
            task.cancel()
        await asyncio.gather(stopper, *workers, return_exceptions=True)
        world.faults.release()


async def _say_last_words(webhooks: Sequence[Webhook]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            await asyncio.gather(*(webhook.drain() for webhook in webhooks))


def _publish(settings: SimulatorSettings, endpoints: Endpoints) -> None:
    """Written whole or not at all: others wait for this file."""
    draft = settings.endpoints_path.with_suffix(".tmp")
    draft.write_bytes(msgspec.json.encode(endpoints))
    draft.replace(settings.endpoints_path)


def _for_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
