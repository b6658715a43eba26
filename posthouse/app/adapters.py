"""Relays by the kind their [relays.*] table names."""

import random
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final, assert_never
from urllib.parse import urlsplit

from posthouse.clock import Clock
from posthouse.config import SendGridAccountSettings, Settings, SmtpAccountSettings, secret
from posthouse.domain.ids import RelayAccount
from posthouse.domain.stream import Stream
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import CallbackReader, Capabilities, Relay
from posthouse.relays.sandbox import SandboxCallbacks
from posthouse.relays.sendgrid import callbacks, sender
from posthouse.relays.smtp import SmtpAccount, SmtpRelay, Tls
from posthouse.relays.smtp_account import SMTP_CAPABILITIES
from posthouse.simulator.settings import SendGridAccount as SimulatedSendGrid
from posthouse.simulator.settings import SimulatorSettings
from posthouse.simulator.settings import SmtpAccount as SimulatedSmtp
from posthouse.status.sweeper import DoubtRule

#: A claimed mail waits no longer than a second for a connection: then it goes back, to be checked again.
LIMITS: Final = ClientLimits(connect=1.0)


def build_relay(account: RelayAccount, settings: Settings, clock: Clock, rng: random.Random) -> Relay:
    """The adapter of one account. Raises Misconfigured."""
    table = settings.relay(account)
    match table:
        case SmtpAccountSettings():
            return SmtpRelay(smtp_account(account, table), clock=clock, rng=rng)
        case SendGridAccountSettings():
            return _sendgrid(account, table, clock)
        case _:
            assert_never(table)


def capabilities(settings: Settings) -> dict[RelayAccount, Capabilities]:
    """What each account's adapter can do, known without building it."""
    return {account: _capabilities(table) for account, table in settings.relays.items()}


def _capabilities(table: SmtpAccountSettings | SendGridAccountSettings) -> Capabilities:
    match table:
        case SmtpAccountSettings():
            return SMTP_CAPABILITIES
        case SendGridAccountSettings():
            return sender.CAPABILITIES
        case _:
            assert_never(table)


def build_readers(settings: Settings, clock: Clock) -> dict[tuple[str, RelayAccount], CallbackReader]:
    """Who reads the callbacks of which account."""
    made = (build_reader(account, settings, clock) for account in settings.relays)
    return {(reader.relay, reader.account): reader for reader in made if reader is not None}


def build_reader(account: RelayAccount, settings: Settings, clock: Clock) -> CallbackReader | None:
    """Who reads an account's callbacks; None where nobody calls back, as with SMTP. Raises Misconfigured."""
    table = settings.relay(account)
    match table:
        case SmtpAccountSettings():
            return None
        case SendGridAccountSettings():
            key = secret(table.webhook_key, "", table.webhook_key_file)
            return callbacks.SendGridCallbacks(account, key, clock)
        case _:
            assert_never(table)


def build_inbox_readers(settings: Settings, clock: Clock) -> dict[tuple[str, RelayAccount], CallbackReader]:
    """Who reads what is in the inbox. The sandbox writes there itself; it is none of `build_readers`, so
    that nobody can post in its name."""
    sandbox = SandboxCallbacks()
    return {**build_readers(settings, clock), (sandbox.relay, sandbox.account): sandbox}


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
    smtp, sendgrid = [], []
    for account, table in settings.relays.items():
        if not table.simulator:
            continue
        match table:
            case SmtpAccountSettings():
                smtp.append(SimulatedSmtp(name=account, port=table.port))
            case SendGridAccountSettings():
                sendgrid.append(
                    SimulatedSendGrid(
                        name=account,
                        api_key=secret("", table.api_key_env, table.api_key_file),
                        key_path=signing_key_path(table),
                        webhook_url=f"http://{house.host}:{house.api_port}/hooks/sendgrid/{account}",
                        port=urlsplit(table.base_url).port or 80,
                    )
                )
            case _:
                assert_never(table)
    return SimulatorSettings(
        folder=settings.data_dir / "simulator",
        host=house.host,
        control_port=knobs.control_port,
        seed=knobs.seed,
        time_scale=knobs.time_scale,
        keep_bodies=knobs.keep_bodies,
        smtp=tuple(smtp),
        sendgrid=tuple(sendgrid),
    )


def signing_key_path(table: SendGridAccountSettings) -> Path:
    """A simulated account's private key lies beside its public one. Only the simulator reads it."""
    return Path(table.webhook_key_file).with_suffix(".pem")


def smtp_account(account: RelayAccount, table: SmtpAccountSettings) -> SmtpAccount:
    """Raises Misconfigured."""
    password = secret("", table.password_env, table.password_file)
    return SmtpAccount(
        account=account,
        host=table.host,
        port=table.port,
        helo_name=socket.getfqdn(),
        tls=Tls(table.tls),
        user=table.user or None,
        password=password or None,
        max_connections=table.max_connections,
        allow_clear_text_auth=table.simulator,
    )


def _sendgrid(account: RelayAccount, table: SendGridAccountSettings, clock: Clock) -> Relay:
    parts = urlsplit(table.base_url)
    allowed = frozenset({f"{parts.hostname}:{parts.port}"}) if table.simulator else frozenset()
    relay = sender.SendGridAccount(
        account=account,
        api_key=secret("", table.api_key_env, table.api_key_file),
        base_url=table.base_url,
        max_concurrency=table.max_concurrency,
    )
    return sender.SendGridRelay(relay, HttpClient(EgressPolicy(allowed), LIMITS), clock)
