"""Carries reports back to the sender's own mail server, when they are due, again while it says "not now"."""

import asyncio
import smtplib
from collections.abc import Callable
from dataclasses import dataclass

from posthouse.simulator.events import EventKind, EventLog, MailRef, Stage

_AT_ONCE = 8
_TRIES = 8
_TRY_AGAIN = 2.0  # seconds, doubled each time
_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Parcel:
    """`write` makes the mail when it is due."""

    kind: EventKind
    ref: MailRef
    to: str
    write: Callable[[], bytes]


class Postman:
    def __init__(self, host: str, port: int, events: EventLog) -> None:
        self._host = host
        self._port = port
        self._events = events
        self._hands = asyncio.Semaphore(_AT_ONCE)
        self._ways: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> int:
        return len(self._ways)

    def send(self, parcel: Parcel, after: float) -> None:
        """`after`: seconds from now."""
        self._events.record(parcel.kind, Stage.DECIDED, parcel.ref)
        way = asyncio.create_task(self._carry(parcel, after))
        self._ways.add(way)
        way.add_done_callback(self._ways.discard)

    async def close(self) -> None:
        for way in tuple(self._ways):
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)

    async def _carry(self, parcel: Parcel, after: float) -> None:
        await asyncio.sleep(after)
        mail = parcel.write()
        for number in range(_TRIES):
            async with self._hands:
                said = await asyncio.to_thread(self._hand_over, parcel.to, mail)
            if said is None:
                self._events.record(parcel.kind, Stage.DONE, parcel.ref)
                return
            if said >= 500:
                break
            await asyncio.sleep(_TRY_AGAIN * 2**number)
        self._events.record(parcel.kind, Stage.FAILED, parcel.ref)

    def _hand_over(self, to: str, mail: bytes) -> int | None:
        """None: it was taken; else the code it was refused with, 0 where nobody answered."""
        try:
            with smtplib.SMTP(self._host, self._port, timeout=_TIMEOUT) as server:
                server.sendmail("", [to], mail)
        except smtplib.SMTPRecipientsRefused as refused:
            return max(code for code, _ in refused.recipients.values())
        except smtplib.SMTPResponseException as refused:
            return int(refused.smtp_code)
        except (OSError, smtplib.SMTPException):
            return 0
        return None
