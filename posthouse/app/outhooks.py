"""Outgoing webhooks, put together from the settings."""

import asyncio
import random
import secrets
from datetime import timedelta
from typing import Final

from posthouse.app.house import House
from posthouse.config import Settings
from posthouse.keyring import Keyring
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.outhooks.desk import Desk
from posthouse.outhooks.sending import Sender
from posthouse.outhooks.signing import SecretBox
from posthouse.storage.db import Database
from posthouse.storage.webhooks import MAX_ENDPOINTS
from posthouse.worker.outhooks import Outhooks, Terms

_CONNECT: Final = 5.0  # seconds
#: What is read of an answer: a longer one costs its connection, not memory.
_REPLY_BYTES: Final = 16 * 1024
#: Beside the time of an attempt: its answer waits for the database.
_LEASE_MARGIN: Final = timedelta(minutes=1)


def webhook_desk(db: Database, settings: Settings, keyring: Keyring) -> Desk:
    return Desk(db, SecretBox(keyring.webhooks), _policy(settings), secrets.token_bytes, secrets.randbits)


async def tell_endpoints(house: House, stop: asyncio.Event) -> None:
    """Until `stop`."""
    settings = house.settings.webhooks
    timeout = settings.timeout.total_seconds()
    # No endpoint waits for another's connections: there is room for the whole share of each.
    limits = ClientLimits(
        connect=min(_CONNECT, timeout),
        total=timeout,
        connections=2 * MAX_ENDPOINTS * settings.concurrency,
        reply_bytes=_REPLY_BYTES,
    )
    http = HttpClient(_policy(house.settings), limits)
    sender = Sender(
        http,
        SecretBox(house.keyring.webhooks),
        house.clock,
        random.Random(secrets.randbits(64)),  # noqa: S311  # jitter and ids, not secrets
        settings.retries,
    )
    terms = Terms(settings.concurrency, settings.timeout + _LEASE_MARGIN, settings.disable_after)
    try:
        await Outhooks(house.queue, sender, terms, house.metrics).run(stop)
    finally:
        await http.close()


def _policy(settings: Settings) -> EgressPolicy:
    return EgressPolicy(frozenset(host.lower() for host in settings.webhooks.allow_hosts))
