"""A whole house and a test key: every address of the sandbox plays its end, and nothing leaves the house."""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from house_client import Client, Mail
from house_parts import until
from house_under_test import House, running_house_under_test
from sandbox_stories import STORIES

from posthouse.cli.demo.client import Api
from posthouse.domain.stream import Stream
from posthouse.storage import keys

pytestmark = pytest.mark.asyncio(loop_scope="module")


class _Recipient(msgspec.Struct):
    status: str


class _Event(msgspec.Struct):
    type: str


class _Shown(msgspec.Struct):
    """What GET /v1/emails/{id} says of a mail to one."""

    recipients: list[_Recipient]
    timeline: list[_Event]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    async with running_house_under_test() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tester(house: House) -> AsyncIterator[Client]:
    """Whose key is a test key. What it was promised stands in the house's ledger, so audits know of it."""
    _, secret = await keys.create(
        house.db,
        name="ci",
        stream=None,
        from_domains=[],
        now=datetime.now(UTC),
        random_bytes=secrets.token_bytes,
        sandbox=True,
    )
    live = house.client.api
    client = Client(Api(live.url, secret, live.session), house.client_ledger)
    yield client
    client.close()


async def test_every_address_plays_its_end(house: House, tester: Client) -> None:
    crowd = [
        (name, Mail(f"{name}+{stream}@sandbox.invalid", stream)) for name in STORIES for stream in Stream
    ]
    promised = await tester.post_all([mail for _, mail in crowd])
    for (name, mail), promise in zip(crowd, promised, strict=True):
        await until(f"{mail.to}: {STORIES[name]}", partial(shows, tester.api, promise.job_id, *STORIES[name]))
    await until_nothing_left_the_house(house)


@pytest.mark.parametrize("point", ["worker.composed", "worker.before_record"])
async def test_mail_in_hand_of_a_killed_worker_comes_to_its_end(
    house: House, tester: Client, point: str
) -> None:
    """Before the sandbox has told of it, and after."""
    workers = [house.parts[f"worker-{stream}"] for stream in Stream]
    await asyncio.gather(*(worker.restart(f"{point}=kill") for worker in workers))
    lives = [len(worker.ends) for worker in workers]
    crowd = [
        Mail(f"clicked+{point}{number}{stream}@sandbox.invalid", stream)
        for number in range(20)
        for stream in Stream
    ]
    promised = await tester.post_all(crowd)
    for worker, before in zip(workers, lives, strict=True):
        assert await worker.ended(before) == -signal.SIGKILL, worker.last_words()
    for promise in promised:
        await until(f"{promise.job_id} is delivered", partial(is_delivered, tester.api, promise.job_id))
    await until_nothing_left_the_house(house)


async def shows(api: Api, job_id: UUID, status: str, events: list[str]) -> bool:
    mail = msgspec.json.decode(await api.get(f"/v1/emails/{job_id}"), type=_Shown)
    told = [event.type for event in mail.timeline]
    return ([one.status for one in mail.recipients], told) == ([status], ["accepted", *events])


async def is_delivered(api: Api, job_id: UUID) -> bool:
    mail = msgspec.json.decode(await api.get(f"/v1/emails/{job_id}"), type=_Shown)
    return [one.status for one in mail.recipients] == ["delivered"]


async def until_nothing_left_the_house(house: House) -> None:
    await house.settled()
    await house.assert_clean()
    assert "sandbox.invalid" not in house.sink_ledger.read_text(encoding="utf-8")
