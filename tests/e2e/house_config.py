"""The configuration of a house under test: everything simulated, and what takes minutes takes seconds."""

import random
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CONFIG: Final = "posthouse.toml"
SLOTS: Final = 32
_PORTS: Final = (
    "api", "track", "processor", "dispatcher", "transactional", "marketing", "smtp", "sendgrid", "control",
)  # fmt: skip

_CONFIGURATION: Final = """
[house]
data_dir = "{folder}"
api_port = {api}
track_port = {track}
processor_port = {processor}
dispatcher_port = {dispatcher}
worker_ports = {{ transactional = {transactional}, marketing = {marketing} }}

[database]
pool_size = 4

[lease]
beat_every = "300ms"
begin_within = "1s"
dead_after = "2s"

[retry]
soft_bounce = ["300ms", "300ms", "300ms"]
base = "200ms"
cap = "1s"
longest_hint = "1s"

[streams.transactional]
relays = {transactional_relays}
from_domains = ["shop.example"]
tracking_url = "http://127.0.0.1:{track}"
bounce_domain = "bounce.shop.example"
unknown_after = "1s"
slots = {slots}

[streams.marketing]
relays = ["sim-sendgrid"]
from_domains = ["news.shop.example"]
tracking_url = "http://localhost:{track}"
bounce_domain = "bounce.news.shop.example"
list_id = "news.shop.example"
unknown_after = "2s"
slots = {slots}

[relays.sim-smtp]
kind = "smtp"
host = "127.0.0.1"
port = {smtp}
tls = "none"
simulator = true

[relays.sim-sendgrid]
kind = "sendgrid"
base_url = "http://127.0.0.1:{sendgrid}"
api_key_file = "{folder}/simulator/sendgrid.key"
webhook_key_file = "{folder}/simulator/sendgrid.pub"
simulator = true

[simulation]
control_port = {control}
time_scale = 0.005
"""


def configuration(folder: Path, transactional_relays: Sequence[str] = ("sim-smtp",)) -> str:
    """In this folder, on free ports."""
    names = (
        "api",
        "track",
        "processor",
        "dispatcher",
        "transactional",
        "marketing",
        "smtp",
        "sendgrid",
        "control",
    )
    return _CONFIGURATION.format(
        folder=folder,
        slots=SLOTS,
        transactional_relays=list(transactional_relays),
        **dict(zip(names, free_ports(len(names)), strict=True)),
    )


def free_ports(count: int) -> list[int]:
    """Ports below those that the kernel gives to outgoing connections: a role that is started again finds its
    port as it left it."""
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")
