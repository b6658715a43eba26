"""A relay that takes mail and says nothing, with another beside it: the promise of 30 seconds holds."""

import time

import pytest
from house_client import mails
from house_config import free_ports
from house_parts import until
from house_under_test import running_house_under_test

from posthouse.domain.job import Status
from posthouse.domain.stream import Stream

MAILS = 120
CONNECTIONS = 8  # of one worker to one relay: on each, one mail may have been taken
WITHIN = 30.0  # seconds, from acceptance to a relay
SECOND = """
[relays.sim-second]
kind = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"
simulator = true
"""


@pytest.mark.asyncio
async def test_only_what_a_silent_relay_may_have_waits_for_it() -> None:
    table = SECOND.format(port=free_ports(1)[0])
    async with running_house_under_test(table, transactional_relays=("sim-smtp", "sim-second")) as house:
        await house.fault("hang", "sim-smtp")
        posted = time.time()
        promised = await house.client.post_all(mails("hang", MAILS, Stream.TRANSACTIONAL))
        assert len(promised) == MAILS
        await until(
            "the other relay has the rest",
            lambda: len(house.arrived("hang-")) >= MAILS - CONNECTIONS,
            within=WITHIN,
        )
        arrived = house.arrived("hang-")
        assert {entry.account for entry in arrived} == {"sim-second"}
        assert max(entry.at for entry in arrived) - posted < WITHIN

        await house.clear_faults()
        await house.settled()
        await house.assert_clean()
        told = await house.told_of("hang")
        assert {story.status for story in told.stories.values()} == {Status.SENT}
        assert told.repeated <= told.unknown
        assert len(told.unknown) <= CONNECTIONS
