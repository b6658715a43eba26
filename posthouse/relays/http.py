"""What relays that are reached over HTTP share: slots, hints of time, and what no answer means."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import assert_never

from posthouse.domain.message import RawMail, Rendered
from posthouse.net.client import Denied, InDoubt, NoReply, NotTaken, Withheld
from posthouse.relays.base import AccountTrouble, NotBegun, Outcome, OutcomeUnknown, Tell, TryLater

#: Longest pause a relay may ask of us, in seconds: a wrong clock of theirs must not stop an account for days.
MAX_RETRY_AFTER = 3600.0

#: Above this a moment is in milliseconds, as some count: the year 5138 otherwise.
_LATEST_SECOND = 1e11

#: NUL cannot stand in PostgreSQL text, and a lone surrogate in no UTF-8 at all.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str, limit: int = 1000) -> str:
    """Foreign text as it may be stored: no NUL, no lone surrogates, at most `limit` characters."""
    return _UNSTORABLE.sub("\ufffd", text[:limit])


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds a reply asks to wait: Retry-After (RFC 9110 section 10.2.3), else X-RateLimit-Reset (Unix
    seconds). None when it says nothing that can be used."""
    asked = headers.get("retry-after", "").strip()
    if asked.isascii() and asked.isdigit():
        return _pause(float(asked[:12]))
    if asked:
        return until(asked, now)
    reset = headers.get("x-ratelimit-reset", "").strip()
    if reset.isascii() and reset.isdigit():
        moment = float(reset[:15])
        return _pause((moment / 1000 if moment > _LATEST_SECOND else moment) - now.timestamp())
    return None


def until(date: str, now: datetime) -> float | None:
    """Seconds until a date of mail or HTTP; None for one that is none, or past."""
    try:
        moment = parsedate_to_datetime(date[:64])
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _pause((moment - now).total_seconds())


def _pause(seconds: float) -> float | None:
    return min(seconds, MAX_RETRY_AFTER) if seconds > 0 else None


class NoSlot(Exception):
    """Every slot stayed taken for as long as a claimed mail may wait."""


class Slots:
    """How many requests one account has under way at a time."""

    def __init__(self, count: int, *, wait: float) -> None:
        self._free = asyncio.Semaphore(count)
        self._wait = wait  # seconds

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold a slot. Raises NoSlot when none becomes free in time."""
        try:
            async with asyncio.timeout(self._wait):
                await self._free.acquire()
        except TimeoutError as error:
            raise NoSlot from error
        try:
            yield
        finally:
            self._free.release()


async def each(
    mails: Sequence[Rendered | RawMail],
    hand_over: Callable[[Rendered | RawMail], Awaitable[Outcome]],
    tell: Tell,
) -> list[Outcome]:
    """All mails at once, answers in order. A defect met by one mail is that mail's doubt, not the end of the
    others: their outcomes are facts that must be recorded."""

    async def one(place: int, mail: Rendered | RawMail) -> Outcome:
        try:
            outcome = await hand_over(mail)
        except Exception as error:
            outcome = OutcomeUnknown(f"defect in the adapter: {error!r}")
        tell(place, outcome)
        return outcome

    return await asyncio.gather(*(one(place, mail) for place, mail in enumerate(mails)))


def without_reply(answer: NoReply) -> Outcome:
    """What it means for a mail that its request has no reply."""
    match answer:
        case NotTaken(reason):
            return TryLater(reason, slow_relay=True)
        case Denied(reason):
            return AccountTrouble(f"not allowed to connect: {reason}")
        case Withheld():
            return NotBegun("this worker may not begin a hand-over now")
        case InDoubt(reason):
            return OutcomeUnknown(reason)
        case _:
            assert_never(answer)
