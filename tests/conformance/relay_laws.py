"""The laws of the relay port: what every adapter must do, whatever it speaks.

A test module of an adapter writes a harness (an adapter, and a server of that kind whose faults can be
scripted) and subclasses the suite:

    class TestSmtp(RelayLaws):
        @pytest.fixture
        async def harness(self) -> AsyncIterator[RelayHarness]:
            async with SmtpHarness() as harness:
                yield harness

The server keys its faults by recipient, so that a law can mix them in one list. A law opens its own relays by
`harness.relay()`; the harness closes the server.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import pytest

from posthouse.domain.message import RawMail, Rendered
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    NotBegun,
    Outcome,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    Relay,
    TryLater,
)

Mail = Rendered | RawMail

#: Long enough for a loaded machine, short enough that a broken adapter fails a test instead of stopping it.
PATIENCE = 20.0


class Fault(StrEnum):
    """What the server does with a mail to a recipient, instead of taking it."""

    REJECT_RECIPIENT = "reject_recipient"  # this address, for good, as that relay says it
    REJECT_MESSAGE = "reject_message"  # this content, for good (too large, malformed)
    TROUBLE = "trouble"  # its own trouble: 451, 503
    THROTTLE = "throttle"  # too fast: 421/450 4.7, 429
    BAD_CREDENTIALS = "bad_credentials"  # 535, 401
    HANG_AFTER_BODY = "hang_after_body"  # takes the whole mail, never answers
    CUT_AFTER_BODY = "cut_after_body"  # takes the whole mail, closes without an answer
    CUT_MID_BODY = "cut_mid_body"  # closes after a part of the mail


@dataclass(frozen=True, slots=True)
class Letter:
    """What a law wants sent. The harness makes of it what its adapter takes."""

    recipient: str = "ann@example.org"
    subject: str = "Your receipt"
    text: str = "Thank you.\n"
    sender_name: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Received:
    """A mail the server took, decoded as a mail reader would show it. Header names are lower-case."""

    recipient: str
    subject: str
    sender_name: str
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


class PortHarness(Protocol):
    """An adapter, and what became of the mails that it was given."""

    def relay(self) -> Relay:
        """A new adapter; one for a server has time-outs of about a second."""
        ...

    def mail(self, letter: Letter) -> Mail: ...

    def begun(self) -> int:
        """Mails of which the far end saw at least one byte (a MAIL command, a request)."""
        ...

    def received(self) -> Sequence[Received]:
        """Mails the far end saw to their end, also those that it did not answer for, or refused then."""
        ...


class RelayHarness(PortHarness, Protocol):
    """An adapter and the scripted server it talks to."""

    #: The seconds that THROTTLE carries; None where the server cannot say.
    throttle_hint: float | None
    #: The adapter sees a mail cut before its last byte as not taken; False where its protocol cannot tell.
    knows_unfinished: bool
    #: Mails that it hands over in one request, which share the fate of their line.
    together: int

    def lonely_relay(self) -> Relay:
        """A new adapter for an address at which nobody listens."""
        ...

    def unreachable_relay(self) -> Relay:
        """A new adapter for a server that takes the connection (or not even that) and never says a word."""
        ...

    def unsupported(self) -> Sequence[Mail]:
        """Mails that this adapter cannot express, each for another reason."""
        ...

    def script(self, recipient: str, fault: Fault) -> None:
        """The server plays this fault for every mail to this recipient."""
        ...

    def garbage(self) -> Sequence[bytes]:
        """Answers that no sane server gives: none of them says that the mail was taken."""
        ...

    def answer_with(self, recipient: str, raw: bytes) -> None:
        """The server answers a whole mail to this recipient with these bytes, then closes."""
        ...

    async def taken(self, mails: int) -> None:
        """Return when the server has seen this many mails to their end."""
        ...


def open_gate() -> bool:
    return True


def shut_gate() -> bool:
    return False


def gate_for(mails: int) -> Callable[[], bool]:
    """Lets so many mails begin, then shuts."""
    left = mails

    def gate() -> bool:
        nonlocal left
        left -= 1
        return left >= 0

    return gate


async def send(relay: Relay, mails: Sequence[Mail], gate: Callable[[], bool] = open_gate) -> list[Outcome]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await relay.send_many(mails, gate)
    finally:
        await relay.close()


async def send_one(relay: Relay, mail: Mail) -> Outcome:
    outcomes = await send(relay, [mail])
    assert len(outcomes) == 1, outcomes
    return outcomes[0]


class PortLaws:
    """Every adapter passes these, also one that opens no connection."""

    @pytest.fixture
    def harness(self) -> PortHarness:
        raise NotImplementedError("the adapter's test module brings its harness")

    async def test_a_mail_is_accepted_with_the_relays_own_id(self, harness: PortHarness) -> None:
        outcome = await send_one(harness.relay(), harness.mail(Letter()))
        assert isinstance(outcome, Accepted), outcome
        assert outcome.provider_message_id
        assert [mail.recipient for mail in harness.received()] == ["ann@example.org"]

    async def test_nothing_to_send_is_nothing_said(self, harness: PortHarness) -> None:
        assert await send(harness.relay(), []) == []
        assert harness.begun() == 0

    async def test_many_are_each_accepted_once(self, harness: PortHarness) -> None:
        names = [f"r{n}@example.org" for n in range(60)]
        outcomes = await send(harness.relay(), [harness.mail(Letter(name)) for name in names])
        assert [type(outcome) for outcome in outcomes] == [Accepted] * 60
        ids = {outcome.provider_message_id for outcome in outcomes if isinstance(outcome, Accepted)}
        assert len(ids) == 60, "each mail has its own id"
        assert sorted(mail.recipient for mail in harness.received()) == sorted(names)

    async def test_two_callers_share_one_relay(self, harness: PortHarness) -> None:
        relay = harness.relay()
        left = [harness.mail(Letter(f"left{n}@example.org")) for n in range(15)]
        right = [harness.mail(Letter(f"right{n}@example.org")) for n in range(15)]
        try:
            async with asyncio.timeout(PATIENCE):
                both = await asyncio.gather(
                    relay.send_many(left, open_gate), relay.send_many(right, open_gate)
                )
        finally:
            await relay.close()
        for outcomes in both:
            assert [type(outcome) for outcome in outcomes] == [Accepted] * 15
        assert len(harness.received()) == 30

    async def test_a_shut_gate_begins_nothing(self, harness: PortHarness) -> None:
        mails = [harness.mail(Letter(f"r{n}@example.org")) for n in range(5)]
        outcomes = await send(harness.relay(), mails, shut_gate)
        assert [type(outcome) for outcome in outcomes] == [NotBegun] * 5
        assert harness.begun() == 0

    async def test_a_gate_that_shuts_midway_stops_there(self, harness: PortHarness) -> None:
        mails = [harness.mail(Letter(f"r{n}@example.org")) for n in range(12)]
        outcomes = await send(harness.relay(), mails, gate_for(5))
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds.count(Accepted) == 5, outcomes
        assert kinds.count(NotBegun) == 7, outcomes
        assert len(harness.received()) == harness.begun() == 5

    async def test_closing_twice_is_closing(self, harness: PortHarness) -> None:
        relay = harness.relay()
        await relay.close()
        await relay.close()
        assert harness.begun() == 0


class RelayLaws(PortLaws):
    """Every adapter that talks to a server passes these as well."""

    @pytest.fixture
    def harness(self) -> RelayHarness:
        raise NotImplementedError("the adapter's test module brings its harness")

    async def test_a_refused_address_is_an_end_with_its_reason(self, harness: RelayHarness) -> None:
        harness.script("gone@example.org", Fault.REJECT_RECIPIENT)
        outcome = await send_one(harness.relay(), harness.mail(Letter("gone@example.org")))
        assert isinstance(outcome, RejectedRecipient | RejectedMessage), outcome
        assert outcome.reply, "an end has its reason in words"

    async def test_a_refused_message_is_an_end_with_its_reason(self, harness: RelayHarness) -> None:
        harness.script("big@example.org", Fault.REJECT_MESSAGE)
        outcome = await send_one(harness.relay(), harness.mail(Letter("big@example.org")))
        assert isinstance(outcome, RejectedMessage), outcome
        assert outcome.reply, "an end has its reason in words"

    async def test_bad_credentials_are_the_accounts_trouble(self, harness: RelayHarness) -> None:
        harness.script("ann@example.org", Fault.BAD_CREDENTIALS)
        outcome = await send_one(harness.relay(), harness.mail(Letter()))
        assert isinstance(outcome, AccountTrouble), outcome
        assert harness.received() == []

    async def test_throttled_is_try_later_with_the_relays_hint(self, harness: RelayHarness) -> None:
        harness.script("ann@example.org", Fault.THROTTLE)
        outcome = await send_one(harness.relay(), harness.mail(Letter()))
        assert isinstance(outcome, TryLater), outcome
        if harness.throttle_hint is not None:
            assert outcome.retry_after == pytest.approx(harness.throttle_hint, abs=2.0)

    async def test_the_servers_own_trouble_is_try_later(self, harness: RelayHarness) -> None:
        harness.script("ann@example.org", Fault.TROUBLE)
        outcome = await send_one(harness.relay(), harness.mail(Letter()))
        assert isinstance(outcome, TryLater), outcome
        assert outcome.reply

    async def test_a_refused_connection_slows_the_relay(self, harness: RelayHarness) -> None:
        outcomes = await send(harness.lonely_relay(), [harness.mail(Letter()), harness.mail(Letter())])
        for outcome in outcomes:
            assert isinstance(outcome, TryLater), outcome
            assert outcome.slow_relay, outcome

    async def test_time_out_before_the_mail_took_nothing(self, harness: RelayHarness) -> None:
        outcome = await send_one(harness.unreachable_relay(), harness.mail(Letter()))
        assert isinstance(outcome, TryLater | NotBegun), outcome

    async def test_time_out_after_the_mail_is_doubt(self, harness: RelayHarness) -> None:
        harness.script("ann@example.org", Fault.HANG_AFTER_BODY)
        outcome = await send_one(harness.relay(), harness.mail(Letter()))
        assert isinstance(outcome, OutcomeUnknown), outcome
        assert outcome.reason

    async def test_a_line_cut_after_the_mail_is_doubt(self, harness: RelayHarness) -> None:
        harness.script("ann@example.org", Fault.CUT_AFTER_BODY)
        outcome = await send_one(harness.relay(), harness.mail(Letter()))
        assert isinstance(outcome, OutcomeUnknown), outcome
        assert len(harness.received()) == 1, "the law needs a server that took the mail"

    async def test_a_line_cut_within_the_mail_is_never_an_end(self, harness: RelayHarness) -> None:
        harness.script("ann@example.org", Fault.CUT_MID_BODY)
        letter = Letter(text="A line of a long letter.\n" * 40_000)
        outcome = await send_one(harness.relay(), harness.mail(letter))
        if harness.knows_unfinished:
            assert isinstance(outcome, TryLater), outcome
        else:
            assert isinstance(outcome, TryLater | OutcomeUnknown), outcome
        assert harness.received() == []

    async def test_a_broken_line_never_hides_the_others(self, harness: RelayHarness) -> None:
        harness.script("r7@example.org", Fault.CUT_AFTER_BODY)
        mails = [harness.mail(Letter(f"r{n}@example.org")) for n in range(20)]
        outcomes = await send(harness.relay(), mails)
        doubtful = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, OutcomeUnknown)]
        first = 7 - 7 % harness.together
        assert doubtful == list(range(first, first + harness.together)), outcomes
        accepted = {
            f"r{n}@example.org" for n, outcome in enumerate(outcomes) if isinstance(outcome, Accepted)
        }
        received = {mail.recipient for mail in harness.received()}
        assert received == accepted | {f"r{n}@example.org" for n in doubtful}
        for n, outcome in enumerate(outcomes):
            if n not in doubtful:
                assert isinstance(outcome, Accepted | TryLater | NotBegun), outcome

    async def test_answers_come_in_order(self, harness: RelayHarness) -> None:
        harness.script("gone@example.org", Fault.REJECT_RECIPIENT)
        harness.script("busy@example.org", Fault.TROUBLE)
        harness.script("big@example.org", Fault.REJECT_MESSAGE)
        names = ["a", "gone", "b", "busy", "c", "big", "gone", "d", "busy", "busy", "e"]
        outcomes = await send(
            harness.relay(), [harness.mail(Letter(f"{name}@example.org")) for name in names]
        )
        assert len(outcomes) == len(names)
        for name, outcome in zip(names, outcomes, strict=True):
            match name:
                case "gone":
                    assert isinstance(outcome, RejectedRecipient | RejectedMessage), outcome
                case "big":
                    assert isinstance(outcome, RejectedMessage), outcome
                case "busy":
                    assert isinstance(outcome, TryLater), outcome
                case _:
                    assert isinstance(outcome, Accepted), (name, outcome)

    async def test_what_it_cannot_express_it_refuses_aloud(self, harness: RelayHarness) -> None:
        mails = harness.unsupported()
        assert mails
        outcomes = await send(harness.relay(), mails)
        for outcome in outcomes:
            assert isinstance(outcome, RejectedMessage), outcome
            assert outcome.reply
        assert harness.received() == []

    async def test_names_of_every_script_arrive(self, harness: RelayHarness) -> None:
        letter = Letter(
            subject="Ваш чек, 領収書, kvittering ✓", sender_name="Žofie Łukasz 山田", text="Grüße ✓\n"
        )
        outcome = await send_one(harness.relay(), harness.mail(letter))
        assert isinstance(outcome, Accepted), outcome
        [mail] = harness.received()
        assert (mail.subject, mail.sender_name) == (letter.subject, letter.sender_name)
        assert mail.text.strip() == letter.text.strip()

    async def test_long_headers_arrive(self, harness: RelayHarness) -> None:
        value = " ".join(f"word{n}" for n in range(150))
        outcome = await send_one(
            harness.relay(), harness.mail(Letter(subject=value, headers=(("X-Long", value),)))
        )
        assert isinstance(outcome, Accepted), outcome
        [mail] = harness.received()
        assert mail.subject == value
        assert mail.headers["x-long"] == value

    async def test_a_line_that_begins_with_a_dot_arrives(self, harness: RelayHarness) -> None:
        letter = Letter(text=".\n..two\n.end\nlast\n")
        outcome = await send_one(harness.relay(), harness.mail(letter))
        assert isinstance(outcome, Accepted), outcome
        [mail] = harness.received()
        assert mail.text.rstrip() == letter.text.rstrip()

    async def test_garbage_is_never_an_acceptance(self, harness: RelayHarness) -> None:
        answers = harness.garbage()
        assert answers
        for n, raw in enumerate(answers):
            recipient = f"g{n}@example.org"
            harness.answer_with(recipient, raw)
            outcome = await send_one(harness.relay(), harness.mail(Letter(recipient)))
            assert not isinstance(outcome, Accepted), (raw[:80], outcome)

    async def test_a_cancelled_call_leaves_a_relay_that_works(self, harness: RelayHarness) -> None:
        harness.script("slow@example.org", Fault.HANG_AFTER_BODY)
        relay = harness.relay()
        call = asyncio.create_task(relay.send_many([harness.mail(Letter("slow@example.org"))], open_gate))
        async with asyncio.timeout(PATIENCE):
            await harness.taken(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        outcome = await send_one(relay, harness.mail(Letter("next@example.org")))
        assert isinstance(outcome, Accepted), outcome
