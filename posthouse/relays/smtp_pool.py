"""The connections of one account: opened when needed, lent to one call at a time, kept for a while."""

import asyncio
from collections import deque

from posthouse.clock import Clock
from posthouse.relays.smtp_account import SmtpAccount
from posthouse.relays.smtp_client import Session
from posthouse.relays.smtp_connect import ConnectFailed, connect, tls_context

_GOODBYE_SECONDS = 1.0
_OPENING_PAUSE = 1.0  # seconds after a refusal, while other connections stand


class NoConnection(Exception):
    """None became free and none could be opened in time."""


class SessionPool:
    """At most `max_connections` sessions. An opening goes on when the call that caused it has given up: a
    server that takes ten seconds to greet would otherwise never be reached."""

    def __init__(self, account: SmtpAccount, clock: Clock) -> None:
        self._account = account
        self._clock = clock
        self._context = tls_context(account)
        self._idle: list[Session] = []  # the last one used is used first; the others grow old and go
        self._lent: set[Session] = set()
        self._openings: set[asyncio.Task[None]] = set()
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[Session]] = deque()
        self._next_opening = 0.0
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def borrow(self, seconds: float) -> Session:
        """A session, within so many seconds; give it back. Raises NoConnection, ConnectFailed."""
        while self._idle:
            session = self._idle.pop()
            if session.usable:
                self._lent.add(session)
                return session
            self._say_goodbye(session)
        if self._closed or seconds <= 0:
            raise NoConnection
        waiter: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._open_what_is_waited_for()
        return await self._wait(waiter, seconds)

    def give_back(self, session: Session) -> None:
        self._lent.discard(session)
        if session.broken is not None:
            self._open_what_is_waited_for()
        elif self._closed or not session.usable:
            self._say_goodbye(session)
            self._open_what_is_waited_for()
        else:
            self._offer(session)

    async def close(self) -> None:
        """Ends every connection, idle ones with QUIT, lent and opening ones at once."""
        self._closed = True
        for opening in self._openings:
            opening.cancel()
        for session in list(self._lent):
            session.abandon("the relay was closed")
        idle, self._idle = self._idle, []
        for session in idle:
            self._say_goodbye(session)
        self._fail_waiting(NoConnection())
        self._stop_sweep()
        ending = self._openings | self._goodbyes
        if ending:
            await asyncio.wait(ending)

    async def _wait(self, waiter: asyncio.Future[Session], seconds: float) -> Session:
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except TimeoutError:
            self._take_back(waiter)
            raise NoConnection from None
        except asyncio.CancelledError:
            self._take_back(waiter)
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _take_back(self, waiter: asyncio.Future[Session]) -> None:
        """A session may have been handed over in the very moment in which its receiver gave up."""
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self.give_back(waiter.result())

    def _offer(self, session: Session) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._lent.add(session)
                waiter.set_result(session)
                return
        session.idle_since = self._clock.monotonic()
        self._idle.append(session)
        if self._sweep is None:
            self._schedule_sweep()

    # ---- opening -----------------------------------------------------------------------------------------

    def _open_what_is_waited_for(self) -> None:
        if self._lent and self._clock.monotonic() < self._next_opening:
            return
        while (
            not self._closed
            and len(self._openings) < len(self._waiting)
            and len(self._openings) + len(self._lent) < self._account.max_connections
        ):
            opening = asyncio.get_running_loop().create_task(self._open())
            self._openings.add(opening)
            opening.add_done_callback(self._on_opened)

    def _on_opened(self, opening: asyncio.Task[None]) -> None:
        self._openings.discard(opening)
        self._open_what_is_waited_for()

    async def _open(self) -> None:
        try:
            session = await connect(self._account, self._context, self._clock, self._on_lost)
        except ConnectFailed as failure:
            # The server may only have had enough connections: those that stand go on without another.
            self._next_opening = self._clock.monotonic() + _OPENING_PAUSE
            self._fail_one(failure)
        else:
            self._offer(session)

    def _fail_one(self, failure: ConnectFailed) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(failure)
                return

    def _fail_waiting(self, failure: NoConnection) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(failure)

    # ---- ends --------------------------------------------------------------------------------------------

    def _on_lost(self, session: Session) -> None:
        if session in self._idle:
            self._idle.remove(session)

    def _say_goodbye(self, session: Session) -> None:
        goodbye = asyncio.get_running_loop().create_task(session.close(_GOODBYE_SECONDS))
        self._goodbyes.add(goodbye)
        goodbye.add_done_callback(self._goodbyes.discard)

    def _schedule_sweep(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(self._account.idle_seconds, self._end_the_idle)

    def _stop_sweep(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _end_the_idle(self) -> None:
        """Servers close what stands idle; we go first, so that no mail meets a line that is just closing."""
        oldest = self._clock.monotonic() - self._account.idle_seconds
        stale = [session for session in self._idle if session.idle_since <= oldest]
        self._idle = [session for session in self._idle if session.idle_since > oldest]
        for session in stale:
            self._say_goodbye(session)
        self._sweep = None
        if self._idle:
            self._schedule_sweep()
