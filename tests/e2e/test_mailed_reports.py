"""A whole house whose SMTP relay tells of late bounces and complaints by mail, to the inbound listener."""

import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from house_client import Mail, mails
from house_config import free_ports
from house_under_test import House, running_house_under_test

from posthouse.domain.event import EventType
from posthouse.domain.job import Status
from posthouse.domain.stream import Stream

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRANSACTIONAL = Stream.TRANSACTIONAL


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    port, ops_port = free_ports(2)
    inbound = f'[inbound]\nport = {port}\nops_port = {ops_port}\nfeedback_addresses = ["fbl@shop.example"]\n'
    async with running_house_under_test(inbound) as running:
        yield running


async def test_a_late_bounce_comes_back_by_mail_and_suppresses(house: House) -> None:
    """Some of the reports are of RFC 3464, some are qmail's."""
    crowd = mails("late", 30, TRANSACTIONAL, kind="async")
    await house.client.post_all(crowd)
    await house.settled()
    told = await house.told_of("late")
    assert told.by_status == {Status.BOUNCED: 30}
    for story in told.stories.values():
        assert story.events == (EventType.ACCEPTED, EventType.SENT, EventType.BOUNCED)
    again = await house.client.post_all([Mail(mail.to, mail.stream, number=1) for mail in crowd[:3]])
    await house.settled()
    told = await house.told_of("late")
    assert {told.stories[promise.job_id].status for promise in again} == {Status.SUPPRESSED}
    await house.assert_clean()


async def test_a_complaint_comes_back_by_mail_and_suppresses(house: House) -> None:
    await house.client.post_all(mails("fbl", 10, TRANSACTIONAL, kind="complain"))
    await house.settled()
    told = await house.told_of("fbl")
    assert told.by_status == {Status.SENT: 10}
    assert all(EventType.COMPLAINED in story.events for story in told.stories.values())
    await house.assert_clean()


async def test_reports_wait_at_the_other_server_while_the_listener_is_away(house: House) -> None:
    """Killed after the commit and before its 250: the report comes again, and counts once."""
    inbound = house.parts["inbound"]
    await inbound.restart("inbound.stored=kill:5")
    lives = len(inbound.ends)
    await house.client.post_all(mails("killed", 20, TRANSACTIONAL, kind="async"))
    assert await inbound.ended(lives) == -signal.SIGKILL, inbound.last_words()
    await house.settled()
    told = await house.told_of("killed")
    assert told.by_status == {Status.BOUNCED: 20}
    assert all(story.events.count(EventType.BOUNCED) == 1 for story in told.stories.values())
    await house.assert_clean()
