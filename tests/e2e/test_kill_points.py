"""kill -9 of every process at every point of a mail's way: nothing lost, no repeat that is not announced."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import pytest
import pytest_asyncio
from house_client import mails
from house_parts import until
from house_under_test import House, running_house_under_test
from kill_report import Kill, reporting, verdict_of

from posthouse.domain.stream import Stream

pytestmark = pytest.mark.asyncio(loop_scope="module")

TX, MK = "worker-transactional", "worker-marketing"


@dataclass(frozen=True, slots=True)
class At:
    """Where a role is killed: at the nth pass of a failpoint."""

    role: str
    point: str
    nth: int = 1

    @property
    def streams(self) -> Sequence[Stream]:
        """Whose mail can be touched by it."""
        match self.role:
            case "worker-transactional":
                return (Stream.TRANSACTIONAL,)
            case "worker-marketing":
                return (Stream.MARKETING,)
            case _:
                return tuple(Stream)


@pytest.fixture(scope="module")
def report() -> Iterator[list[Kill]]:
    with reporting("postgresql") as kills:
        yield kills


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    async with running_house_under_test() as running:
        yield running


# Two streams share nothing, so one run kills both workers, and the sweeper that comes for their mail.
@pytest.mark.parametrize(
    "kills",
    [
        (At("api", "api.before_commit", 3),),
        (At("api", "api.after_commit", 3),),
        (At("api", "receiver.stored"),),
        (At(TX, "worker.claimed", 2), At("processor", "sweeper.before_commit")),
        (At(MK, "worker.claimed", 2), At("processor", "sweeper.after_commit")),
        (At(TX, "worker.composed", 2), At(MK, "worker.composed", 2)),
        (At(TX, "relay.smtp.mid_data", 12), At(MK, "relay.sendgrid.mid_body", 12)),
        (At(TX, "relay.smtp.accepted", 12), At(MK, "relay.sendgrid.accepted", 12)),
        (At(TX, "worker.before_record", 3), At(MK, "worker.before_record", 3)),
        (At(TX, "record.before_commit", 2), At(MK, "record.before_commit", 2)),
        (At(TX, "worker.recorded", 3), At(MK, "worker.recorded", 3)),
        (At("processor", "processor.read"),),
        (At("processor", "processor.recorded"),),
        (At("processor", "processor.acknowledged"),),
    ],
    ids=lambda kills: "+".join(f"{at.role}@{at.point}" for at in kills),
)
async def test_killed_on_the_way(house: House, report: list[Kill], kills: Sequence[At]) -> None:
    tag = "".join(at.role[-3:] + at.point.replace(".", "").replace("_", "") for at in kills)
    parts = [house.parts[at.role] for at in kills]
    await asyncio.gather(
        *(part.restart(f"{at.point}=kill:{at.nth}") for part, at in zip(parts, kills, strict=True))
    )
    before = [(len(part.ends), len(part.hits)) for part in parts]

    promised = await house.client.post_all(mails(tag, 60))

    assert len({promise.job_id for promise in promised}) == 120
    for part, at, (lives, hits) in zip(parts, kills, before, strict=True):
        assert await part.ended(lives) == -signal.SIGKILL, part.last_words()
        assert part.hits[hits:] == [at.point]
    await asyncio.gather(*(part.ready() for part in parts))
    for at in kills:
        report.append(await verdict_of(house, (at.role, at.point), tag, at.streams))


async def test_killed_while_it_settles_doubts(house: House, report: list[Kill]) -> None:
    """The sweeper dies with doubts settled and not committed; its next life settles them."""
    processor = house.parts["processor"]
    assert await processor.down() == 0
    await house.fault("cut_after_body", "sim-smtp", times=5)
    await house.client.post_all(mails("settled", 20))
    await until("there are doubts to settle", lambda: in_doubt(house))
    lives = len(processor.ends)

    await processor.up("sweeper.settled=kill")

    assert await processor.ended(lives) == -signal.SIGKILL
    assert processor.hits[-1] == "sweeper.settled"
    kill = await verdict_of(house, ("processor", "sweeper.settled"), "settled", tuple(Stream))
    report.append(kill)
    assert kill.unknown >= 1


async def test_killed_postgresql(house: House, report: list[Kill]) -> None:
    """The server dies under load and recovers; every role finds its way back, nobody is taken for dead."""
    pids = {name: part.pid for name, part in house.parts.items()}
    lives = {name: len(part.ends) for name, part in house.parts.items()}
    server, refused = house.postgres.pid, house.client.answers[503]
    async with house.client.posting(mails("pgkill", 200)):
        await until("mail flows", lambda: len(house.arrived("pgkill")) > 50)
        house.kill_postgres()

    assert house.client.answers[503] > refused
    assert house.postgres.pid != server
    report.append(await verdict_of(house, ("postgres", "postmaster under load"), "pgkill", tuple(Stream)))
    assert lives == {name: len(part.ends) for name, part in house.parts.items()}
    assert not [name for name, pid in pids.items() if await house.is_declared_dead(pid)]


async def test_killed_tracking(house: House, report: list[Kill]) -> None:
    """The tracking role dies while people read: mail and its books do not notice."""
    track = house.parts["track"]
    lives = len(track.ends)
    await house.client.post_all(mails("track", 20, Stream.MARKETING, kind="click"))
    await until("people read", lambda: track_is_read(house))

    track.send(signal.SIGKILL)

    assert await track.ended(lives) == -signal.SIGKILL
    await track.ready()
    report.append(await verdict_of(house, ("track", "while people read"), "track", [Stream.MARKETING]))


async def in_doubt(house: House) -> bool:
    return await house.count("due_doubts") >= 1


async def track_is_read(house: House) -> bool:
    return (await house.simulator.events()).done.get("click", 0) > 0
