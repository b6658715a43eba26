"""`posthouse audit` against builds that are broken a little: each mail that was lost or doubled is found."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from broken_build import Bug
from house_client import mails
from house_under_test import House, running_house_under_test

from posthouse.domain.stream import Stream

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAILS = 2_000
BROKEN = Path(__file__).with_name("broken_build.py")


class Report(msgspec.Struct):
    """What `posthouse audit --json` says."""

    clean: bool
    residual: int
    lost: int
    unexplained_duplicates: int
    sent_but_not_arrived: int
    examples: dict[str, set[UUID]]

    def more_than(self, before: "Report") -> "Report":
        """What was found since."""
        return Report(
            self.clean,
            self.residual - before.residual,
            self.lost - before.lost,
            self.unexplained_duplicates - before.unexplained_duplicates,
            self.sent_but_not_arrived - before.sent_but_not_arrived,
            {kind: found - before.examples.get(kind, set()) for kind, found in self.examples.items()},
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    """Its audits are clean until a test breaks something."""
    async with running_house_under_test() as running:
        await running.client.post_all(mails("honest", 100))
        await running.settled()
        assert (await audited(running)).clean
        yield running


async def test_a_build_that_loses_one_in_a_thousand(house: House) -> None:
    before = await audited(house)
    befell = await send_through(house, Bug.LOSES)
    found = (await audited(house)).more_than(before)
    assert not found.clean
    assert found.examples["lost"] == found.examples["sent_but_not_arrived"] == befell
    assert (found.lost, found.sent_but_not_arrived, found.unexplained_duplicates) == (2, 2, 0)
    assert found.residual == 0  # its books balance: only the far end knows better


async def test_a_build_that_doubles_one_in_a_thousand(house: House) -> None:
    before = await audited(house)
    befell = await send_through(house, Bug.DOUBLES)
    found = (await audited(house)).more_than(before)
    assert not found.clean
    assert found.examples["unexplained_duplicates"] == befell
    assert (found.lost, found.sent_but_not_arrived, found.unexplained_duplicates) == (0, 0, 2)


async def test_a_database_that_lost_a_row(house: House) -> None:
    """One accepted job of many is gone: the client's ledger misses it, and so do the books."""
    before = await audited(house)
    promised = await house.client.post_all(mails("gone", 20, Stream.MARKETING))
    await house.settled()
    async with house.looking() as wire:
        await wire.execute("forget", promised[7].job_id)
    found = (await audited(house)).more_than(before)
    assert not found.clean
    assert (found.lost, found.examples["lost"]) == (1, {promised[7].job_id})
    assert found.residual > 0


async def send_through(house: House, bug: Bug) -> set[UUID]:
    """Two thousand mails through a worker of the broken build; the jobs that the bug befell."""
    log = house.folder / f"{bug}.log"
    worker = house.parts["worker-transactional"]
    worker.program = (str(BROKEN), bug.value, str(log))
    await worker.restart()
    await house.client.post_all(mails(bug.value, MAILS, Stream.TRANSACTIONAL))
    await house.settled()
    befell = {UUID(line) for line in log.read_text(encoding="ascii").split()}
    assert len(befell) == MAILS // 1_000
    return befell


async def audited(house: House) -> Report:
    """As an operator would: the command line, its answer and its exit code."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "posthouse", "audit", "--settled", "--json"),
        *("--ledger", str(house.client_ledger), "--sink", str(house.sink_ledger)),
        env={**os.environ, "DATABASE_URL": house.postgres.dsn},
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await process.communicate()
    report = msgspec.json.decode(answer, type=Report)
    assert process.returncode == (0 if report.clean else 1)
    return report
