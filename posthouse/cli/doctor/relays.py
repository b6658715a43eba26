"""Whether each relay can be reached and lets us in, which is not yet whether it would take mail."""

import asyncio
import random
import ssl
from typing import Final
from urllib.parse import urlsplit

from posthouse.app.adapters import vendor_account
from posthouse.app.vendors.base import VendorAccount
from posthouse.app.vendors.smtp import SmtpVendor
from posthouse.cli.doctor.check import Check, failed, ok
from posthouse.clock import SystemClock
from posthouse.config import Settings
from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.relays.base import AccountTrouble
from posthouse.relays.smtp_account import SmtpAccount
from posthouse.relays.smtp_connect import ConnectFailed, connect, tls_context

_WITHIN: Final = 3.0  # seconds
_GOODBYE: Final = 0.2  # seconds
_UNREACHED: Final = "Is the server up, and does a firewall let this machine through?"


async def relay_check(settings: Settings, account: RelayAccount) -> Check:
    name = f"relay {account}"
    vendor = vendor_account(account, settings)
    try:
        async with asyncio.timeout(_WITHIN):
            found = await (_smtp(vendor.account()) if isinstance(vendor, SmtpVendor) else _http(vendor))
    except Misconfigured as error:
        return failed(name, error.message, f"Mend [relays.{account}]; `posthouse config check` looks again.")
    except ConnectFailed as error:
        return failed(name, error.outcome.reply, _todo(error, account))
    except OSError as error:  # time-outs and TLS are OSErrors
        return failed(name, str(error) or f"no answer within {_WITHIN:.0f} s", _UNREACHED)
    return ok(name, found)


async def _smtp(account: SmtpAccount) -> str:
    """Signs in where there is somebody to sign in as."""
    session = await connect(account, tls_context(account), SystemClock(), lambda lost: None)
    await session.close(_GOODBYE)
    signed_in = "" if account.user is None else f", signed in as {account.user}"
    return f"{account.host}:{account.port} answers (TLS: {account.tls}{signed_in})"


async def _http(vendor: VendorAccount) -> str:
    """TLS, and that its keys are there; whether the vendor knows them only a mail would tell."""
    if not vendor.lacks_simulator_keys():
        _refuse_without_keys(vendor)
    parts = urlsplit(vendor.server)
    host, secured = parts.hostname or "", parts.scheme != "http"
    port = parts.port or (443 if secured else 80)
    context = ssl.create_default_context() if secured else None
    _, writer = await asyncio.open_connection(host, port, ssl=context)
    writer.close()
    return f"{host}:{port} answers, and its keys are there"


def _refuse_without_keys(vendor: VendorAccount) -> None:
    """Raises Misconfigured."""
    clock = SystemClock()
    vendor.relay(clock, random.Random(0))  # noqa: S311  # jitter
    vendor.reader(clock)
    vendor.inquirer(clock)


def _todo(error: ConnectFailed, account: RelayAccount) -> str:
    if isinstance(error.outcome, AccountTrouble):
        return f"Look at user, password and tls in [relays.{account}]."
    return _UNREACHED
