"""Asking Mailgun about mail in doubt: its Events API, by our Message-ID, which Mailgun keeps.

https://documentation.mailgun.com/docs/mailgun/user-manual/events/events: every mail that was taken has one
`accepted` event for each recipient. Events may be written late, so an empty answer proves something only
after a while; and they are kept for a day on the smallest plan, so only for a while.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import msgspec
from yarl import URL

from posthouse.clock import Clock
from posthouse.domain.ids import RelayAccount
from posthouse.net.client import Denied, HttpClient, InDoubt, NotTaken, Reply, Withheld
from posthouse.relays.base import Answer, CannotTell, Inquiry, WasNotTaken, WasTaken
from posthouse.relays.entries import Entry, attempt_of, inner, job_of, text
from posthouse.relays.http import NoSlot, Slots, clean
from posthouse.relays.mailgun.request import Credentials, api_url

#: Mailgun advises pollers to wait this long before they take a page of events as complete.
PROVES_AFTER: Final = timedelta(minutes=30)
#: Short of the day for which the smallest plan keeps events.
PROVES_UNTIL: Final = timedelta(hours=20)
#: A hand-over lies this far before its doubt at most: a time-out, or the finding of a dead worker.
_LOOK_BACK: Final = timedelta(hours=1)
#: One event for each attempt of a mail. A full page may have left out this one.
_PAGE: Final = 100
#: A page of events may be this long.
REPLY_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MailgunQuestions:
    """How to ask about the mails of one domain. The key must be the account's: a domain's sending key may
    not read events. `slot_wait` in seconds."""

    account: RelayAccount
    domain: str
    api_key: str = field(repr=False)
    base_url: str
    max_concurrency: int = 16
    slot_wait: float = 2.5


class _Page(msgspec.Struct):
    items: list[Entry]


_PAGE_OF_EVENTS = msgspec.json.Decoder(_Page)


class MailgunInquirer:
    """Asks one domain's events. Owns its client: closing the inquirer closes it."""

    def __init__(self, settings: MailgunQuestions, client: HttpClient, clock: Clock) -> None:
        """Raises Misconfigured."""
        self.account = settings.account
        self._client = client
        self._clock = clock
        self._credentials = Credentials(settings.api_key, settings.account)
        self._url = api_url(settings.base_url, settings.domain, settings.account) / "events"
        self._headers = {"Authorization": self._credentials.header, "User-Agent": "posthouse"}
        self._slots = Slots(settings.max_concurrency, wait=settings.slot_wait)

    async def ask(self, inquiries: Sequence[Inquiry]) -> list[Answer]:
        """One request for each mail, a few at a time."""
        return list(await asyncio.gather(*map(self._ask, inquiries)))

    async def close(self) -> None:
        await self._client.close()

    async def _ask(self, inquiry: Inquiry) -> Answer:
        try:
            async with self._slots.one():
                reply = await self._client.get(self._question(inquiry), self._headers)
        except NoSlot:
            return CannotTell("Mailgun answers too slowly")
        match reply:
            case Reply(status=200):
                return self._read(reply, inquiry)
            case Reply(status, _, body):
                words = self._credentials.hidden_in(body[:200].decode("utf-8", "replace"))
                return CannotTell(clean(f"Mailgun's events were answered {status} {words}".strip(), 300))
            case NotTaken(reason) | Denied(reason) | InDoubt(reason):
                return CannotTell(f"Mailgun's events did not answer: {reason}")
            case Withheld():
                return CannotTell("nothing was asked")

    def _question(self, inquiry: Inquiry) -> URL:
        return self._url.with_query(
            {
                "event": "accepted",
                "message-id": inquiry.message_id.strip("<>"),
                "begin": str(int((inquiry.in_doubt_since - _LOOK_BACK).timestamp())),
                "ascending": "yes",
                "limit": str(_PAGE),
            }
        )

    def _read(self, reply: Reply, inquiry: Inquiry) -> Answer:
        try:
            items = _PAGE_OF_EVENTS.decode(reply.body).items
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return CannotTell("Mailgun's events cannot be read")
        for item in items:
            message_id = text(inner(inner(item, "message"), "headers"), "message-id", 300).strip("<>")
            if message_id and _is_about(item, inquiry):
                return WasTaken(message_id)
        return self._absent(len(items), inquiry)

    def _absent(self, found: int, inquiry: Inquiry) -> Answer:
        age = self._clock.now() - inquiry.in_doubt_since
        if found >= _PAGE:
            return CannotTell("Mailgun has more events of this mail than were read")
        if age < PROVES_AFTER:
            return CannotTell("Mailgun has no event of this mail yet")
        if age > PROVES_UNTIL:
            return CannotTell("Mailgun may have forgotten its events of this mail")
        return WasNotTaken(f"Mailgun has no event of this mail after {age.total_seconds() / 60:.0f} minutes")


def _is_about(item: Entry, inquiry: Inquiry) -> bool:
    """The Message-ID is the same for every attempt: what tells them apart are our own variables."""
    ours = inner(item, "user-variables")
    return (
        text(item, "event", 100) == "accepted"
        and job_of(ours) == inquiry.job_id
        and attempt_of(ours) == inquiry.attempt
    )
