"""Relays by the kind their [relays.*] table names."""

import random
from collections.abc import Mapping
from typing import assert_never

import msgspec

from posthouse.app.composer import message_id_domain
from posthouse.app.vendors.base import VendorAccount
from posthouse.app.vendors.mailgun import MailgunVendor
from posthouse.app.vendors.postmark import PostmarkVendor
from posthouse.app.vendors.sendgrid import SendGridVendor
from posthouse.app.vendors.ses import SesVendor
from posthouse.app.vendors.smtp import SmtpVendor
from posthouse.clock import Clock
from posthouse.compose.headers import message_id
from posthouse.config import (
    MailgunAccountSettings,
    PostmarkAccountSettings,
    SendGridAccountSettings,
    SesAccountSettings,
    Settings,
    SmtpAccountSettings,
)
from posthouse.domain.ids import RelayAccount
from posthouse.domain.stream import Stream
from posthouse.ingest.bounce_reader import BounceMails
from posthouse.keyring import Keyring
from posthouse.relays.base import Answer, CallbackReader, CallbackSource, Capabilities, Inquirer, Relay
from posthouse.relays.sandbox import SandboxCallbacks
from posthouse.simulator.settings import MailgunAccount as SimulatedMailgun
from posthouse.simulator.settings import PostmarkAccount as SimulatedPostmark
from posthouse.simulator.settings import SendGridAccount as SimulatedSendGrid
from posthouse.simulator.settings import SesAccount as SimulatedSes
from posthouse.simulator.settings import SimulatorSettings
from posthouse.simulator.settings import SmtpAccount as SimulatedSmtp
from posthouse.status.asking import Asking
from posthouse.status.doubts import DoubtRule
from posthouse.status.relay_lists import Mirror
from posthouse.telemetry import Metrics


def vendor_account(account: RelayAccount, settings: Settings) -> VendorAccount:
    """The one place that knows all vendors."""
    table = settings.relay(account)
    match table:
        case SmtpAccountSettings():
            return SmtpVendor(account, table)
        case SendGridAccountSettings():
            return SendGridVendor(account, table)
        case MailgunAccountSettings():
            return MailgunVendor(account, table)
        case PostmarkAccountSettings():
            return PostmarkVendor(account, table)
        case SesAccountSettings():
            return SesVendor(account, table)
        case _:
            assert_never(table)


def build_relay(account: RelayAccount, settings: Settings, clock: Clock, rng: random.Random) -> Relay:
    """The adapter of one account. Raises Misconfigured."""
    return vendor_account(account, settings).relay(clock, rng)


def capabilities(settings: Settings) -> dict[RelayAccount, Capabilities]:
    """What each account's adapter can do, known without building it."""
    return {account: vendor_account(account, settings).capabilities for account in settings.relays}


def build_readers(settings: Settings, clock: Clock) -> dict[tuple[str, RelayAccount], CallbackReader]:
    """Who reads the callbacks of which account."""
    made = (vendor_account(account, settings).reader(clock) for account in settings.relays)
    return {(reader.relay, reader.account): reader for reader in made if reader is not None}


def build_sources(settings: Settings, clock: Clock) -> list[CallbackSource]:
    """The queues that callbacks are pulled from. Raises Misconfigured."""
    vendors = (vendor_account(account, settings) for account in settings.relays)
    made = (vendor.source(clock) for vendor in vendors if isinstance(vendor, SesVendor))
    return [source for source in made if source is not None]


def build_inquirers(settings: Settings, clock: Clock) -> dict[RelayAccount, Inquirer]:
    """Who asks about mail in doubt, of the accounts that can be asked. Raises Misconfigured."""
    made = (vendor_account(account, settings).inquirer(clock) for account in settings.relays)
    return {inquirer.account: inquirer for inquirer in made if inquirer is not None}


def build_mirrors(settings: Settings, clock: Clock) -> list[Mirror]:
    """The relays whose own suppression lists can be read. Raises Misconfigured."""
    made = (vendor_account(account, settings).suppression_list(clock) for account in settings.relays)
    return [Mirror(one, _streams_of(one.account, settings)) for one in made if one is not None]


def _streams_of(account: RelayAccount, settings: Settings) -> frozenset[Stream]:
    return frozenset(name for name, stream in settings.streams.items() if account in stream.relays)


def asking(settings: Settings, inquirers: Mapping[RelayAccount, Inquirer], metrics: Metrics) -> Asking:
    """Whose doubts are asked about: those of streams with a relay that can be asked."""

    def heard(account: RelayAccount, answer: Answer) -> None:
        metrics.inquiries.labels(account, type(answer).__name__).inc()

    relays = {
        name: tuple(stream.relays)
        for name, stream in settings.streams.items()
        if any(account in inquirers for account in stream.relays)
    }
    domains = {name: message_id_domain(stream) for name, stream in settings.streams.items()}
    return Asking(inquirers, relays, lambda job_id, stream: message_id(job_id, domains[stream]), heard)


def build_inbox_readers(
    settings: Settings, keyring: Keyring, clock: Clock
) -> dict[tuple[str, RelayAccount], CallbackReader]:
    """Who reads what is in the inbox. The sandbox and the inbound role write there themselves; they are none
    of `build_readers`, so that nobody can post in their names."""
    ours: tuple[CallbackReader, ...] = (SandboxCallbacks(), BounceMails(keyring.return_paths, clock))
    return {**build_readers(settings, clock), **{(one.relay, one.account): one for one in ours}}


def doubt_rules(settings: Settings) -> Mapping[Stream, DoubtRule]:
    """What a stream's silence means: "not taken" only if each of its relays reports what it takes."""
    can = capabilities(settings)
    return {
        name: DoubtRule(
            silence_means_not_taken=all(can[account].reports_acceptance for account in stream.relays),
            repeat=stream.repeat_unknown,
        )
        for name, stream in settings.streams.items()
    }


def simulation(settings: Settings) -> SimulatorSettings:
    """The pretend side of every relay with `simulator = true`."""
    house, knobs = settings.house, settings.simulation
    hooks = f"http://{house.host}:{house.api_port}/hooks"
    vendors = {a: vendor_account(a, settings) for a, table in settings.relays.items() if table.simulator}
    sides = [vendor.simulated(f"{hooks}/{vendor.kind}/{account}") for account, vendor in vendors.items()]
    return SimulatorSettings(
        folder=settings.data_dir / "simulator",
        host=house.host,
        control_port=knobs.control_port,
        seed=knobs.seed,
        time_scale=knobs.time_scale,
        keep_bodies=knobs.keep_bodies,
        smtp=tuple(_with_returns(side, settings) for side in sides if isinstance(side, SimulatedSmtp)),
        sendgrid=tuple(side for side in sides if isinstance(side, SimulatedSendGrid)),
        mailgun=tuple(side for side in sides if isinstance(side, SimulatedMailgun)),
        postmark=tuple(side for side in sides if isinstance(side, SimulatedPostmark)),
        ses=tuple(side for side in sides if isinstance(side, SimulatedSes)),
    )


def _with_returns(side: SimulatedSmtp, settings: Settings) -> SimulatedSmtp:
    """Plain SMTP tells of late bounces and complaints by mail, to the inbound listener where there is one."""
    inbound = settings.inbound
    return msgspec.structs.replace(
        side,
        returns_host=inbound.host or settings.house.host,
        returns_port=inbound.port,
        feedback_address=next(iter(inbound.feedback_addresses), ""),
    )


def make_simulator_keys(settings: Settings) -> None:
    """What simulated accounts need of keys and nobody can give them, once."""
    for account, table in settings.relays.items():
        if table.simulator:
            vendor_account(account, settings).make_simulator_keys()
