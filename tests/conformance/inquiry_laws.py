"""The laws of asking a relay about mail in doubt: what every inquirer must do, whatever it asks.

A test module of an adapter writes a harness (an inquirer, and a server of that kind that can be told what it
took) and subclasses the suite:

    class TestMailgunInquiry(InquiryLaws):
        @pytest.fixture
        async def harness(self) -> AsyncIterator[InquiryHarness]:
            async with MailgunInquiryHarness() as harness:
                yield harness
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

import pytest

from posthouse.clock import ManualClock
from posthouse.domain.ids import JobId, uuid7
from posthouse.relays.base import Answer, CannotTell, Inquirer, Inquiry, WasNotTaken, WasTaken

#: Long enough for a loaded machine, short enough that a broken inquirer fails a test instead of stopping it.
PATIENCE = 20.0


class Trouble(StrEnum):
    """What the server does with every question."""

    ERROR = "error"  # 503
    FORBIDDEN = "forbidden"  # the key may not ask
    THROTTLE = "throttle"  # 429
    CUT = "cut"  # closes without an answer
    HANG = "hang"  # never answers


class InquiryHarness(Protocol):
    """An inquirer, and a scripted server that it asks."""

    clock: ManualClock
    #: After this long a mail that the relay's records do not have was not taken; None: they never prove it.
    proves_after: timedelta | None

    def inquirer(self) -> Inquirer:
        """A new inquirer whose requests time out after about a second."""
        ...

    def lonely_inquirer(self) -> Inquirer:
        """A new inquirer for an address at which nobody listens."""
        ...

    def took(self, inquiry: Inquiry, provider_message_id: str) -> None:
        """The server's records have this attempt of this mail."""
        ...

    def make_trouble(self, trouble: Trouble) -> None: ...

    def garbage(self) -> Sequence[bytes]:
        """Answers that no sane server gives, as raw HTTP: none of them says that a mail was taken."""
        ...

    def answer_with(self, raw: bytes) -> None:
        """The server answers every question with these bytes, then closes."""
        ...

    def asked(self) -> int:
        """Requests that the server saw."""
        ...


def question(harness: InquiryHarness, number: int = 1, attempt: int = 1) -> Inquiry:
    """About a mail that has just come in doubt."""
    now = harness.clock.now()
    job_id = JobId(uuid7(int(now.timestamp() * 1000) - 60_000, number))
    return Inquiry(job_id, attempt, f"r{number}@example.org", f"<{job_id.hex}@shop.example>", now)


async def ask(inquirer: Inquirer, inquiries: Sequence[Inquiry]) -> list[Answer]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await inquirer.ask(inquiries)
    finally:
        await inquirer.close()


async def ask_one(inquirer: Inquirer, inquiry: Inquiry) -> Answer:
    answers = await ask(inquirer, [inquiry])
    assert len(answers) == 1, answers
    return answers[0]


class InquiryLaws:
    """Every inquirer passes these."""

    @pytest.fixture
    def harness(self) -> InquiryHarness:
        raise NotImplementedError("the adapter's test module brings its harness")

    async def test_what_was_taken_is_found_with_its_id(self, harness: InquiryHarness) -> None:
        inquiry = question(harness)
        harness.took(inquiry, "their-id-1")
        assert await ask_one(harness.inquirer(), inquiry) == WasTaken("their-id-1")

    async def test_nothing_asked_is_nothing_said(self, harness: InquiryHarness) -> None:
        assert await ask(harness.inquirer(), []) == []
        assert harness.asked() == 0

    async def test_an_earlier_attempt_is_not_this_one(self, harness: InquiryHarness) -> None:
        harness.took(question(harness, attempt=1), "their-id-1")
        answer = await ask_one(harness.inquirer(), question(harness, attempt=2))
        assert not isinstance(answer, WasTaken), answer

    async def test_another_mail_is_not_this_one(self, harness: InquiryHarness) -> None:
        harness.took(question(harness, 1), "their-id-1")
        answer = await ask_one(harness.inquirer(), question(harness, 2))
        assert not isinstance(answer, WasTaken), answer

    async def test_too_early_proves_nothing(self, harness: InquiryHarness) -> None:
        assert isinstance(await ask_one(harness.inquirer(), question(harness)), CannotTell)

    async def test_in_time_the_records_prove_that_it_was_not_taken(self, harness: InquiryHarness) -> None:
        inquiry = question(harness)
        harness.clock.advance((harness.proves_after or timedelta(days=2)).total_seconds() + 1)
        answer = await ask_one(harness.inquirer(), inquiry)
        assert isinstance(answer, CannotTell if harness.proves_after is None else WasNotTaken), answer
        assert answer.reason

    async def test_what_was_taken_is_found_late_as_well(self, harness: InquiryHarness) -> None:
        inquiry = question(harness)
        harness.took(inquiry, "their-id-1")
        harness.clock.advance(6 * 3600.0)
        assert await ask_one(harness.inquirer(), inquiry) == WasTaken("their-id-1")

    async def test_answers_come_in_order(self, harness: InquiryHarness) -> None:
        inquiries = [question(harness, number) for number in range(1, 61)]
        for number, inquiry in enumerate(inquiries, 1):
            if number % 3 == 0:
                harness.took(inquiry, f"their-id-{number}")
        answers = await ask(harness.inquirer(), inquiries)
        assert len(answers) == 60
        for number, answer in enumerate(answers, 1):
            if number % 3 == 0:
                assert answer == WasTaken(f"their-id-{number}")
            else:
                assert isinstance(answer, CannotTell), (number, answer)

    @pytest.mark.parametrize("trouble", Trouble)
    async def test_no_answer_proves_nothing(self, harness: InquiryHarness, trouble: Trouble) -> None:
        inquiries = [question(harness, 1), question(harness, 2)]
        harness.took(inquiries[0], "their-id-1")
        harness.clock.advance(48 * 3600.0)
        harness.make_trouble(trouble)
        for answer in await ask(harness.inquirer(), inquiries):
            assert isinstance(answer, CannotTell), answer
            assert_storable(answer.reason)

    async def test_nobody_there_proves_nothing(self, harness: InquiryHarness) -> None:
        inquiry = question(harness)
        harness.clock.advance(48 * 3600.0)
        answer = await ask_one(harness.lonely_inquirer(), inquiry)
        assert isinstance(answer, CannotTell), answer

    async def test_garbage_proves_nothing(self, harness: InquiryHarness) -> None:
        inquiry = question(harness)
        harness.clock.advance(48 * 3600.0)
        garbage = harness.garbage()
        assert garbage
        for raw in garbage:
            harness.answer_with(raw)
            answer = await ask_one(harness.inquirer(), inquiry)
            assert isinstance(answer, CannotTell), (raw[:200], answer)
            assert_storable(answer.reason)

    async def test_whoever_stops_waiting_is_let_go(self, harness: InquiryHarness) -> None:
        harness.make_trouble(Trouble.HANG)
        inquirer = harness.inquirer()
        asking = asyncio.create_task(inquirer.ask([question(harness)]))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await inquirer.close()

    async def test_closing_twice_is_closing(self, harness: InquiryHarness) -> None:
        inquirer = harness.inquirer()
        await inquirer.close()
        await inquirer.close()
        assert harness.asked() == 0


def assert_storable(text: str) -> None:
    assert text
    assert "\0" not in text
    text.encode("utf-8")
