"""Relays by the kind their [relays.*] table names."""

import random
from collections.abc import Mapping
from importlib import import_module
from typing import Final

from posthouse.app.vendors.base import Relief, VendorAccount
from posthouse.clock import Clock
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
from posthouse.relays.base import CallbackReader, CallbackSource, Capabilities, Inquirer, Relay

#: The vendor of each kind of account, in app/vendors. It is loaded when there is such an account: most bring
#: libraries that nothing else in a process needs.
VENDORS: Final[Mapping[type, str]] = {
    SmtpAccountSettings: "smtp.SmtpVendor",
    SendGridAccountSettings: "sendgrid.SendGridVendor",
    MailgunAccountSettings: "mailgun.MailgunVendor",
    PostmarkAccountSettings: "postmark.PostmarkVendor",
    SesAccountSettings: "ses.SesVendor",
}


def vendor_account(account: RelayAccount, settings: Settings) -> VendorAccount:
    """The one place that knows all vendors."""
    table = settings.relay(account)
    module, name = VENDORS[type(table)].split(".")
    made: VendorAccount = getattr(import_module(f"posthouse.app.vendors.{module}"), name)(account, table)
    return made


def build_relays(stream: Stream, settings: Settings, clock: Clock, rng: random.Random) -> list[Relay]:
    """The adapters of a stream's accounts, in the operator's order. Raises Misconfigured."""
    accounts = settings.streams[stream].relays
    relief = Relief.AT_HAND if len(accounts) > 1 else Relief.NONE
    return [vendor_account(account, settings).relay(clock, rng, relief) for account in accounts]


def capabilities(settings: Settings) -> dict[RelayAccount, Capabilities]:
    """What each account's adapter can do, known without building it."""
    return {account: vendor_account(account, settings).capabilities for account in settings.relays}


def build_readers(settings: Settings, clock: Clock) -> dict[tuple[str, RelayAccount], CallbackReader]:
    """Who reads the callbacks of which account."""
    made = (vendor_account(account, settings).reader(clock) for account in settings.relays)
    return {(reader.relay, reader.account): reader for reader in made if reader is not None}


def build_sources(settings: Settings, clock: Clock) -> list[CallbackSource]:
    """The queues that callbacks are pulled from. Raises Misconfigured."""
    made = (vendor_account(account, settings).source(clock) for account in settings.relays)
    return [source for source in made if source is not None]


def build_inquirers(settings: Settings, clock: Clock) -> dict[RelayAccount, Inquirer]:
    """Who asks about mail in doubt, of the accounts that can be asked. Raises Misconfigured."""
    made = (vendor_account(account, settings).inquirer(clock) for account in settings.relays)
    return {inquirer.account: inquirer for inquirer in made if inquirer is not None}


def make_simulator_keys(settings: Settings) -> None:
    """What simulated accounts need of keys and nobody can give them, once."""
    for account, table in settings.relays.items():
        if table.simulator:
            vendor_account(account, settings).make_simulator_keys()
