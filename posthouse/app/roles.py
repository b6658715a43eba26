"""Each role of the house, put together and run until it is told to stop."""

import asyncio
import random
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack

from posthouse.app import maintenance
from posthouse.app.adapters import (
    asking,
    build_inbox_readers,
    build_inquirers,
    build_relay,
    capabilities,
    doubt_rules,
    simulation,
)
from posthouse.app.bus import callback_sink, job_source, processor_bus
from posthouse.app.callbacks import open_door, pull_all
from posthouse.app.collector import calm_collector
from posthouse.app.composer import build_composer
from posthouse.app.house import House, open_house
from posthouse.app.outhooks import tell_endpoints, webhook_desk
from posthouse.app.probes import NO_PORT, serve_ops
from posthouse.bus.port import JobSource
from posthouse.bus.postgres import PostgresCallbacks, PostgresHints, QuarantinedJobs
from posthouse.compose.aside import ComposerAside
from posthouse.compose.header_text import refuse_breaks
from posthouse.compose.headers import check_headers
from posthouse.compose.mime import to_raw
from posthouse.compose.unsubscribe import UnsubscribeTokens
from posthouse.config import Settings
from posthouse.delivery.router import Router
from posthouse.delivery.verdict import Backoff
from posthouse.domain.errors import NotNow
from posthouse.domain.event import Event
from posthouse.domain.ids import RANDOM_BITS, InstanceId, uuid7
from posthouse.domain.stream import Stream
from posthouse.ingest.normalize import Normalized, Refused, normalize
from posthouse.intake.group import Intake
from posthouse.intake.policy import policies
from posthouse.intake.rows import RowMaker
from posthouse.intake.validate import Rules
from posthouse.relays.base import RawCallback
from posthouse.relays.sandbox import SandboxRelay
from posthouse.simulator.main import run as run_simulator
from posthouse.status.changes import Changes
from posthouse.storage import links
from posthouse.storage.background import in_background
from posthouse.storage.dbclock import DatabaseClock
from posthouse.telemetry import log
from posthouse.web import server
from posthouse.web.api.deps import api_deps
from posthouse.web.api.rate_limit import RateLimit
from posthouse.web.granian_server import serve_on_granian
from posthouse.web.links import LinkCache
from posthouse.web.recorder import Recorder as ReaderRecorder
from posthouse.web.server import Sharing
from posthouse.web.spool import Spool
from posthouse.web.tracking import Tracking, build_tracking
from posthouse.web.unsubscribe import suppress as suppress_reader
from posthouse.worker import processor
from posthouse.worker.chores import Chore, do_chores
from posthouse.worker.composing import Composing, find_source
from posthouse.worker.files import FILES_BYTES, Files, load_files
from posthouse.worker.handlers import Tools, handle
from posthouse.worker.lease import Lease, LeaseTerms
from posthouse.worker.loop import Worker
from posthouse.worker.poison import PoisonLimit
from posthouse.worker.recorder import Recorder
from posthouse.worker.slots import Slots
from posthouse.worker.sweeping import ask, sweep
from posthouse.worker.unplaced import suppress_unplaced

LINK_CACHE_BYTES = 64_000_000
SPOOL_BYTES = 256_000_000
KEY_USES_EVERY = 60.0  # seconds


async def run_api(settings: Settings, stop: asyncio.Event, sharing: Sharing = Sharing.ALONE) -> None:
    """The HTTP API and the relays' webhooks."""
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
        api = server.build_api(deps)
        calm_collector()
        async with in_background(do_chores([uses], stop), "chores"):
            await serve_on_granian(api, settings.house.host, settings.house.api_port, stop, sharing=sharing)
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


async def run_worker(settings: Settings, stream: Stream, stop: asyncio.Event) -> None:
    """Takes one stream's jobs and hands them over."""
    async with open_house(settings) as house:
        instance = new_instance(house)
        slots = Slots(settings.streams[stream].slots, house.clock)
        port = settings.house.worker_ports[stream]
        async with job_source(house, stream, instance) as source:
            await _work(house, source, stream, f"worker.{stream}", slots, instance, port, stop)


async def run_quarantine(settings: Settings, stream: Stream, stop: asyncio.Event) -> None:
    """Takes, one at a time, the mails that workers died of; ends when there are none."""
    async with open_house(settings) as house:
        instance = new_instance(house)
        emptied = asyncio.Event()
        source = QuarantinedJobs(house.queue, stream, instance, emptied.set)
        slots = Slots(1, house.clock)
        ended = asyncio.create_task(_first(stop, emptied))
        finished = asyncio.Event()
        ended.add_done_callback(lambda _: finished.set())
        await _work(house, source, stream, "quarantine", slots, instance, NO_PORT, finished)


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _work(
    house: House,
    source: JobSource,
    stream: Stream,
    role: str,
    slots: Slots,
    instance: InstanceId,
    port: int,
    stop: asyncio.Event,
) -> None:
    """A worker with its lease, its recorder and its probes around it."""
    settings = house.settings
    lease = Lease(
        house.general,
        instance,
        LeaseTerms(settings.lease.beat_every, settings.lease.begin_within),
        house.clock,
    )

    async def record(events: Sequence[Event]) -> None:
        await house.record(events)

    async with AsyncExitStack() as stack:
        relays = [build_relay(a, settings, house.clock, house.rng) for a in settings.streams[stream].relays]
        for relay in relays:
            stack.push_async_callback(relay.close)
        composer = build_composer(settings, house.keyring, house.clock)
        stack.callback(composer.close)
        recorder = Recorder(record)
        hints = PostgresHints(house.hinter)
        callbacks = PostgresCallbacks(house.general, house.listener, hints.callbacks_waiting)
        tools = Tools(
            source=source,
            compose=Composing(house.queue, composer, house.clock),
            files=Files(lambda ids: load_files(house.queue, ids), FILES_BYTES),
            to_raw=to_raw,
            router=Router(relays, house.clock, house.rng),
            sandbox=SandboxRelay(callbacks.append, house.clock),
            recorder=recorder,
            gate=lease.may_begin,
            clock=house.clock,
            rng=house.rng,
            backoff=Backoff(settings.retry.base, settings.retry.cap, settings.retry.longest_hint),
            metrics=house.metrics,
        )
        worker = Worker(source, tools.router, slots, lambda jobs, finished: handle(tools, jobs, finished))
        house.metrics.slots_used.labels(stream.value).set_function(lambda: slots.used)
        await lease.enlist(role, stream)
        ending = asyncio.Event()
        async with in_background(_keep(lease, ending), "lease"):
            async with asyncio.TaskGroup() as group:
                around = [
                    group.create_task(_pass_on(stop, ending)),
                    group.create_task(recorder.run()),
                    group.create_task(serve_ops(house, port)),
                ]
                await worker.run(ending)
                for task in around:
                    task.cancel()
            if worker.idle:
                await lease.retire()


async def _keep(lease: Lease, ending: asyncio.Event) -> None:
    """A worker without its lease drains before it ends: what relays have told it is recorded, late or not."""
    try:
        await lease.keep()
    finally:
        ending.set()


async def _pass_on(told: asyncio.Event, ending: asyncio.Event) -> None:
    await told.wait()
    ending.set()


def new_instance(house: House) -> InstanceId:
    return InstanceId(uuid7(int(house.clock.now().timestamp() * 1000), secrets.randbits(RANDOM_BITS)))


async def run_processor(settings: Settings, stop: asyncio.Event) -> None:
    """What comes back from relays, dead workers, and the chores of the house."""
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(settings))
        readers = build_inbox_readers(settings, house.keyring, house.clock)
        inquirers = build_inquirers(settings, house.clock)
        for inquirer in inquirers.values():
            stack.push_async_callback(inquirer.close)
        asks, rules = asking(settings, inquirers, house.metrics), doubt_rules(settings)

        def read(callback: RawCallback) -> Normalized | Refused:
            reader = readers.get((callback.relay, callback.account))
            return (
                Refused("its relay account is not configured")
                if reader is None
                else normalize(callback, reader)
            )

        inbox = PostgresCallbacks(house.general, house.listener, lambda _: None)
        bus = await stack.enter_async_context(processor_bus(house, inbox))
        tools = processor.ProcessorTools(
            log=bus.log,
            normalize=read,
            record=house.record,
            suppress=lambda unplaced: suppress_unplaced(house.general, unplaced, house.clock.now()),
            poison=PoisonLimit(settings.house.poison_limit),
            clock=house.clock,
            metrics=house.metrics,
        )
        sink = tools.log
        async with asyncio.TaskGroup() as group:
            ops = group.create_task(serve_ops(house, settings.house.processor_port))
            pulls = group.create_task(pull_all(settings, house.clock, sink, house.metrics))
            group.create_task(processor.run(tools, stop))
            group.create_task(tell_endpoints(house, stop))
            group.create_task(do_chores([*maintenance.chores(house), *bus.chores], stop))
            group.create_task(
                sweep(
                    house.queue,
                    settings.lease.dead_after,
                    rules,
                    asks.streams,
                    house.policy,
                    house.clock,
                    stop,
                )
            )
            group.create_task(ask(house.queue, asks, rules, house.policy, house.clock, stop))
            await stop.wait()
            ops.cancel()
            pulls.cancel()


async def run_track(settings: Settings, stop: asyncio.Event, sharing: Sharing = Sharing.ALONE) -> None:
    """Pixels, links and unsubscribing: what readers reach."""
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_house(settings, without_database=True))
        folder = settings.data_dir / "track"

        async def record(events: Sequence[Event]) -> None:
            await house.record(events)

        spool = Spool(folder / "spool", max_bytes=SPOOL_BYTES)
        deps = Tracking(
            find_link=lambda link_hash, job_id: links.find(house.general, link_hash, job_id),
            tokens=UnsubscribeTokens(house.keyring.unsubscribe),
            suppress=lambda token, now: suppress_reader(house.general, token, now),
            find_trouble=_no_trouble,  # known links and pixels are answered while the database is away
            links=await stack.enter_async_context(
                LinkCache(folder / "links.jsonl", max_bytes=LINK_CACHE_BYTES).running()
            ),
            recorder=await stack.enter_async_context(
                ReaderRecorder(record, spool, clock=house.clock, metrics=house.metrics).running()
            ),
            clock=house.clock,
            rng=random.Random(secrets.randbits(64)),  # noqa: S311  # ids of events, not secrets
            metrics=house.metrics,
            job_retention=settings.retention.jobs,
            link_retention=settings.retention.links,
        )
        app = build_tracking(deps)
        await server.serve(app, settings.house.host, settings.house.track_port, stop, sharing)


async def run_simulation(settings: Settings, stop: asyncio.Event) -> None:
    """Pretend relays and the people behind them."""
    await run_simulator(simulation(settings), stop)


async def _no_trouble() -> Sequence[str]:
    return []
