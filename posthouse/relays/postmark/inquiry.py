"""Asking Postmark what it took: its outbound search, by the metadata that each of our mails carries.

https://postmarkapp.com/developer/api/messages-api: mails are found for 45 days, by their metadata, within
one message stream. The search runs some seconds behind, and how far is promised nowhere: so what it does not
have proves nothing before a generous while.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from posthouse.clock import Clock
from posthouse.net.client import HttpClient, InDoubt, NoReply, NotTaken, Reply
from posthouse.relays.base import Answer, CannotTell, Inquiry, WasNotTaken, WasTaken
from posthouse.relays.entries import ATTEMPT_KEY, JOB_KEY
from posthouse.relays.http import clean
from posthouse.relays.postmark.account import PostmarkAccount, base_url, headers

#: The search is taken at its word about a mail that it does not have, this long after the hand-over.
PROVES_AFTER: Final = timedelta(minutes=5)

_AT_ONCE: Final = 10  # requests; no limit is published, and mail has the first claim on it
_WITHIN: Final = 4.5  # seconds, for all of a set
_ATTEMPTS: Final = 50  # of one mail in one answer; more are hardly ever made


class _Found(msgspec.Struct, frozen=True, rename="pascal"):
    message_id: str = msgspec.field(name="MessageID")
    metadata: dict[str, str] | None = None


class _Search(msgspec.Struct, frozen=True, rename="pascal"):
    total_count: int
    messages: list[_Found]


_SEARCH = msgspec.json.Decoder(_Search)


class PostmarkInquirer:
    """One Postmark server and message stream. Owns its client: closing the inquirer closes it."""

    def __init__(self, settings: PostmarkAccount, client: HttpClient, clock: Clock) -> None:
        self.account = settings.account
        self._token = settings.server_token
        self._stream = settings.message_stream
        self._url = base_url(settings) / "messages/outbound"
        self._headers = headers(settings)
        self._client = client
        self._clock = clock
        self._hands = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, inquiries: Sequence[Inquiry]) -> list[Answer]:
        """One search for each mail, some at a time; what is not found out in time is not told."""
        searches = [asyncio.create_task(self._ask(inquiry)) for inquiry in inquiries]
        try:
            if searches:
                await asyncio.wait(searches, timeout=_WITHIN)
        finally:
            for search in searches:
                search.cancel()
        await asyncio.gather(*searches, return_exceptions=True)
        return [_end_of(search) for search in searches]

    async def close(self) -> None:
        await self._client.close()

    async def _ask(self, inquiry: Inquiry) -> Answer:
        url = self._url.with_query(
            {
                "count": str(_ATTEMPTS),
                "offset": "0",
                "messagestream": self._stream,
                f"metadata_{JOB_KEY}": str(inquiry.job_id),
            }
        )
        async with self._hands:
            reply = await self._client.get(url, self._headers)
        if not isinstance(reply, Reply):
            return CannotTell(clean(f"Postmark did not answer: {_why(reply)}"))
        if reply.status != 200:
            said = reply.body[:300].decode("utf-8", "replace").replace(self._token, "[redacted]")
            return CannotTell(clean(f"Postmark answered {reply.status} {said}".strip()))
        try:
            found = _SEARCH.decode(reply.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return CannotTell("Postmark's answer is not one of its search")
        return self._read(found, inquiry)

    def _read(self, found: _Search, inquiry: Inquiry) -> Answer:
        """Only the attempt that is asked about counts; only a whole answer proves that it is not there."""
        ours = {JOB_KEY: str(inquiry.job_id), ATTEMPT_KEY: str(inquiry.attempt)}
        for message in found.messages:
            carried = message.metadata or {}
            if all(carried.get(key) == value for key, value in ours.items()):
                message_id = clean(message.message_id.strip(), 200)
                return WasTaken(message_id) if message_id else CannotTell("Postmark has it under no id")
        if found.total_count != len(found.messages):
            return CannotTell("Postmark's search shows only a part of what it found")
        if any(
            JOB_KEY not in (m.metadata or {}) or ATTEMPT_KEY not in (m.metadata or {}) for m in found.messages
        ):
            return CannotTell("Postmark's search does not show which attempt it found")
        if self._clock.now() < inquiry.in_doubt_since + PROVES_AFTER:
            return CannotTell("Postmark's search does not have it yet")
        return WasNotTaken("Postmark's search does not have it")


def _end_of(search: asyncio.Task[Answer]) -> Answer:
    if search.cancelled():
        return CannotTell(f"Postmark did not answer within {_WITHIN:g} s")
    return search.result()


def _why(reply: NoReply) -> str:
    match reply:
        case NotTaken(reason) | InDoubt(reason):
            return reason
        case _:
            return "not allowed to connect"
