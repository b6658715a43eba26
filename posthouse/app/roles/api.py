"""The HTTP API and the relays' webhooks."""

import asyncio
import secrets
from contextlib import AsyncExitStack

from posthouse.app.adapters import capabilities
from posthouse.app.bus import callback_sink
from posthouse.app.callbacks import open_door
from posthouse.app.collector import calm_collector
from posthouse.app.composer import build_composer
from posthouse.app.house import open_house
from posthouse.app.outhooks import webhook_desk
from posthouse.app.role import Part
from posthouse.bus.postgres import PostgresCallbacks, PostgresHints
from posthouse.compose.aside import ComposerAside
from posthouse.compose.header_text import refuse_breaks
from posthouse.compose.headers import check_headers
from posthouse.config import Settings
from posthouse.domain.errors import NotNow
from posthouse.domain.stream import Stream
from posthouse.intake.group import Intake
from posthouse.intake.policy import policies
from posthouse.intake.rows import RowMaker
from posthouse.intake.validate import Rules
from posthouse.status.changes import Changes
from posthouse.storage.background import in_background
from posthouse.storage.dbclock import DatabaseClock
from posthouse.telemetry import log
from posthouse.web.api.deps import api_deps
from posthouse.web.api.rate_limit import RateLimit
from posthouse.web.application import build_api
from posthouse.web.granian_server import serve_on_granian
from posthouse.worker.chores import Chore, do_chores
from posthouse.worker.composing import find_source

KEY_USES_EVERY = 60.0  # seconds


async def run(settings: Settings, part: Part, stop: asyncio.Event) -> None:
    """Answer until told to stop; what was taken in is committed before the end."""
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(settings))
        time = await stack.enter_async_context(DatabaseClock(house.general, house.clock).running())
        composer = ComposerAside(build_composer(settings, house.keyring, house.clock))
        stack.callback(composer.close)
        hints = PostgresHints(house.hinter)

        def accepted(stream: Stream, jobs: int) -> None:
            house.metrics.accepted.labels(stream.value).inc(jobs)
            hints.jobs_due(stream.value)

        rows = RowMaker(content_key=house.keyring.contents, random_bits=secrets.randbits)
        intake = Intake(house.general, rows, now_ms=time.now_ms, accepted=accepted)
        inbox = PostgresCallbacks(house.general, house.listener, hints.callbacks_waiting)
        sink = await stack.enter_async_context(callback_sink(house, inbox))
        deps = api_deps(
            database=house.general,
            intake=intake,
            changes=Changes(house.queue, house.policy, house.rng),
            jobs_due=lambda stream: hints.jobs_due(stream.value),
            rules=_rules(settings),
            receiver=await stack.enter_async_context(open_door(settings, house.clock, sink)),
            metrics=house.metrics,
            clock=house.clock,
            now_ms=time.now_ms,
            max_body_bytes=settings.house.max_body_bytes,
            composer=composer,
            rate_limit=_rate_limit(settings),
            find_source=lambda job: find_source(house.general, job),
            webhooks=webhook_desk(house.general, settings, house.keyring),
        )
        uses = Chore("store when keys were used", KEY_USES_EVERY, deps.keys.write_uses)
        api = build_api(deps)
        calm_collector()
        async with in_background(do_chores([uses], stop), "chores"):
            await serve_on_granian(
                api, settings.house.host, settings.house.api_port, stop, sharing=part.sharing
            )
        await intake.drain()
        await _last_time(uses)


def _rate_limit(settings: Settings) -> RateLimit:
    api = settings.api
    return RateLimit(api.rate_limit.per_second, api.rate_burst or api.rate_limit.count)


async def _last_time(chore: Chore) -> None:
    """On the way out: a database that is away costs no more than what the chore would have done."""
    try:
        await chore.work()
    except NotNow as error:
        log.warning("chore given up", chore=chore.name, reason=error.message)


def _rules(settings: Settings) -> Rules:
    shows = {account: can.shows_other_recipients for account, can in capabilities(settings).items()}
    return Rules(
        streams=policies(settings, shows_other_recipients=shows),
        max_recipients=settings.house.max_recipients,
        max_attachment_bytes=settings.house.max_attachment_bytes,
        check_headers=check_headers,
        check_line=refuse_breaks,
    )
