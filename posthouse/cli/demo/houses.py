"""The houses that the demo sends through: one for each kind of relay, and one of both old kinds."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, assert_never

from posthouse.domain.event import EventType


class DemoRelay(StrEnum):
    """What both streams are sent by."""

    SMTP = "smtp"
    SENDGRID = "sendgrid"
    MAILGUN = "mailgun"
    POSTMARK = "postmark"
    SES = "ses"


@dataclass(frozen=True, slots=True)
class _Account:
    """A simulated account: its name, its kind and its port. `pulls`: its events wait in a queue to be
    fetched, if its kind has one."""

    name: str
    kind: DemoRelay
    port: int
    pulls: bool = False


#: Plain SMTP tells of late bounces and complaints by mail; of what arrived, and of what it dropped, never.
_SILENT: Final = frozenset({EventType.DELIVERED, EventType.REJECTED})

#: Kinds of event that cannot come from this kind of relay.
NEVER_HEARD: Final[Mapping[DemoRelay, frozenset[EventType]]] = {
    DemoRelay.SMTP: _SILENT,
    DemoRelay.SENDGRID: frozenset(),
    DemoRelay.MAILGUN: frozenset(),
    DemoRelay.POSTMARK: frozenset(),
    DemoRelay.SES: frozenset(),
}


def never_heard(relay: DemoRelay | None) -> frozenset[EventType]:
    return NEVER_HEARD[relay] if relay is not None else frozenset()


def configuration(folder: Path, relay: DemoRelay | None) -> str:
    """A house of its own: its own folder, free ports, simulated relays, and retries within seconds. Both
    streams by `relay`; None: transactional by SMTP, marketing by SendGrid."""
    api, track, processor, one, two, first, second, control, mail, inbound = free_ports(10)
    transactional = (
        _Account(f"sim-{relay}-transactional", relay, first)
        if relay
        else _Account("sim-smtp", DemoRelay.SMTP, first)
    )
    marketing = (
        _Account(f"sim-{relay}-marketing", relay, second, pulls=True)
        if relay
        else _Account("sim-sendgrid", DemoRelay.SENDGRID, second)
    )
    return f"""
[house]
data_dir = "{folder}"
api_port = {api}
track_port = {track}
processor_port = {processor}
worker_ports = {{ transactional = {one}, marketing = {two} }}

[retry]
soft_bounce = ["2s", "3s", "4s"]
base = "500ms"
cap = "3s"
longest_hint = "3s"

[streams.transactional]
relays = ["{transactional.name}"]
from_domains = ["shop.example"]
tracking_url = "http://127.0.0.1:{track}"
bounce_domain = "bounce.shop.example"
unknown_after = "3s"

[streams.marketing]
relays = ["{marketing.name}"]
from_domains = ["news.shop.example"]
tracking_url = "http://localhost:{track}"
bounce_domain = "bounce.news.shop.example"
list_id = "news.shop.example"
unknown_after = "10s"
# Nobody is at hand to resolve what a silent relay leaves in doubt.
repeat_unknown = true
{_table(folder, transactional)}
{_table(folder, marketing)}
{_inbound(mail, inbound) if relay is DemoRelay.SMTP else ""}
[simulation]
control_port = {control}
time_scale = 0.01
"""


def _inbound(port: int, ops_port: int) -> str:
    """Where reports of late bounces and complaints are mailed to."""
    return f"""
[inbound]
port = {port}
ops_port = {ops_port}
feedback_addresses = ["fbl@bounce.news.shop.example"]
"""


def _table(folder: Path, account: _Account) -> str:
    return f"""
[relays.{account.name}]
kind = "{account.kind}"
{_keys(folder, account)}
simulator = true
"""


def _keys(folder: Path, account: _Account) -> str:
    """What its kind needs to be reached, let in and believed."""
    secrets = f"{folder}/simulator/{account.name}"
    match account.kind:
        case DemoRelay.SMTP:
            return f'''host = "127.0.0.1"
port = {account.port}
tls = "none"'''
        case DemoRelay.SENDGRID:
            return f'''base_url = "http://127.0.0.1:{account.port}"
api_key_file = "{secrets}.key"
webhook_key_file = "{secrets}.pub"'''
        case DemoRelay.POSTMARK:
            return f'''base_url = "http://127.0.0.1:{account.port}"
server_token_file = "{secrets}.key"
webhook_user = "posthouse"
webhook_password_file = "{secrets}.password"'''
        case DemoRelay.MAILGUN:
            return f'''base_url = "http://127.0.0.1:{account.port}"
domain = "{account.name}.shop.example"
api_key_file = "{secrets}.key"
webhook_signing_key_file = "{secrets}.signing"
accepted_webhook = true'''
        case DemoRelay.SES:
            queue = f"http://127.0.0.1:{account.port}/123456789012/{account.name}"
            topic = f"arn:aws:sns:eu-west-1:123456789012:{account.name}"
            return f'''base_url = "http://127.0.0.1:{account.port}"
region = "eu-west-1"
configuration_set = "posthouse"
access_key_id = "AKIASIMULATOR"
secret_access_key_file = "{secrets}.key"
{f'queue_url = "{queue}"' if account.pulls else f'topic_arns = ["{topic}"]'}'''
        case _:
            assert_never(account.kind)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now. One that is taken before its use stops the start, aloud."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def on_kafka(servers: str) -> str:
    """One broker, which can have one copy of everything."""
    return f"""
[kafka]
bootstrap_servers = "{servers}"
partitions = 6
replication_factor = 1
min_insync_replicas = 1
"""
