"""What the vendors with an API over HTTP share."""

from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy

#: A claimed mail waits no longer than a second for a connection: then it goes back, to be checked again.
LIMITS: Final = ClientLimits(connect=1.0)


def http_client(
    base_url: str,
    *,
    simulated: bool,
    reply_bytes: int = LIMITS.reply_bytes,
    total: float = LIMITS.total,
) -> HttpClient:
    """A client for one vendor's API. Only a simulated one may be at a private address. `total`: seconds that
    a request may take."""
    parts = urlsplit(base_url)
    allowed = frozenset({f"{parts.hostname}:{parts.port}"}) if simulated else frozenset()
    return HttpClient(EgressPolicy(allowed), replace(LIMITS, reply_bytes=reply_bytes, total=total))


def port_of(base_url: str) -> int:
    """Where the simulator must listen."""
    return urlsplit(base_url).port or 80
