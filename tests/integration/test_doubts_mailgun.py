"""A hand-over to Mailgun whose answer never came: settled by its events, by asking, and by both policies."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from mailgun_house import NAME, Mailgun, mail, simulated
from msgspec.structs import replace
from recorded_events import POLICY, Desk, open_desk, told
from stored_jobs import Letter, open_eyes, residual

from posthouse.clock import ManualClock
from posthouse.domain.event import EventType, Origin
from posthouse.domain.job import Held, Status
from posthouse.domain.stream import Stream
from posthouse.relays.base import OutcomeUnknown
from posthouse.simulator.settings import FaultKind
from posthouse.status.asking import Asking
from posthouse.status.doubts import DoubtRule, settle_by_asking
from posthouse.storage.db import Database

HEARD = DoubtRule(silence_means_not_taken=True, repeat=False)  # accepted_webhook = true
REPEAT = DoubtRule(silence_means_not_taken=False, repeat=True)
HOLD = DoubtRule(silence_means_not_taken=False, repeat=False)


@pytest.fixture
async def desk(queue_database: Database) -> AsyncIterator[Desk]:
    eyes = await open_eyes(queue_database.dsn)
    yield await open_desk(queue_database, eyes)
    await eyes.close()


async def handed_over(desk: Desk, mailgun: Mailgun, stream: Stream, fault: FaultKind) -> Held:
    """A job in doubt since just now: its mail was cut off before or after Mailgun had it."""
    held = await desk.sending(Letter("ok-ann@gmail.sim.test", stream=stream))
    await mailgun.fault(fault)
    one = replace(mail("ok-ann@gmail.sim.test"), job_id=held.job_id, attempt=held.attempt)
    [outcome] = await mailgun.send([one])
    assert isinstance(outcome, OutcomeUnknown), outcome
    event = told(held, EventType.OUTCOME_UNKNOWN, origin=Origin.HANDOVER)
    await desk.record([msgspec.structs.replace(event, relay=NAME)])
    await desk.come_due(held.job_id)
    return held


async def settle(desk: Desk, mailgun: Mailgun, rule: DoubtRule, *, later: timedelta = timedelta()) -> int:
    clock = ManualClock(datetime.now(UTC) + later)
    inquirer = mailgun.inquirer(clock)
    asking = Asking({NAME: inquirer}, dict.fromkeys(Stream, (NAME,)), lambda job, stream: "<1@shop.example>")
    try:
        return await settle_by_asking(desk.db, asking, dict.fromkeys(Stream, rule), POLICY, clock)
    finally:
        await inquirer.close()


@pytest.mark.parametrize("stream", list(Stream))
@pytest.mark.parametrize("rule", [HEARD, REPEAT, HOLD])
async def test_what_mailgun_has_is_sent_whatever_the_policy(
    desk: Desk, tmp_path: Path, stream: Stream, rule: DoubtRule
) -> None:
    async with simulated(tmp_path) as mailgun:
        held = await handed_over(desk, mailgun, stream, FaultKind.CUT_AFTER_BODY)
        await mailgun.idle()
        assert await settle(desk, mailgun, rule) == 1
        job = await desk.job(held)
        assert (job.status, job.provider_message_id) == (Status.SENT, "1@shop.example")
        before = len(await desk.eyes.events(held.job_id))
        await desk.record(mailgun.hook.events())
        assert (await desk.job(held)).status == Status.DELIVERED
        assert len(await desk.eyes.events(held.job_id)) == before + 1, "accepted is the same fact as asked"
        assert await residual(desk.db) == []


@pytest.mark.parametrize("stream", list(Stream))
async def test_its_own_word_settles_before_anybody_asks(desk: Desk, tmp_path: Path, stream: Stream) -> None:
    async with simulated(tmp_path) as mailgun:
        held = await handed_over(desk, mailgun, stream, FaultKind.CUT_AFTER_BODY)
        await mailgun.idle()
        accepted = [event for event in mailgun.hook.events() if event.type is EventType.SENT]
        await desk.record(accepted)
        assert (await desk.job(held)).status == Status.SENT
        assert await settle(desk, mailgun, HOLD) == 0


@pytest.mark.parametrize(
    ("rule", "later", "status"),
    [
        (HEARD, timedelta(), Status.PENDING),  # it would have told
        (REPEAT, timedelta(), Status.PENDING),  # too early for a proof: the policy decides
        (HOLD, timedelta(), Status.UNKNOWN),
        (HOLD, timedelta(minutes=31), Status.PENDING),  # proved not to be there
        (HOLD, timedelta(hours=21), Status.UNKNOWN),  # Mailgun may have forgotten
    ],
)
async def test_what_mailgun_does_not_have_goes_by_policy_until_that_is_proved(
    desk: Desk, tmp_path: Path, rule: DoubtRule, later: timedelta, status: Status
) -> None:
    async with simulated(tmp_path) as mailgun:
        held = await handed_over(desk, mailgun, Stream.MARKETING, FaultKind.CUT_MID_BODY)
        assert mailgun.ledger() == []
        assert await settle(desk, mailgun, rule, later=later) == 1
        assert (await desk.job(held)).status == status
        assert await residual(desk.db) == []
