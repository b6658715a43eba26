"""Bad days: a stopped worker, relays and a database that go away, a mail that kills, ends under load."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from house_client import Mail, mails
from house_config import SLOTS
from house_parts import until
from house_under_test import House, running_house_under_test

from posthouse.domain.event import EventType
from posthouse.domain.job import Status
from posthouse.domain.stream import Stream

pytestmark = pytest.mark.asyncio(loop_scope="module")

TX, MK = "worker-transactional", "worker-marketing"
RELAYS = ("sim-smtp", "sim-sendgrid")
#: Seconds; a worker may be silent for 2 here.
AWAY, HANGS = 10.0, 5.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[House]:
    async with running_house_under_test() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def house(running: House) -> AsyncIterator[House]:
    """The house without any fault, before and after each day."""
    yield running
    await running.clear_faults()


async def ended_well(house: House, tag: str) -> None:
    """All that was accepted arrived, and nothing twice without a word."""
    await house.settled()
    await house.assert_clean()
    told = await house.told_of(tag)
    assert set(told.arrivals) == set(told.stories)
    assert told.repeated <= told.unknown


# ---- a worker that sleeps past its lease ------------------------------------------------------------------


async def test_a_worker_is_stopped_past_its_lease_and_continued(house: House) -> None:
    """Its results come late and are recorded once; it learns that it is dead, and ends aloud."""
    worker = house.parts[TX]
    await worker.restart("relay.smtp.accepted=stop:12")
    lives, pid = len(worker.ends), worker.pid
    await house.client.post_all(mails("asleep", 60, Stream.TRANSACTIONAL))
    await until("it sleeps", lambda: worker.hits[-1:] == ["relay.smtp.accepted"])
    await until("it is declared dead", lambda: house.is_declared_dead(pid))

    worker.send(signal.SIGCONT)

    assert await worker.ended(lives) not in (0, -signal.SIGKILL)
    assert "declared dead" in worker.last_words()
    await worker.ready()
    await ended_well(house, "asleep")
    told = await house.told_of("asleep")
    assert told.unknown
    assert told.duplicates == 0  # what the relay had said settles the doubts before anything is repeated
    for story in told.stories.values():
        assert story.events.count(EventType.SENT) == told.arrivals[story.job_id]


async def test_a_worker_that_was_relieved_wakes_up(house: House) -> None:
    """It sleeps in the middle of a transaction, with its mail locked. Another sends that mail again; what the
    first still has to say is added to the timeline, and harms nothing."""
    worker = house.parts[TX]
    await worker.restart("record.before_commit=stop:2")
    lives = len(worker.ends)
    async with house.another_worker(Stream.TRANSACTIONAL):
        await house.client.post_all(mails("relieved", 60, Stream.TRANSACTIONAL))
        await until("it sleeps", lambda: worker.hits[-1:] == ["record.before_commit"])
        await house.settled(within=20.0)

        worker.send(signal.SIGCONT)

        assert await worker.ended(lives) not in (0, -signal.SIGKILL)
        await worker.ready()
    await ended_well(house, "relieved")
    told = await house.told_of("relieved")
    assert 0 < told.duplicates <= SLOTS
    for story in told.stories.values():
        assert story.status is Status.SENT
        assert story.events.count(EventType.SENT) == told.arrivals[story.job_id]


# ---- relays ----------------------------------------------------------------------------------------------


async def test_relays_are_away_and_come_back(house: House) -> None:
    for relay in RELAYS:
        await house.fault("refuse", relay)
    promised = await house.client.post_all(mails("away", 40))
    assert len(promised) == 80
    assert await house.count("in_state", "%-away-%", "SENT") == 0
    assert house.arrived("away-") == []

    await house.clear_faults()

    await ended_well(house, "away")
    assert not (await house.told_of("away")).repeated


@pytest.mark.parametrize(
    ("fault", "times", "delay_ms"),
    [
        ("slow", 20, 400),
        ("cut_mid_body", 10, 0),
        ("cut_after_body", 10, 0),
        ("throttle", 10, 0),
        ("server_error", 10, 0),
    ],
)
async def test_relays_in_trouble(house: House, fault: str, times: int, delay_ms: int) -> None:
    """Whatever they do to some mails, all arrive, and twice only those whose outcome was unknown."""
    for relay in RELAYS:
        await house.fault(fault, relay, times=times, delay_ms=delay_ms)
    await house.client.post_all(mails(fault.replace("_", ""), 40))
    await ended_well(house, fault.replace("_", ""))


# ---- the database ----------------------------------------------------------------------------------------


async def test_the_database_is_away_for_ten_seconds(house: House) -> None:
    """Five times as long as a worker may be silent: nobody is declared dead for it, no promise is false."""
    before = {name: (part.pid, len(part.ends)) for name, part in house.parts.items()}
    async with house.client.posting(mails("dbaway", 150)):
        await until("mail flows", lambda: len(house.arrived("dbaway-")) > 30)
        house.kill_postgres(stay_away=True)
        await until("the API refuses", lambda: refuses(house))
        await asyncio.sleep(AWAY)
        assert await refuses(house)
        house.let_postgres_back()

    await ended_well(house, "dbaway")
    assert before == {name: (part.pid, len(part.ends)) for name, part in house.parts.items()}
    assert not [name for name, (pid, _) in before.items() if await house.is_declared_dead(pid)]


async def refuses(house: House) -> bool:
    """503 to whoever asks now, and no promise."""
    status, _, _ = await house.client.api.post("/v1/emails", mails("refused", 1)[0].body())
    assert status in (202, 503)
    return status == 503


async def test_the_database_hangs(house: House) -> None:
    """Connected and mute, for longer than a worker may be silent."""
    before = {name: (part.pid, len(part.ends)) for name, part in house.parts.items()}
    async with house.client.posting(mails("dbhang", 100)):
        await until("mail flows", lambda: len(house.arrived("dbhang-")) > 30)
        assert house.postgres.pid is not None
        everyone = [house.postgres.pid, *children_of(house.postgres.pid)]
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(HANGS)
        for pid in everyone:
            os.kill(pid, signal.SIGCONT)

    await ended_well(house, "dbhang")
    assert before == {name: (part.pid, len(part.ends)) for name, part in house.parts.items()}
    assert not [name for name, (pid, _) in before.items() if await house.is_declared_dead(pid)]


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return [int(child) for child in children.read().split()]


# ---- a mail that kills -----------------------------------------------------------------------------------


async def test_a_mail_that_kills_workers(house: House) -> None:
    """Two workers die of it, then it runs alone and dies alone; everybody else's mail arrives."""
    poison = Mail("ok-poison-0@gmail.sim.test", Stream.TRANSACTIONAL)
    armed = f"worker.poison@{poison.to}=kill:always"
    worker, processor = house.parts[TX], house.parts["processor"]
    await asyncio.gather(worker.restart(armed, for_good=True), processor.restart(armed, for_good=True))
    lives, died = len(worker.ends), len(worker.hits)

    promised = await house.client.post(poison)
    await house.client.post_all(mails("victim", 30, Stream.TRANSACTIONAL))
    await house.settled()

    told = await house.told_of("poison")
    assert told.stories[promised.job_id].status is Status.FAILED
    assert told.arrivals == {}
    assert worker.ends[lives:] == [-signal.SIGKILL] * 2
    assert len(worker.hits) - died == 2
    assert processor.hits.count(f"worker.poison@{poison.to}") == 1  # its child, the quarantine
    assert "crashed_worker" in (await house.client.api.get(f"/v1/emails/{promised.job_id}")).decode()
    await ended_well(house, "victim")
    await asyncio.gather(worker.restart(), processor.restart())


# ---- clean ends ------------------------------------------------------------------------------------------


async def test_every_role_drains_under_load(house: House) -> None:
    """SIGTERM to one after the other while mail flows: each ends in time, nothing is doubled or lost."""
    async with house.client.posting(mails("drain", 250)):
        await until("mail flows", lambda: len(house.arrived("drain-")) > 10)
        for name in ("api", TX, MK, "processor", "track"):
            assert await house.parts[name].down() == 0, house.parts[name].last_words()
            await house.parts[name].up()
    await ended_well(house, "drain")
    assert not (await house.told_of("drain")).repeated


async def test_rolling_restart_of_both_workers(house: House) -> None:
    async with house.client.posting(mails("rolling", 250)):
        for _ in range(2):
            for name in (TX, MK):
                await house.parts[name].restart()
    await ended_well(house, "rolling")
    assert not (await house.told_of("rolling")).repeated
