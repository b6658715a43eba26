"""What all accounts of a simulation share, and what an account of an HTTP relay brings into it."""

import asyncio
import random
from dataclasses import dataclass

from aiohttp.web import Application

from posthouse.clock import Clock
from posthouse.simulator.events import EventLog
from posthouse.simulator.faults import FaultBoard
from posthouse.simulator.ledger import Ledger, Via
from posthouse.simulator.loopback import LoopbackBrowser
from posthouse.simulator.people import Agenda
from posthouse.simulator.postoffice import PostOffice
from posthouse.simulator.settings import SimulatorSettings, WebhookHabits
from posthouse.simulator.store import MessageStore
from posthouse.simulator.webhooks import Outbox, Style, Webhook


@dataclass(frozen=True, slots=True)
class World:
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

    def webhook(
        self,
        account: str,
        url: str | None,
        style: Style,
        habits: WebhookHabits,
        *,
        ready: asyncio.Event | None = None,
    ) -> Webhook | None:
        """The webhook of one account; None for one that says not where to. Nothing is posted before it is
        `ready`."""
        if url is None:
            return None
        return Webhook(
            url,
            style,
            habits,
            events=self.events,
            clock=self.clock,
            rng=random.Random(f"{self.settings.seed}:{account}"),  # noqa: S311  # habits, not secrets
            time_scale=self.settings.time_scale,
            ready=ready,
        )


@dataclass(frozen=True, slots=True)
class HttpSide:
    """One account of an HTTP relay: what answers on its port, and what calls back."""

    kind: Via
    app: Application
    webhook: Webhook | None
    public_key: str | None = None  # what the vendor shows of the key that signs its callbacks
    queue: Outbox | None = None  # where its events wait to be fetched, if they are not posted
