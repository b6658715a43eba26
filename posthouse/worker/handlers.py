"""What a worker does with the jobs it claimed, as one sentence: compose, hand over, record."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from posthouse.bus.port import JobSource
from posthouse.clock import Clock
from posthouse.delivery.router import Router
from posthouse.delivery.verdict import Backoff, HandedOver, event_of, failed
from posthouse.domain.errors import NotNow, RenderFailed
from posthouse.domain.event import Event
from posthouse.domain.job import ClaimedJob, Held
from posthouse.domain.message import RawMail, Rendered
from posthouse.failpoints import failpoint
from posthouse.relays.base import Gate, NotBegun, Outcome, Relay, Tell, tell_nobody
from posthouse.telemetry import Metrics
from posthouse.worker.files import Files
from posthouse.worker.recorder import Recorder

#: Mails handed over, and recorded, together; one slow answer holds up no more than these.
SET_SIZE: Final = 16
#: What is known of a set by then is recorded, while its relay still owes answers: what could not begin within
#: a second goes elsewhere, whatever becomes of the others. Seconds.
EARLY: Final = 1.25
#: A job that could not begin for want of a relay or a connection comes back within about this long.
COMES_BACK: Final = 1.0

Ready = tuple[ClaimedJob, Rendered]
Broken = tuple[ClaimedJob, RenderFailed]
Finished = Callable[[Sequence[ClaimedJob]], None]


@dataclass(frozen=True, slots=True)
class Tools:
    """What handling needs, bound by the composition root."""

    source: JobSource
    #: Renders a claim and makes its links durable, in order. Raises NotNow.
    compose: Callable[[Sequence[ClaimedJob]], Awaitable[Sequence[Rendered | RenderFailed]]]
    to_raw: Callable[[Rendered], RawMail]
    files: Files
    router: Router  # to the relays of live mail
    sandbox: Relay  # takes the mail of test keys, which the router's relays must never see
    recorder: Recorder
    gate: Gate
    clock: Clock
    rng: random.Random
    backoff: Backoff
    metrics: Metrics


#: Hands one set over and records what became of it.
HandOver = Callable[[Tools, Sequence[Ready], Finished], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Answered:
    """A set with its outcomes, in order: from whom and when."""

    relay: Relay
    ready: Sequence[Ready]
    outcomes: Sequence[Outcome]
    at: datetime


async def handle(tools: Tools, jobs: Sequence[ClaimedJob], finished: Finished) -> None:
    """Take a claim to its outcomes; `finished` is told of each set of which nothing is in hand any more."""
    failpoint("worker.claimed")
    try:
        composed = await tools.compose(jobs)
    except NotNow:
        await _give_back(tools, [job.held for job in jobs])
        finished(jobs)
        return
    failpoint("worker.composed")
    ready, broken = _ready_or_broken(jobs, composed)
    most = tools.files.set_bytes
    async with asyncio.TaskGroup() as sets:
        if broken:
            sets.create_task(_end_broken(tools, broken, finished))
        for live in _sets([one for one in ready if not one[0].sandbox], most):
            sets.create_task(_with_files(tools, live, finished, _deliver))
        for sandboxed in _sets([one for one in ready if one[0].sandbox], most):
            sets.create_task(_with_files(tools, sandboxed, finished, _pretend))


def _ready_or_broken(
    jobs: Sequence[ClaimedJob], mails: Sequence[Rendered | RenderFailed]
) -> tuple[list[Ready], list[Broken]]:
    ready: list[Ready] = []
    broken: list[Broken] = []
    for job, mail in zip(jobs, mails, strict=True):
        if isinstance(mail, RenderFailed):
            broken.append((job, mail))
        else:
            ready.append((job, mail))
    return ready, broken


def _sets(ready: Sequence[Ready], most: int) -> Iterator[Sequence[Ready]]:
    """SET_SIZE mails and `most` bytes of files in each, or one mail that has more. Mails without files go
    first and wait for no other's."""
    plain = [one for one in ready if not one[1].files]
    yield from (plain[start : start + SET_SIZE] for start in range(0, len(plain), SET_SIZE))
    taken: list[Ready] = []
    size = 0
    for one in (one for one in ready if one[1].files):
        more = one[1].files_size
        if taken and (len(taken) == SET_SIZE or size + more > most):
            yield taken
            taken, size = [], 0
        taken.append(one)
        size += more
    if taken:
        yield taken


async def _end_broken(tools: Tools, broken: Sequence[Broken], finished: Finished) -> None:
    """Mails that cannot be composed end here, each with its reason."""
    now = tools.clock.now()
    await tools.recorder.recorded([failed(job, error.message, now) for job, error in broken])
    finished([job for job, _ in broken])


async def _with_files(tools: Tools, ready: Sequence[Ready], finished: Finished, hand_over: HandOver) -> None:
    """Hand over one set with the bytes of its files, if they can be had soon: then it goes back."""
    if not any(mail.files for _, mail in ready):
        await hand_over(tools, ready, finished)
        return
    try:
        loaded = await tools.files.load([mail for _, mail in ready])
    except NotNow:
        # Around nothing but the loading: what was handed over must never be given back.
        await _give_back(tools, [job.held for job, _ in ready])
        finished([job for job, _ in ready])
        return
    with loaded:
        whole, broken = _ready_or_broken([job for job, _ in ready], loaded.mails)
        if broken:
            await _end_broken(tools, broken, finished)
        if whole:
            await hand_over(tools, whole, finished)


async def _deliver(tools: Tools, ready: Sequence[Ready], finished: Finished) -> None:
    """Hand over one set of live mail, and record what became of it."""
    relay = tools.router.choose()
    if relay is None:
        await _give_back(tools, [job.held for job, _ in ready])
        finished([job for job, _ in ready])
        return
    owed = dict(enumerate(ready))
    known: dict[int, Outcome] = {}
    tools.router.given(relay, len(ready))
    sending = asyncio.create_task(_sent_by(relay, tools, ready, known.__setitem__))
    try:
        while not (await asyncio.wait([sending], timeout=EARLY))[0]:
            await _settle_part(tools, relay, owed, known, finished)
        await _settle_part(tools, relay, owed, dict(enumerate(sending.result())), finished)
    finally:
        sending.cancel()


async def _settle_part(
    tools: Tools, relay: Relay, owed: dict[int, Ready], known: Mapping[int, Outcome], finished: Finished
) -> None:
    """Of the mails that are owed an answer, settle those whose answer is known. They are owed none then."""
    places = [place for place in owed if place in known]
    if not places:
        return
    ready, outcomes = [owed.pop(place) for place in places], [known[place] for place in places]
    tools.router.learn(relay, outcomes)
    await _settle(tools, _Answered(relay, ready, outcomes, tools.clock.now()), finished)


async def _pretend(tools: Tools, ready: Sequence[Ready], finished: Finished) -> None:
    """One set of test keys' mail to the sandbox. Its own events may be recorded before its answer is, so that
    answer is dated from before them."""
    now = tools.clock.now()
    outcomes = await _sent_by(tools.sandbox, tools, ready)
    await _settle(tools, _Answered(tools.sandbox, ready, outcomes, now), finished)


async def _sent_by(
    relay: Relay, tools: Tools, ready: Sequence[Ready], tell: Tell = tell_nobody
) -> list[Outcome]:
    return await relay.send_many([_for(relay, tools, mail) for _, mail in ready], tools.gate, tell)


async def _settle(tools: Tools, answered: _Answered, finished: Finished) -> None:
    """Record what was handed over, give back what was not begun."""
    events, not_begun = _told_apart(tools, answered)
    _measure(tools.metrics, answered)
    failpoint("worker.before_record")
    await tools.recorder.recorded(events)
    failpoint("worker.recorded")
    await _give_back(tools, not_begun)
    finished([job for job, _ in answered.ready])


def _told_apart(tools: Tools, answered: _Answered) -> tuple[list[Event], list[Held]]:
    """The events of those that were handed over, and the jobs that were not begun."""
    events: list[Event] = []
    not_begun: list[Held] = []
    for (job, mail), outcome in zip(answered.ready, answered.outcomes, strict=True):
        done = HandedOver(job, outcome, answered.relay.account, answered.at, mail.template_version)
        event = event_of(done, tools.backoff, tools.rng)
        if event is None:
            not_begun.append(job.held)
        else:
            events.append(event)
    return events, not_begun


def _measure(metrics: Metrics, answered: _Answered) -> None:
    for name, count in Counter(type(outcome).__name__ for outcome in answered.outcomes).items():
        metrics.outcomes.labels(answered.relay.account, name).inc(count)
    age = metrics.handover_age.labels(answered.ready[0][0].stream.value)  # a worker has one stream
    for (job, _), outcome in zip(answered.ready, answered.outcomes, strict=True):
        if not isinstance(outcome, NotBegun):
            age.observe(max(0.0, (answered.at - job.due_at).total_seconds()))


def _for(relay: Relay, tools: Tools, mail: Rendered) -> Rendered | RawMail:
    return tools.to_raw(mail) if relay.capabilities.takes_raw else mail


async def _give_back(tools: Tools, held: Sequence[Held]) -> None:
    """Back to PENDING, a little later, where suppression is checked again.

    Also without a lease: the fence sees to it that a job which the sweeper has moved is not touched, and a
    lease that is lost and won back leaves nobody else to move it.
    """
    if not held:
        return
    pause = max(COMES_BACK * tools.rng.random(), tools.router.resumes_in())
    due_at = tools.clock.now() + timedelta(seconds=pause)
    while True:
        try:
            await tools.source.release(held, due_at)
        except NotNow:
            await asyncio.sleep(COMES_BACK * tools.rng.random())
        else:
            return
