"""The sandbox is a relay like any other, as far as one can be that talks to no server."""

from collections.abc import Sequence

import msgspec
import pytest
from relay_laws import Letter, PortHarness, PortLaws, Received, send
from worker_jobs import NOON, claimed_job, rendered

from posthouse.clock import ManualClock
from posthouse.domain.message import Rendered
from posthouse.relays.base import Accepted, RawCallback, RejectedMessage
from posthouse.relays.sandbox import SandboxCallbacks, SandboxRelay


class SandboxHarness:
    """What the sandbox took is what it told of."""

    def __init__(self) -> None:
        self._told: list[RawCallback] = []
        self._mails = 0

    def relay(self) -> SandboxRelay:
        return SandboxRelay(self._tell, ManualClock(NOON))

    def mail(self, letter: Letter) -> Rendered:
        self._mails += 1
        return rendered(msgspec.structs.replace(claimed_job(self._mails), to_address=letter.recipient))

    def begun(self) -> int:
        return len(self.received())

    def received(self) -> Sequence[Received]:
        return [
            Received(event.recipient or "", "", "", "")
            for callback in self._told
            for event in SandboxCallbacks().parse(callback)[0]
        ]

    async def _tell(self, callbacks: Sequence[RawCallback]) -> None:
        self._told += callbacks


class TestSandboxRelay(PortLaws):
    @pytest.fixture
    def harness(self) -> SandboxHarness:
        return SandboxHarness()

    async def test_answers_come_in_order(self, harness: PortHarness) -> None:
        names = ["a", "rejected+1", "b", "rejected+2", "bounced", "c"]
        mails = [harness.mail(Letter(f"{name}@sandbox.invalid")) for name in names]
        outcomes = await send(harness.relay(), mails)
        assert [type(outcome) for outcome in outcomes] == [
            RejectedMessage if name.startswith("rejected") else Accepted for name in names
        ]
