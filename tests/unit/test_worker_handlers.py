"""A claim becomes outcomes: composed, handed over in sets, recorded before anything is free."""

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import pytest
from worker_jobs import NOON, claimed_job, rendered

from posthouse.clock import ManualClock
from posthouse.delivery.router import Router
from posthouse.delivery.verdict import Backoff
from posthouse.domain.errors import NotNow, RenderFailed
from posthouse.domain.event import Event, EventType
from posthouse.domain.ids import AttachmentId, JobId, RelayAccount, attachment_id
from posthouse.domain.job import ClaimedJob, Held
from posthouse.domain.message import RawMail, Rendered, StoredFile
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    Capabilities,
    Gate,
    NotBegun,
    Outcome,
    Tell,
    tell_nobody,
)
from posthouse.telemetry import Metrics
from posthouse.worker import handlers
from posthouse.worker.files import Files
from posthouse.worker.handlers import SET_SIZE, Tools, handle
from posthouse.worker.recorder import Recorder

PATIENCE = 10.0
CAPABILITIES = Capabilities(
    takes_raw=False,
    max_message_bytes=1,
    batch=1,
    shows_other_recipients=True,
    keeps_message_id=True,
    reports_acceptance=True,
    can_be_asked=False,
    own_return_path=True,
)


class ScriptedRelay:
    account = RelayAccount("mail")

    def __init__(self) -> None:
        self.capabilities = CAPABILITIES
        self.sets: list[Sequence[Rendered | RawMail]] = []
        self.answers: dict[JobId, Outcome] = {}
        self.held: asyncio.Event | None = None  # every second mail of a set is answered when it is set

    async def send_many(
        self, mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell = tell_nobody
    ) -> list[Outcome]:
        self.sets.append(mails)
        said = [self.answers.get(mail.job_id, Accepted(f"id-{mail.job_id}", "250 ok")) for mail in mails]
        if self.held is not None:
            for place in range(0, len(mails), 2):
                tell(place, said[place])
            await self.held.wait()
        return said

    async def close(self) -> None: ...


class Returns:
    """The part of a JobSource that handlers use."""

    def __init__(self) -> None:
        self.released: list[tuple[Sequence[Held], datetime | None]] = []
        self.outages = 0

    async def release(self, held: Sequence[Held], due_at: datetime | None) -> int:
        if self.outages:
            self.outages -= 1
            raise NotNow("away")
        self.released.append((held, due_at))
        return len(held)

    async def take(self, limit: int) -> list[ClaimedJob]:
        raise AssertionError("handlers claim nothing")

    async def disown(self, in_hand: Collection[Held]) -> int:
        raise AssertionError("handlers disown nothing")

    def done(self, held: Sequence[Held]) -> None:
        raise AssertionError("the loop says what is done")

    async def leave(self) -> None: ...

    async def wait(self, timeout: float) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Desk:
    """Handlers with everything around them in memory."""

    def __init__(self) -> None:
        self.relay = ScriptedRelay()
        self.sandbox = ScriptedRelay()
        self.source = Returns()
        self.clock = ManualClock(NOON)
        self.recorded: list[Event] = []
        self.finished: list[ClaimedJob] = []
        self.news = asyncio.Event()  # that something is finished
        self.broken: dict[JobId, RenderFailed] = {}
        self.outage_while_composing = False
        self.outage_while_loading = False
        self.files_of: dict[JobId, tuple[StoredFile, ...]] = {}
        self.lost_file: AttachmentId | None = None
        self.files = Files(self._load, 1_000)
        self.router = Router([self.relay], self.clock, random.Random(1))
        self.gate_is_open = True
        self.recorder = Recorder(self._record)

    async def _record(self, events: Sequence[Event]) -> None:
        self.recorded.extend(events)

    async def _compose(self, jobs: Sequence[ClaimedJob]) -> Sequence[Rendered | RenderFailed]:
        if self.outage_while_composing:
            raise NotNow("away")
        return [self.broken.get(job.job_id) or self._rendered(job) for job in jobs]

    def _rendered(self, job: ClaimedJob) -> Rendered:
        return msgspec.structs.replace(rendered(job), files=self.files_of.get(job.job_id, ()))

    async def _load(self, ids: Collection[AttachmentId]) -> dict[AttachmentId, bytes]:
        if self.outage_while_loading:
            raise NotNow("away")
        return {one: b"%PDF" for one in ids if one != self.lost_file}

    def finish(self, jobs: Sequence[ClaimedJob]) -> None:
        settled = {event.job_id for event in self.recorded}
        settled |= {held.job_id for release, _ in self.source.released for held in release}
        assert {job.job_id for job in jobs} <= settled, "free before it was recorded or given back"
        self.finished.extend(jobs)
        self.news.set()

    async def handle(self, jobs: Sequence[ClaimedJob]) -> None:
        tools = Tools(
            source=self.source,
            compose=self._compose,
            files=self.files,
            to_raw=_raw,
            router=self.router,
            sandbox=self.sandbox,
            recorder=self.recorder,
            gate=lambda: self.gate_is_open,
            clock=self.clock,
            rng=random.Random(1),
            backoff=Backoff(timedelta(seconds=1), timedelta(minutes=5)),
            metrics=Metrics(),
        )
        async with asyncio.timeout(PATIENCE):
            await handle(tools, jobs, self.finish)


def _raw(mail: Rendered) -> RawMail:
    return RawMail(mail.job_id, mail.attempt, mail.return_path, mail.recipient, b"raw", smtputf8=False)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    recording = asyncio.create_task(desk.recorder.run())
    yield desk
    recording.cancel()
    await asyncio.wait({recording})


JOBS = [claimed_job(n) for n in range(40)]


async def test_each_mail_of_a_claim_is_handed_over_and_recorded_once(desk: Desk) -> None:
    await desk.handle(JOBS)
    assert [len(mails) for mails in desk.relay.sets] == [SET_SIZE, SET_SIZE, 40 - 2 * SET_SIZE]
    assert sorted(event.job_id for event in desk.recorded) == sorted(job.job_id for job in JOBS)
    assert {event.type for event in desk.recorded} == {EventType.SENT}
    assert {event.template_version for event in desk.recorded} == {3}
    assert sorted(job.job_id for job in desk.finished) == sorted(job.job_id for job in JOBS)
    assert desk.source.released == []


@pytest.mark.parametrize(("takes_raw", "form"), [(True, RawMail), (False, Rendered)])
async def test_a_relay_gets_the_form_it_takes(
    desk: Desk, takes_raw: bool, form: type[RawMail] | type[Rendered]
) -> None:
    desk.relay.capabilities = replace(CAPABILITIES, takes_raw=takes_raw)
    await desk.handle(JOBS[:1])
    assert isinstance(desk.relay.sets[0][0], form)


async def test_a_mail_that_cannot_be_composed_ends_and_the_others_go(desk: Desk) -> None:
    desk.broken[JOBS[1].job_id] = RenderFailed("no variable `name`")
    await desk.handle(JOBS[:3])
    ends = {event.job_id: (event.type, event.reason) for event in desk.recorded}
    assert ends[JOBS[1].job_id] == (EventType.FAILED, "no variable `name`")
    assert [ends[job.job_id][0] for job in (JOBS[0], JOBS[2])] == [EventType.SENT] * 2
    assert len(desk.finished) == 3


async def test_what_was_not_begun_goes_back_a_little_later(desk: Desk) -> None:
    desk.relay.answers[JOBS[0].job_id] = NotBegun("no connection")
    await desk.handle(JOBS[:2])
    ((held, due_at),) = desk.source.released
    assert held == [JOBS[0].held]
    assert due_at is not None
    assert NOON <= due_at <= NOON + timedelta(seconds=1)
    assert [event.job_id for event in desk.recorded] == [JOBS[1].job_id]


async def test_while_every_relay_is_paused_all_goes_back_until_one_is_not(desk: Desk) -> None:
    desk.router.learn(desk.relay, [AccountTrouble("401")])
    await desk.handle(JOBS[:2])
    ((held, due_at),) = desk.source.released
    assert (len(held), due_at) == (2, NOON + timedelta(seconds=60))
    assert desk.relay.sets == []


async def test_an_outage_while_composing_gives_all_back(desk: Desk) -> None:
    desk.outage_while_composing = True
    await desk.handle(JOBS[:2])
    ((held, _),) = desk.source.released
    assert held == [job.held for job in JOBS[:2]]
    assert desk.finished == JOBS[:2]


async def test_unbegun_jobs_are_given_back_also_when_the_lease_was_lost_meanwhile(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that comes back after an outage leaves no sweeper to find them."""
    monkeypatch.setattr(handlers, "COMES_BACK", 0.0)
    desk.outage_while_composing = True
    desk.source.outages = 3
    desk.gate_is_open = False
    await desk.handle(JOBS[:2])
    assert [held for held, _ in desk.source.released] == [[job.held for job in JOBS[:2]]]


async def test_a_relay_that_breaks_its_promise_is_a_bug_and_frees_nothing(desk: Desk) -> None:
    async def raises(
        mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell = tell_nobody
    ) -> list[Outcome]:
        raise ZeroDivisionError("a bug")

    desk.relay.send_many = raises  # type: ignore[method-assign]  # a bug is what this is about
    with pytest.raises(ExceptionGroup):
        await desk.handle(JOBS[:1])
    assert (desk.finished, desk.recorded) == ([], [])


async def test_what_is_known_of_a_set_does_not_wait_for_the_rest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "EARLY", 0.01)
    desk.relay.held = asyncio.Event()
    desk.relay.answers[JOBS[2].job_id] = NotBegun("no connection became free in time", slow_relay=True)
    handling = asyncio.create_task(desk.handle(JOBS[:4]))
    async with asyncio.timeout(PATIENCE):
        await desk.news.wait()
    assert [job.job_id for job in desk.finished] == [JOBS[0].job_id, JOBS[2].job_id]
    assert [event.job_id for event in desk.recorded] == [JOBS[0].job_id]
    assert [held for held, _ in desk.source.released] == [[JOBS[2].held]]
    desk.relay.held.set()
    await handling
    assert sorted(job.job_id for job in desk.finished) == sorted(job.job_id for job in JOBS[:4])
    assert len(desk.recorded) == 3


async def test_mail_of_test_keys_goes_to_the_sandbox_and_no_other_does(desk: Desk) -> None:
    jobs = [msgspec.structs.replace(job, sandbox=number % 3 == 0) for number, job in enumerate(JOBS)]
    await desk.handle(jobs)
    assert ids(desk.sandbox) == {job.job_id for job in jobs if job.sandbox}
    assert ids(desk.relay) == {job.job_id for job in jobs if not job.sandbox}
    assert sorted(event.job_id for event in desk.recorded) == sorted(job.job_id for job in jobs)


async def test_the_sandbox_takes_mail_while_every_relay_is_paused(desk: Desk) -> None:
    desk.router.learn(desk.relay, [AccountTrouble("401")])
    await desk.handle([msgspec.structs.replace(JOBS[0], sandbox=True)])
    assert (ids(desk.sandbox), desk.source.released) == ({JOBS[0].job_id}, [])


async def test_what_the_sandbox_says_does_not_pause_the_relays(desk: Desk) -> None:
    desk.sandbox.answers[JOBS[0].job_id] = AccountTrouble("401")
    await desk.handle([msgspec.structs.replace(JOBS[0], sandbox=True)])
    assert desk.router.resumes_in() == 0.0


def a_file(number: int, size: int) -> StoredFile:
    return StoredFile("a.pdf", "application/pdf", attachment_id(NOON.date(), number), size)


async def test_files_are_loaded_for_the_hand_over_a_set_within_the_room(desk: Desk) -> None:
    for number, job in enumerate(JOBS):
        desk.files_of[job.job_id] = (a_file(number, 300),)
    await desk.handle(JOBS)
    assert {len(mails) for mails in desk.relay.sets} == {1, 3}  # three of 300 bytes fit into 1,000
    handed_over = [mail for mails in desk.relay.sets for mail in mails]
    assert {
        tuple(a.content for a in mail.attachments) for mail in handed_over if isinstance(mail, Rendered)
    } == {(b"%PDF",)}
    assert sorted(event.job_id for event in desk.recorded) == sorted(job.job_id for job in JOBS)
    assert desk.files.held == 0


async def test_a_mail_whose_files_cannot_be_loaded_now_goes_back_and_those_without_go(desk: Desk) -> None:
    desk.outage_while_loading = True
    desk.files_of[JOBS[0].job_id] = (a_file(0, 990),)
    desk.files_of[JOBS[17].job_id] = (a_file(1, 990),)
    await desk.handle(JOBS[:18])
    released = {one.job_id for held, _ in desk.source.released for one in held}
    assert released == {JOBS[0].job_id, JOBS[17].job_id}
    assert ids(desk.relay) == {job.job_id for job in JOBS[1:17]}


async def test_the_sandbox_gets_the_files_too(desk: Desk) -> None:
    job = msgspec.structs.replace(JOBS[0], sandbox=True)
    desk.files_of[job.job_id] = (a_file(0, 10),)
    await desk.handle([job])
    ((taken,),) = desk.sandbox.sets
    assert isinstance(taken, Rendered)
    assert [file.content for file in taken.attachments] == [b"%PDF"]


async def test_a_mail_whose_file_is_gone_ends_with_that_reason(desk: Desk) -> None:
    desk.files_of = {job.job_id: (a_file(n, 10),) for n, job in enumerate(JOBS[:2])}
    desk.lost_file = a_file(0, 10).attachment_id
    await desk.handle(JOBS[:2])
    ends = {event.job_id: (event.type, event.reason) for event in desk.recorded}
    assert ends[JOBS[0].job_id] == (EventType.FAILED, "The attachment a.pdf is not there any more.")
    assert ends[JOBS[1].job_id][0] is EventType.SENT


async def test_what_was_handed_over_with_files_is_never_given_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage after the hand-over is no reason to send the mail a second time."""

    async def cannot_record(events: Sequence[Event]) -> None:
        raise NotNow("away")

    desk.files_of[JOBS[0].job_id] = (a_file(0, 10),)
    monkeypatch.setattr(desk.recorder, "recorded", cannot_record)
    with pytest.raises(ExceptionGroup):
        await desk.handle(JOBS[:1])
    assert ids(desk.relay) == {JOBS[0].job_id}
    assert (desk.source.released, desk.files.held) == ([], 0)


def ids(relay: ScriptedRelay) -> set[JobId]:
    return {mail.job_id for mails in relay.sets for mail in mails}
