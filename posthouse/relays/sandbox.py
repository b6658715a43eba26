"""The relay of test keys' mail: it opens no connection, and tells what would have happened.

It tells as relays do, by callbacks of its own that go the way of all callbacks, so that deduplication,
lifecycle, suppression, books and timeline are those of real mail.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import msgspec

from posthouse.clock import Clock
from posthouse.domain.errors import InvalidInput, NotNow
from posthouse.domain.event import BounceClass, Event, EventType, Origin
from posthouse.domain.ids import JobId, foreign_event_id
from posthouse.domain.message import RawMail, Rendered
from posthouse.domain.sandbox import SANDBOX_ACCOUNT, Ending, ending_of
from posthouse.relays.base import (
    Accepted,
    Capabilities,
    Gate,
    NotBegun,
    Outcome,
    OutcomeUnknown,
    RawCallback,
    RejectedMessage,
    Tell,
    Unplaced,
    tell_nobody,
)

#: The relay's part in /hooks/{relay}/{account}, though nothing is taken there.
SANDBOX: Final = "sandbox"

CAPABILITIES: Final = Capabilities(
    takes_raw=False,
    max_message_bytes=25_000_000,
    batch=64,
    shows_other_recipients=True,
    keeps_message_id=True,
    reports_acceptance=True,
    can_be_asked=False,
    own_return_path=True,
)

#: Makes callbacks durable; raises NotNow.
Keep: TypeAlias = Callable[[Sequence[RawCallback]], Awaitable[None]]

#: From one event of a mail to the next: the timeline shows them in the order in which they happen.
_STEP: Final = timedelta(milliseconds=1)
#: A reader that nobody takes for a machine (ingest/machines.toml).
_READER: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class _Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event as a callback's body has it."""

    job_id: JobId
    attempt: int
    recipient: str
    event: EventType
    occurred_at: datetime
    diagnostic: str = ""
    bounce: BounceClass | None = None
    smtp_code: int | None = None
    enhanced_code: str | None = None
    url: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """What happens to a mail after it was taken."""

    event: EventType
    diagnostic: str = ""
    bounce: BounceClass | None = None
    smtp_code: int | None = None
    enhanced_code: str | None = None
    url: str | None = None
    user_agent: str | None = None


_DELIVERED = _Step(EventType.DELIVERED, "250 2.0.0 Delivered to nobody", smtp_code=250, enhanced_code="2.0.0")
_STORIES: Final[dict[Ending, tuple[_Step, ...]]] = {
    Ending.DELIVERED: (_DELIVERED,),
    Ending.BOUNCED: (_Step(EventType.BOUNCED, "550 5.1.1 No such mailbox", BounceClass.HARD, 550, "5.1.1"),),
    Ending.SOFT_BOUNCED: (
        _Step(EventType.BOUNCED, "552 5.2.2 Mailbox is full", BounceClass.SOFT, 552, "5.2.2"),
    ),
    Ending.DEFERRED: (
        _Step(EventType.DEFERRED, "451 4.7.1 Greylisted, try again", smtp_code=451, enhanced_code="4.7.1"),
        _DELIVERED,
    ),
    Ending.COMPLAINED: (_DELIVERED, _Step(EventType.COMPLAINED, "reported as spam")),
    Ending.OPENED: (_DELIVERED, _Step(EventType.OPENED, user_agent=_READER)),
    Ending.CLICKED: (
        _DELIVERED,
        _Step(EventType.OPENED, user_agent=_READER),
        _Step(EventType.CLICKED, url="https://sandbox.invalid/", user_agent=_READER),
    ),
    # Refused at the hand-over: nothing happens after it.
    Ending.REJECTED: (),
    # The claim ends it; it comes here only when its suppression was removed before the mail was due.
    Ending.SUPPRESSED: (_DELIVERED,),
}
_REJECTED = RejectedMessage("554 5.7.1 Message refused", 554, "5.7.1")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[_Told]).decode


class SandboxRelay:
    """relays.base.Relay for mail that must reach nobody."""

    account = SANDBOX_ACCOUNT
    capabilities = CAPABILITIES

    def __init__(self, keep: Keep, clock: Clock) -> None:
        self._keep = keep
        self._clock = clock

    async def send_many(
        self, mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell = tell_nobody
    ) -> list[Outcome]:
        """What becomes of the mails is durable before any of them is called taken."""
        begun = [gate() for _ in mails]
        taken = [mail for mail, begins in zip(mails, begun, strict=True) if begins and not _is_rejected(mail)]
        trouble = await self._told(taken)
        return [
            _outcome(mail, trouble) if begins else NotBegun("the gate was shut")
            for mail, begins in zip(mails, begun, strict=True)
        ]

    async def close(self) -> None:
        """Nothing is open."""

    async def _told(self, mails: Sequence[Rendered | RawMail]) -> str:
        """Why it is not known whether these mails' events are stored; "" when they are."""
        if not mails:
            return ""
        now = self._clock.now()
        body = _encode([told for mail in mails for told in _story(mail, now)])
        try:
            await self._keep([RawCallback(SANDBOX, self.account, {}, body)])
        except NotNow as error:
            return error.message
        return ""


class SandboxCallbacks:
    """The way back: relays.base.CallbackReader for the processor."""

    relay = SANDBOX
    account = SANDBOX_ACCOUNT

    def verify(self, callback: RawCallback) -> bool:
        """Never: the sandbox is in this house, so what comes from outside is not its word."""
        return False

    def parse(self, callback: RawCallback) -> tuple[list[Event], list[Unplaced]]:
        try:
            return [_event(told) for told in _decode(callback.body)], []
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"This is not what the sandbox writes: {error}.") from error


def _is_rejected(mail: Rendered | RawMail) -> bool:
    return ending_of(mail.recipient) is Ending.REJECTED


def _outcome(mail: Rendered | RawMail, trouble: str) -> Outcome:
    if _is_rejected(mail):
        return _REJECTED
    if trouble:
        return OutcomeUnknown(f"the sandbox could not store what happens: {trouble}")
    return Accepted(f"sandbox-{mail.job_id}-{mail.attempt}", "250 2.0.0 Taken by the sandbox, sent nowhere")


def _story(mail: Rendered | RawMail, now: datetime) -> list[_Told]:
    return [
        _Told(
            mail.job_id,
            mail.attempt,
            mail.recipient,
            step.event,
            now + number * _STEP,
            step.diagnostic,
            step.bounce,
            step.smtp_code,
            step.enhanced_code,
            step.url,
            step.user_agent,
        )
        for number, step in enumerate(_STORIES[ending_of(mail.recipient)], start=1)
    ]


def _event(told: _Told) -> Event:
    return Event(
        job_id=told.job_id,
        event_id=foreign_event_id(SANDBOX, f"{told.job_id}:{told.attempt}:{told.event}"),
        attempt=told.attempt,
        type=told.event,
        origin=Origin.RELAY,
        occurred_at=told.occurred_at,
        bounce=told.bounce,
        reason=told.diagnostic,
        relay=SANDBOX_ACCOUNT,
        provider_message_id=f"sandbox-{told.job_id}-{told.attempt}",
        smtp_code=told.smtp_code,
        enhanced_code=told.enhanced_code,
        diagnostic=told.diagnostic,
        url=told.url,
        user_agent=told.user_agent,
        raw=_encode(told),
        recipient=told.recipient,
    )
