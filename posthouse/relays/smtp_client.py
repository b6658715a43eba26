"""Mails over one connection to an SMTP server (RFC 5321), driven by its replies.

With PIPELINING (RFC 2920) MAIL, RCPT and DATA are one write, and they go together with the final dot of the
mail before: DATA ends a group of commands, what follows its dot begins the next. A mail's content is only
written after its own 354, which comes after the answer to the mail before, so however the line breaks at
most one mail on it is in doubt.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol, assert_never

from posthouse.clock import Clock
from posthouse.failpoints import failpoint
from posthouse.relays.smtp_line import Line, Timeouts
from posthouse.relays.smtp_wire import Extensions, Ready
from posthouse.replies.classify import Stage
from posthouse.replies.reply import Reply

_DATA = b"DATA\r\n"
_DOT = b".\r\n"
_RSET = b"RSET\r\n"
_PARAMETER_CODES = frozenset((455, 555))
_GATE_HOLDS = 1.0  # seconds for which a yes of the gate is good
_MID_DATA = "relay.smtp.mid_data"

#: Bodies up to this go out in one write with their dot. Larger ones wait until the kernel has all of them, so
#: that a line that breaks within one is known to have broken before its dot. A test that wants to die within
#: a body needs every body to go that way.
_WHOLE_WRITE = 0 if _MID_DATA in os.environ.get("POSTHOUSE_FAILPOINTS", "") else 65_536
_FLUSH_POLL = (0.001, 0.05)  # seconds: first, longest


class Feed(Protocol):
    """Where a session gets its mails from and brings what became of them, once for each."""

    def next(self, offered: Extensions) -> Ready | None:
        """The next mail that may begin now; None: there is none, or none may begin."""
        ...

    def may_go_on(self) -> bool:
        """Asked again before a content whose envelope went out more than a second ago."""
        ...

    def answered(self, ready: Ready, stage: Stage, reply: Reply) -> None: ...

    def untaken(self, ready: Ready, reason: str) -> None:
        """The line broke, or the server closed it, before the final dot: the server has not taken it."""
        ...

    def unanswered(self, ready: Ready, reason: str) -> None:
        """The server said nothing for as long as it is waited for, before the final dot."""
        ...

    def in_doubt(self, ready: Ready, reason: str) -> None:
        """The line broke between the final dot and its answer."""
        ...


class _Step(Enum):
    """What a reply that is awaited will answer."""

    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    DOT = auto()
    LONE_DOT = auto()  # ends a content that should not have been asked for (RFC 2920 section 3.1)
    RSET = auto()


_STAGES = {_Step.MAIL: Stage.MAIL, _Step.RCPT: Stage.RCPT, _Step.DATA: Stage.DATA, _Step.DOT: Stage.FINAL_DOT}


class Session(Line):
    """A connection that sends the mails of one feed at a time. Made by `smtp_connect.connect`."""

    def __init__(
        self,
        *,
        clock: Clock,
        timeouts: Timeouts,
        mails_per_connection: int,
        on_lost: Callable[["Session"], None],
    ) -> None:
        super().__init__(clock=clock, timeouts=timeouts, on_lost=lambda: on_lost(self))
        self.extensions = Extensions()
        self.mails = 0  # begun on this connection
        self.idle_since = 0.0
        self._limit = mails_per_connection
        self._awaited: deque[tuple[_Step, Ready | None]] = deque()
        self._feed: Feed | None = None
        self._done: asyncio.Future[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._begun_at = 0.0
        self._refusal: tuple[Stage, Reply] | None = None  # of the mail whose envelope is being answered
        self._in_transaction = False
        self._unfinished: Ready | None = None  # its content is being written, its dot is not
        self._unflushed = 0
        self._was_silent = False
        self._withdrawn: Ready | None = None  # never to get its content on this line

    @property
    def usable(self) -> bool:
        return self.quiet and self.mails < self._limit

    async def run(self, feed: Feed) -> None:
        """Send what the feed gives, until it gives no more or the connection breaks. Never raises but on
        cancellation, which breaks the connection."""
        if self.broken is not None:
            return
        self._feed = feed
        self._done = self._loop.create_future()
        self._since = self._clock.monotonic()
        self._go_on()
        if not self._done.done():
            self._watch = self._loop.call_later(self._timeouts.check_every, self._look_at_the_time)
        try:
            await self._done
        finally:
            if not self._done.done() or self._done.cancelled():
                self.abandon("cancelled")

    def withdraw(self) -> Ready | None:
        """Take back the mail on the line of which nothing but its envelope is out, if there is one: the
        server cannot have taken it, and now never will. The feed need not be told of its end."""
        waiting = [ready for step, ready in self._awaited if step is not _Step.DOT and ready is not None]
        self._withdrawn = waiting[-1] if waiting else None
        return self._withdrawn

    # ---- replies -----------------------------------------------------------------------------------------

    def _on_reply(self, reply: Reply) -> None:
        if not self._awaited or self._feed is None:
            self._unasked(reply)
            return
        step, ready = self._awaited.popleft()
        if ready is None:
            self._on_housekeeping(step, reply)
        elif reply.code == 421:
            self._on_closing(self._feed, step, ready, reply)
        else:
            self._on_mail_reply(self._feed, step, ready, reply)
        if not self._awaited and self._unfinished is None:
            self._go_on()

    def _on_mail_reply(self, feed: Feed, step: _Step, ready: Ready, reply: Reply) -> None:
        match step:
            case _Step.MAIL:
                self._on_mail(feed, ready, reply)
            case _Step.RCPT:
                self._on_rcpt(feed, ready, reply)
            case _Step.DATA:
                self._on_data(feed, ready, reply)
            case _Step.DOT:
                self._on_dot(feed, ready, reply)
            case _Step.LONE_DOT | _Step.RSET:
                raise AssertionError(f"{step} belongs to no mail")
            case _:
                assert_never(step)

    def _on_housekeeping(self, step: _Step, reply: Reply) -> None:
        """After a lone dot any answer will do: its mail was settled by what refused it."""
        if reply.code == 421 or (step is _Step.RSET and not 200 <= reply.code < 300):
            self._break(f"the server closes the connection: {reply}")

    def _on_mail(self, feed: Feed, ready: Ready, reply: Reply) -> None:
        self._refusal = None
        self._in_transaction = 200 <= reply.code < 300
        if not self._in_transaction:
            self._refusal = (Stage.MAIL, reply)
            if not self.extensions.pipelining:
                self._refused(feed, ready, Stage.MAIL, reply)
        elif not self.extensions.pipelining:
            self._awaited.append((_Step.RCPT, ready))
            self._write(ready.rcpt)

    def _on_rcpt(self, feed: Feed, ready: Ready, reply: Reply) -> None:
        if not 200 <= reply.code < 300:
            self._refusal = self._refusal or (Stage.RCPT, reply)
            if not self.extensions.pipelining:
                self._refused(feed, ready, *self._refusal)
        elif not self.extensions.pipelining:
            self._awaited.append((_Step.DATA, ready))
            self._write(_DATA)

    def _on_data(self, feed: Feed, ready: Ready, reply: Reply) -> None:
        if reply.code != 354:
            self._refused(feed, ready, *(self._refusal or (Stage.DATA, reply)))
            if reply.code < 400:
                self._break(f"the server is out of step: {reply}")
        elif self._more:
            # Whatever it has said ahead would be taken for the answer to the final dot.
            self._give_up(feed, ready, "the server answered what it was not asked")
        elif self._refusal is not None:
            self._send_lone_dot(feed, ready, *self._refusal)
        elif ready is self._withdrawn or (
            self._since - self._begun_at > _GATE_HOLDS and not feed.may_go_on()
        ):
            self._give_up(feed, ready, "the gate was shut before the content")
        else:
            self._send_content(ready)

    def _on_dot(self, feed: Feed, ready: Ready, reply: Reply) -> None:
        if 300 <= reply.code < 400:
            feed.in_doubt(ready, f"the server's answer to the mail makes no sense: {reply}")
            self._break(f"the server is out of step: {reply}")
        else:
            feed.answered(ready, Stage.FINAL_DOT, reply)

    def _on_closing(self, feed: Feed, step: _Step, ready: Ready, reply: Reply) -> None:
        """421 may come at any time; what it answers was not taken (RFC 5321 section 3.8)."""
        self._awaited = deque(item for item in self._awaited if item[1] is not ready)
        if self._refusal is not None and step in (_Step.RCPT, _Step.DATA):
            feed.answered(ready, *self._refusal)
        elif step is _Step.MAIL and self.mails > 1:
            # Said to the connection, which has had its share or was idle too long, not to this mail.
            feed.untaken(ready, f"the server closed the connection: {reply}")
        else:
            feed.answered(ready, _STAGES[step], reply)
        self._break(f"the server closed the connection: {reply}")

    def _unasked(self, reply: Reply) -> None:
        if self._unfinished is not None and self._feed is not None and reply.code >= 400:
            self._feed.answered(self._unfinished, Stage.FINAL_DOT, reply)  # refused before its end
            self._unfinished = None
        self._break(f"the server spoke unasked: {reply}")

    # ---- commands ----------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Nothing is awaited: begin the next mail, or be done."""
        commands = self._next_envelope()
        if commands:
            self._write(commands)
        else:
            self._finish()

    def _next_envelope(self) -> bytes:
        """The commands of the next mail, as far as they may go out now; empty: no mail may begin."""
        if self.mails >= self._limit or self._feed is None:
            return b""
        ready = self._feed.next(self.extensions)
        if ready is None:
            return b""
        self.mails += 1
        self._begun_at = self._since
        self._awaited.append((_Step.MAIL, ready))
        if not self.extensions.pipelining:
            return ready.mail
        self._awaited.append((_Step.RCPT, ready))
        self._awaited.append((_Step.DATA, ready))
        return ready.mail + ready.rcpt + _DATA

    def _next_if_pipelining(self) -> bytes:
        return self._next_envelope() if self.extensions.pipelining else b""

    def _refused(self, feed: Feed, ready: Ready, stage: Stage, reply: Reply) -> None:
        """The mail ends before its content: say so, clear the server's transaction, begin the next."""
        if reply.code in _PARAMETER_CODES:
            self.extensions = self.extensions.without_parameters()
        feed.answered(ready, stage, reply)
        commands = b""
        if self._in_transaction:
            self._in_transaction = False
            self._awaited.append((_Step.RSET, None))
            commands = _RSET
        commands += self._next_if_pipelining()
        if commands:
            self._write(commands)

    def _send_lone_dot(self, feed: Feed, ready: Ready, stage: Stage, reply: Reply) -> None:
        feed.answered(ready, stage, reply)
        self._awaited.append((_Step.LONE_DOT, None))
        self._write(_DOT + self._next_if_pipelining())

    def _send_content(self, ready: Ready) -> None:
        if self._is_failing():
            self._unfinished = ready
            return
        if len(ready.body) <= _WHOLE_WRITE and self._buffered() == 0:
            self._send_dot(ready, ready.body)
            return
        self._unfinished = ready
        self._write(ready.body)
        self._unflushed = self._buffered() + 1
        self._loop.call_soon(self._send_dot_when_flushed, _FLUSH_POLL[0])

    def _send_dot_when_flushed(self, delay: float) -> None:
        # Asked again and again, because a TLS transport does not tell when the one below it has drained.
        ready = self._unfinished
        if ready is None or self._is_failing():
            return
        buffered = self._buffered()
        if buffered:
            if buffered < self._unflushed:
                self._unflushed, self._since = buffered, self._clock.monotonic()
            self._loop.call_later(delay, self._send_dot_when_flushed, min(2 * delay, _FLUSH_POLL[1]))
            return
        failpoint(_MID_DATA)
        self._unfinished = None
        self._since = self._clock.monotonic()
        self._send_dot(ready, b"")

    def _send_dot(self, ready: Ready, before: bytes) -> None:
        self._awaited.append((_Step.DOT, ready))
        self._write(b"".join((before, _DOT, self._next_if_pipelining())))

    # ---- ends --------------------------------------------------------------------------------------------

    def _give_up(self, feed: Feed, ready: Ready, reason: str) -> None:
        feed.untaken(ready, reason)
        self._break(reason)

    def _look_at_the_time(self) -> None:
        if self._feed is None:
            return
        allowed = self._allowed()
        if self._clock.monotonic() - self._since > allowed:
            # Silent of a mail before, it has said nothing of the one whose envelope went out with that.
            self._was_silent = not self._awaits_a_dot()
            self._break(f"the server did not answer within {allowed:g} s")
        else:
            self._watch = self._loop.call_later(self._timeouts.check_every, self._look_at_the_time)

    def _awaits_a_dot(self) -> bool:
        return bool(self._awaited) and self._awaited[0][0] in (_Step.DOT, _Step.LONE_DOT)

    def _allowed(self) -> float:
        """Seconds that what is awaited now may take."""
        if not self._awaited:
            return self._timeouts.block
        match self._awaited[0][0]:
            case _Step.DOT | _Step.LONE_DOT:
                return self._timeouts.final_dot
            case _Step.DATA:
                return self._timeouts.data
            case _Step.MAIL | _Step.RCPT | _Step.RSET:
                return self._timeouts.command
            case step:
                assert_never(step)

    def _on_break(self, reason: str) -> None:
        """Settles every mail on the line, once."""
        feed, unfinished, awaited = self._feed, self._unfinished, self._awaited
        self._unfinished, self._awaited = None, deque()
        if feed is not None:
            left = feed.unanswered if self._was_silent else feed.untaken
            if unfinished is not None:
                left(unfinished, reason)
            self._settle(feed, left, awaited, reason)
        self._finish()

    def _settle(
        self,
        feed: Feed,
        left: Callable[[Ready, str], None],
        awaited: deque[tuple[_Step, Ready | None]],
        reason: str,
    ) -> None:
        settled: Ready | None = None
        for step, ready in awaited:
            if ready is None or ready is settled:
                continue
            settled = ready
            if step is _Step.DOT:
                feed.in_doubt(ready, reason)
            elif step is not _Step.MAIL and self._refusal is not None:
                feed.answered(ready, *self._refusal)  # it refused, then went before the rest of its answers
            else:
                left(ready, reason)

    def _finish(self) -> None:
        self._feed = None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._done is not None and not self._done.done():
            self._done.set_result(None)
