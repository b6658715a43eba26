"""The SMTP relay: raw mail to any server that speaks RFC 5321, over a pool of pipelined connections."""

import asyncio
import random
from collections.abc import Sequence
from typing import assert_never

from posthouse.clock import Clock
from posthouse.domain.event import BounceClass
from posthouse.domain.ids import RelayAccount
from posthouse.domain.message import RawMail, Rendered
from posthouse.failpoints import failpoint
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    Capabilities,
    Gate,
    NotBegun,
    Outcome,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    Tell,
    TryLater,
    tell_nobody,
)
from posthouse.relays.smtp_account import SMTP_CAPABILITIES, SmtpAccount, Tls
from posthouse.relays.smtp_client import Session
from posthouse.relays.smtp_connect import ConnectFailed
from posthouse.relays.smtp_line import Timeouts
from posthouse.relays.smtp_pool import NoConnection, SessionPool
from posthouse.relays.smtp_wire import Extensions, Ready, prepare
from posthouse.replies.classify import ReplyClass, Stage, Verdict, classify
from posthouse.replies.reply import Reply

__all__ = ["SMTP_CAPABILITIES", "SmtpAccount", "SmtpRelay", "Timeouts", "Tls"]

_MAILS_PER_SESSION = 8  # so many in one call make another connection worth its opening
_TOO_LATE = "no connection became free in time"
_NO_TURN = "the server did not answer about the mail before it in time"


class SmtpRelay:
    """One account at one SMTP server (implements `relays.base.Relay`). Raises Misconfigured when made."""

    def __init__(self, settings: SmtpAccount, *, clock: Clock, rng: random.Random) -> None:
        self.account: RelayAccount = settings.account
        self.capabilities: Capabilities = settings.capabilities
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._pool = SessionPool(settings, clock)

    async def send_many(
        self, mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell = tell_nobody
    ) -> list[Outcome]:
        """Spread the mails over the connections; see `relays.base.Relay`."""
        batch = _Batch(mails, gate, tell, self._settings, self._clock, self._rng)
        sessions = min(self._settings.max_connections, -(-len(mails) // _MAILS_PER_SESSION))
        watch = _Watch(batch, self._settings.timeouts)
        try:
            if sessions == 1:
                batch.give_up(await self._work(batch))
            elif sessions > 1:
                async with asyncio.TaskGroup() as group:
                    work = [group.create_task(self._work(batch)) for _ in range(sessions)]
                troubles = (task.result() for task in work)
                batch.give_up(next((trouble for trouble in troubles if trouble is not None), None))
        finally:
            watch.end()
        return batch.outcomes()

    async def close(self) -> None:
        await self._pool.close()

    async def _work(self, batch: "_Batch") -> TryLater | AccountTrouble | None:
        """Send mails of the batch over one connection after another; says why it could not."""
        while batch.may_begin():
            try:
                session = await self._pool.borrow(batch.seconds_left())
            except NoConnection:
                return None
            except ConnectFailed as failure:
                return failure.outcome
            batch.sessions.add(session)
            try:
                await session.run(batch)
            finally:
                batch.sessions.discard(session)
                self._pool.give_back(session)
        return None


class _Watch:
    """While sessions wait for answers: ends what could not begin when its time is over, and takes back what
    still waits for its turn on a line when a command has been waited for for as long as that is done."""

    def __init__(self, batch: "_Batch", timeouts: Timeouts) -> None:
        self._batch = batch
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._timer = self._look_in(batch.seconds_left())

    def end(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        left = self._batch.seconds_left()
        if left <= 0:
            self._batch.give_up(None)
            left += self._timeouts.command
        if left <= 0:
            self._batch.withdraw()
        else:
            self._timer = self._look_in(left)

    def _look_in(self, seconds: float) -> asyncio.TimerHandle:
        return self._loop.call_later(min(seconds, self._timeouts.check_every), self._look)


class _Batch:
    """The mails of one call and what became of them; feeds every session that works for the call."""

    def __init__(
        self,
        mails: Sequence[Rendered | RawMail],
        gate: Gate,
        tell: Tell,
        settings: SmtpAccount,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._mails = mails
        self._gate = gate
        self._tell = tell
        self._max_bytes = settings.capabilities.max_message_bytes
        self._clock = clock
        self._rng = rng
        self._latest_begin = clock.monotonic() + settings.begin_within
        self._outcomes: list[Outcome | None] = [None] * len(mails)
        self._next = 0
        self._given_back: list[int] = []
        self._returned: dict[int, TryLater] = {}  # went back once; what to say if nobody takes it again
        self._stopped: str | None = None  # why no further mail begins
        self.sessions: set[Session] = set()

    def may_begin(self) -> bool:
        waiting = bool(self._given_back) or self._next < len(self._mails)
        return waiting and self._stopped is None and self.seconds_left() > 0

    def seconds_left(self) -> float:
        return self._latest_begin - self._clock.monotonic()

    def give_up(self, trouble: TryLater | AccountTrouble | None) -> None:
        """Settles what no session took."""
        for ticket in (*self._given_back, *range(self._next, len(self._mails))):
            if ticket in self._returned:
                self._settle(ticket, trouble or self._returned[ticket])
            elif self._stopped is not None:
                self._settle(ticket, NotBegun(self._stopped))
            else:
                self._settle(ticket, trouble or NotBegun(_TOO_LATE, slow_relay=True))
        self._given_back, self._next = [], len(self._mails)

    def withdraw(self) -> None:
        """Ends what is behind a mail whose answer does not come."""
        for session in self.sessions:
            if (ready := session.withdraw()) is not None:
                self._settle(ready.ticket, TryLater(_NO_TURN, slow_relay=True))

    def _settle(self, ticket: int, outcome: Outcome) -> None:
        if self._outcomes[ticket] is None:  # else it was withdrawn
            self._outcomes[ticket] = outcome
            self._tell(ticket, outcome)

    def outcomes(self) -> list[Outcome]:
        settled = [outcome for outcome in self._outcomes if outcome is not None]
        assert len(settled) == len(self._mails), "every mail has its outcome"
        return settled

    # ---- smtp_client.Feed --------------------------------------------------------------------------------

    def next(self, offered: Extensions) -> Ready | None:
        while self.may_begin():
            ticket = self._given_back[-1] if self._given_back else self._next
            ready = self._prepare(ticket, offered)
            if isinstance(ready, Ready) and not self._gate():
                self._stopped = "the gate was shut"
                return None
            if self._given_back:
                self._given_back.pop()
            else:
                self._next += 1
            if isinstance(ready, Ready):
                return ready
            self._settle(ticket, ready)
        return None

    def may_go_on(self) -> bool:
        return self._gate()

    def answered(self, ready: Ready, stage: Stage, reply: Reply) -> None:
        if stage is Stage.FINAL_DOT and 200 <= reply.code < 300:
            failpoint("relay.smtp.accepted")
            text = reply.text
            self._settle(ready.ticket, Accepted(_provider_id(text) or str(reply.code), text))
            return
        verdict = classify(stage, reply.code, reply.enhanced, reply.text)
        outcome = _outcome(stage, verdict, reply, self._rng)
        if verdict.reply_class is ReplyClass.PARAMETERS and isinstance(outcome, TryLater):
            self._again(ready, outcome)
            return
        self._settle(ready.ticket, outcome)
        if isinstance(outcome, AccountTrouble) or (isinstance(outcome, TryLater) and outcome.slow_relay):
            self._stopped = self._stopped or f"the relay said: {outcome.reply}"

    def untaken(self, ready: Ready, reason: str) -> None:
        self._again(ready, TryLater(reason))

    def unanswered(self, ready: Ready, reason: str) -> None:
        self._settle(ready.ticket, TryLater(reason, slow_relay=True))
        self._stopped = self._stopped or reason

    def in_doubt(self, ready: Ready, reason: str) -> None:
        self._settle(ready.ticket, OutcomeUnknown(reason))

    def _again(self, ready: Ready, outcome: TryLater) -> None:
        """Once more over another connection, if there is still time; the second time is the answer."""
        if ready.ticket in self._returned or self.seconds_left() <= 0:
            self._settle(ready.ticket, outcome)
        else:
            self._returned[ready.ticket] = outcome
            self._given_back.append(ready.ticket)

    def _prepare(self, ticket: int, offered: Extensions) -> Ready | RejectedMessage:
        mail = self._mails[ticket]
        if isinstance(mail, Rendered):
            return RejectedMessage("The SMTP relay takes raw mail only.")
        return prepare(ticket, mail, offered, self._max_bytes)


def _provider_id(text: str) -> str:
    """The server's own name for the mail: after "queued as" (Postfix, SendGrid), else all it said."""
    _, found, rest = text.partition("queued as ")
    return rest.split(" ", 1)[0].strip("<>") if found else text


def _outcome(stage: Stage, verdict: Verdict, reply: Reply, rng: random.Random) -> Outcome:
    text, code, enhanced = str(reply), reply.code, reply.enhanced
    wait = rng.uniform(*verdict.retry_after) if verdict.retry_after is not None else None
    match verdict.reply_class:
        case ReplyClass.TRY_LATER | ReplyClass.GREYLISTED | ReplyClass.PARAMETERS:
            return TryLater(text, wait, smtp_code=code, enhanced_code=enhanced)
        case ReplyClass.THROTTLED | ReplyClass.RELAY_DOWN:
            # To RCPT it is said of this recipient: a relay that means itself says so to the next connection.
            slow = stage is not Stage.RCPT
            return TryLater(text, wait, slow_relay=slow, smtp_code=code, enhanced_code=enhanced)
        case ReplyClass.HARD_RECIPIENT:
            return RejectedRecipient(BounceClass.HARD, text, code, enhanced)
        case ReplyClass.SOFT_RECIPIENT:
            return RejectedRecipient(BounceClass.SOFT, text, code, enhanced)
        case ReplyClass.BLOCK:
            return RejectedRecipient(BounceClass.BLOCK, text, code, enhanced)
        case ReplyClass.MESSAGE:
            return RejectedMessage(text, code, enhanced)
        case ReplyClass.ACCOUNT | ReplyClass.PROTOCOL:
            return AccountTrouble(text, code, enhanced)
        case ReplyClass.ACCEPTED:
            # A yes to something that is not the whole mail takes nothing.
            return TryLater(text, wait, smtp_code=code, enhanced_code=enhanced)
        case _:
            assert_never(verdict.reply_class)
