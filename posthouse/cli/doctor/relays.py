"""Whether each relay can be reached and lets us in, which is not yet whether it would take mail."""

import asyncio
import random
import ssl
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from posthouse.app.adapters import vendor_account
from posthouse.app.vendors.base import VendorAccount
from posthouse.app.vendors.ses import SesVendor
from posthouse.app.vendors.smtp import SmtpVendor
from posthouse.cli.doctor.check import Check, failed, ok, warning
from posthouse.clock import SystemClock
from posthouse.config import Settings
from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import JobId, RelayAccount, uuid7
from posthouse.relays.base import AccountTrouble, CannotTell, Inquiry
from posthouse.relays.ses.quota import NoState
from posthouse.relays.smtp_account import SmtpAccount
from posthouse.relays.smtp_connect import ConnectFailed, connect, tls_context

_WITHIN: Final = 3.0  # seconds
_GOODBYE: Final = 0.2  # seconds
#: Long enough for every relay to be sure, and not so long that one has forgotten.
_LONG_AGO: Final = timedelta(hours=2)
_ASKED: Final = "It was asked about a mail that never was, and should have said so."
_UNREACHED: Final = "Is the server up, and does a firewall let this machine through?"


async def relay_check(settings: Settings, account: RelayAccount) -> Check:
    name = f"relay {account}"
    vendor = vendor_account(account, settings)
    try:
        async with asyncio.timeout(_WITHIN):
            if isinstance(vendor, SesVendor) and not vendor.lacks_simulator_keys():
                return await _ses(name, vendor)
            found = await (_smtp(vendor.account()) if isinstance(vendor, SmtpVendor) else _http(vendor))
            trouble = await _trouble_with_asking(vendor)
    except Misconfigured as error:
        return failed(name, error.message, f"Mend [relays.{account}]; `posthouse config check` looks again.")
    except ConnectFailed as error:
        return failed(name, error.outcome.reply, _todo(error, account))
    except OSError as error:  # time-outs and TLS are OSErrors
        return failed(name, str(error) or f"no answer within {_WITHIN:.0f} s", _UNREACHED)
    if trouble is not None:
        return warning(
            name, trouble, f"{_ASKED} Look at the keys in [relays.{account}], and at what they may do."
        )
    return ok(name, found)


async def _smtp(account: SmtpAccount) -> str:
    """Signs in where there is somebody to sign in as."""
    session = await connect(account, tls_context(account), SystemClock(), lambda lost: None)
    await session.close(_GOODBYE)
    signed_in = "" if account.user is None else f", signed in as {account.user}"
    return f"{account.host}:{account.port} answers (TLS: {account.tls}{signed_in})"


async def _http(vendor: VendorAccount) -> str:
    """TLS, and that its keys are there; whether the vendor knows them a question tells, or only a mail."""
    if not vendor.lacks_simulator_keys():
        _refuse_without_keys(vendor)
    parts = urlsplit(vendor.server)
    host, secured = parts.hostname or "", parts.scheme != "http"
    port = parts.port or (443 if secured else 80)
    context = ssl.create_default_context() if secured else None
    _, writer = await asyncio.open_connection(host, port, ssl=context)
    writer.close()
    return f"{host}:{port} answers, and its keys are there"


async def _trouble_with_asking(vendor: VendorAccount) -> str | None:
    """What a relay that can be asked says of a mail that never was; None when it says that it has none, and
    so knows who asks. Sends nothing."""
    clock = SystemClock()
    inquirer = None if vendor.lacks_simulator_keys() else vendor.inquirer(clock)
    if inquirer is None:
        return None
    now = clock.now()
    job_id = JobId(uuid7(int(now.timestamp() * 1000), 0))
    asked = Inquiry(job_id, 1, "nobody@never.invalid", f"<{job_id.hex}@never.invalid>", now - _LONG_AGO)
    try:
        [answer] = await inquirer.ask([asked])
    finally:
        await inquirer.close()
    return answer.reason if isinstance(answer, CannotTell) else None


async def _ses(name: str, vendor: SesVendor) -> Check:
    """SES can be asked who we are and what we may send."""
    _refuse_without_keys(vendor)
    state = await vendor.state(SystemClock())
    if isinstance(state, NoState):
        refused = f"{vendor.server}: {state.reason}"
        if state.status is None:
            return failed(name, refused, _UNREACHED)
        return failed(
            name, refused, f"Look at the keys in [relays.{vendor.name}], and at this machine's clock."
        )
    quota = state.send_quota
    found = f"{vendor.server} lets us in; {quota.words}"
    concerns = "; ".join(state.concerns())
    return (
        warning(name, f"{found}. {concerns}", "Look at SES's account dashboard.")
        if concerns
        else ok(name, found)
    )


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
