"""Puts a simulation together and runs it until it is told to stop."""

import asyncio
import os
import random
import ssl
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import msgspec

from posthouse.clock import Clock, SystemClock
from posthouse.simulator.certificate import server_context
from posthouse.simulator.control import AccountInfo, Control
from posthouse.simulator.events import EventLog
from posthouse.simulator.faults import FaultBoard
from posthouse.simulator.http_listener import HttpListener
from posthouse.simulator.ledger import Ledger, Via
from posthouse.simulator.loopback import LoopbackBrowser
from posthouse.simulator.people import Agenda
from posthouse.simulator.postoffice import PostOffice
from posthouse.simulator.providers import DEFAULT_TABLE, Providers
from posthouse.simulator.sendgrid_relay import SendGridRelay
from posthouse.simulator.settings import (
    SendGridAccount,
    SimulatorSettings,
    SmtpAccount,
    SmtpSecurity,
    check_settings,
)
from posthouse.simulator.smtp_server import SmtpRelay
from posthouse.simulator.store import MessageStore
from posthouse.simulator.webhooks import Signer, Webhook, load_signer

_DRAIN_SECONDS = 1.0  # for the webhooks' last words


class Endpoints(msgspec.Struct, frozen=True):
    """Where a running simulation is reached; also written to endpoints.json."""

    control_url: str
    accounts: list[AccountInfo]


#: Told once, when everything listens.
Ready = Callable[[Endpoints], None]


@dataclass(frozen=True, slots=True)
class _House:
    """What all accounts share."""

    settings: SimulatorSettings
    clock: Clock
    ledger: Ledger
    store: MessageStore
    events: EventLog
    browser: LoopbackBrowser
    agenda: Agenda
    office: PostOffice
    faults: FaultBoard


async def run(settings: SimulatorSettings, stop: asyncio.Event, ready: Ready | None = None) -> None:
    """Simulates until `stop` is set; ends within two seconds then.

    Raises BadSettingsError, BadTableError, and OSError for a port or a folder that cannot be had.
    """
    check_settings(settings)
    settings.folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        house = _build(settings, SystemClock(), stack)
        webhooks = _webhooks(house, stack)
        talking = tuple(webhook for webhook, _ in webhooks.values() if webhook is not None)
        stack.push_async_callback(_say_last_words, talking)  # after the listeners are closed
        accounts = await _open_accounts(house, webhooks, stack)
        control = await _open_control(house, accounts, webhooks, stack)
        for spec in settings.faults:
            await house.faults.set(spec)
        endpoints = Endpoints(f"http://{_for_url(settings.host)}:{control.port}", accounts)
        _publish(settings, endpoints)
        if ready is not None:
            ready(endpoints)
        await _live(house, talking, stop)


def _build(settings: SimulatorSettings, clock: Clock, stack: AsyncExitStack) -> _House:
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
    return _House(settings, clock, ledger, store, events, browser, agenda, office, FaultBoard())


def _webhooks(house: _House, stack: AsyncExitStack) -> dict[str, tuple[Webhook | None, Signer]]:
    """By account; each account has a key, and a webhook if it says where to."""
    made: dict[str, tuple[Webhook | None, Signer]] = {}
    for account in house.settings.sendgrid:
        signer = load_signer(account.key_path)
        webhook = None
        if account.webhook_url is not None:
            webhook = Webhook(
                account.webhook_url,
                signer,
                account.habits,
                events=house.events,
                clock=house.clock,
                rng=random.Random(f"{house.settings.seed}:{account.name}"),  # noqa: S311  # habits, not secrets
                time_scale=house.settings.time_scale,
            )
            stack.push_async_callback(webhook.close)
        made[account.name] = (webhook, signer)
    return made


async def _open_accounts(
    house: _House, webhooks: dict[str, tuple[Webhook | None, Signer]], stack: AsyncExitStack
) -> list[AccountInfo]:
    opened = [await _open_sendgrid(house, a, *webhooks[a.name], stack) for a in house.settings.sendgrid]
    tls = _tls(house)
    opened += [await _open_smtp(house, account, tls, stack) for account in house.settings.smtp]
    return opened


async def _open_sendgrid(
    house: _House, account: SendGridAccount, webhook: Webhook | None, signer: Signer, stack: AsyncExitStack
) -> AccountInfo:
    relay = SendGridRelay(
        account,
        office=house.office,
        faults=house.faults,
        webhook=webhook,
        clock=house.clock,
        rng=random.Random(os.urandom(16)),  # noqa: S311  # message ids differ between runs on one ledger
        seed=house.settings.seed,
        time_scale=house.settings.time_scale,
        max_message_bytes=house.settings.max_message_bytes,
    )
    host = house.settings.host
    listener = HttpListener(relay.app(), host, account.port)
    stack.push_async_callback(listener.close)
    await house.faults.guard(account.name, listener)
    return AccountInfo(
        name=account.name,
        kind=Via.SENDGRID,
        host=host,
        port=listener.port,
        url=f"http://{_for_url(host)}:{listener.port}",
        public_key=signer.public_key,
        webhook_url=account.webhook_url,
    )


async def _open_smtp(
    house: _House, account: SmtpAccount, tls: ssl.SSLContext | None, stack: AsyncExitStack
) -> AccountInfo:
    settings = house.settings
    relay = SmtpRelay(
        account,
        office=house.office,
        faults=house.faults,
        host=settings.host,
        max_message_bytes=settings.max_message_bytes,
        tls=tls,
    )
    stack.push_async_callback(relay.close)
    await house.faults.guard(account.name, relay)
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


def _tls(house: _House) -> ssl.SSLContext | None:
    if all(account.security is SmtpSecurity.PLAIN for account in house.settings.smtp):
        return None
    return server_context(house.settings.certificate_path, house.clock.now())


async def _open_control(
    house: _House,
    accounts: Sequence[AccountInfo],
    webhooks: dict[str, tuple[Webhook | None, Signer]],
    stack: AsyncExitStack,
) -> HttpListener:
    control = Control(
        accounts=accounts,
        ledger=house.ledger,
        store=house.store,
        events=house.events,
        agenda=house.agenda,
        browser=house.browser,
        webhooks={name: webhook for name, (webhook, _) in webhooks.items() if webhook is not None},
        faults=house.faults,
    )
    listener = HttpListener(control.app(), house.settings.host, house.settings.control_port)
    stack.push_async_callback(listener.close)
    await listener.open()
    return listener


async def _live(house: _House, webhooks: Sequence[Webhook], stop: asyncio.Event) -> None:
    stopper = asyncio.create_task(stop.wait())
    workers = [
        asyncio.create_task(work) for work in (house.agenda.run(), house.events.run(), house.ledger.run())
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
        house.faults.release()


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
