"""SendGrid's suppression lists of one account: bounces, invalid addresses, spam reports, global unsubscribes.

https://www.twilio.com/docs/sendgrid/api-reference/suppressions: pages by offset, of at most 500. Only an
unsubscription can be put there. Blocks are not read: the next mail to a blocked address is tried.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from posthouse.clock import Clock
from posthouse.domain.errors import NotNow
from posthouse.domain.suppression import SuppressionReason
from posthouse.net.client import HttpClient
from posthouse.relays.base import Change, Changed, KeptThere, ListedThere, ListRules, OnList
from posthouse.relays.entries import Entry, text
from posthouse.relays.lists import MAX_PAGES, ListDesk, of_address, one_by_one, unix_time
from posthouse.relays.sendgrid.sender import SendGridAccount, api_url

_PAGE: Final = 500
_ADDED_AT_ONCE: Final = 1000
_DONE: Final = frozenset({200, 204, 404})
_TAKEN: Final = frozenset({200, 201})
_REFUSED: Final = 400


@dataclass(frozen=True, slots=True)
class _List:
    """Where a list is read, and below which resource an address of it is taken off."""

    reason: SuppressionReason
    read_at: str
    remove_at: str


_GLOBAL: Final = "v3/asm/suppressions/global"
_LISTS: Final = (
    _List(SuppressionReason.BOUNCE, "v3/suppression/bounces", "v3/suppression/bounces"),
    _List(SuppressionReason.BOUNCE, "v3/suppression/invalid_emails", "v3/suppression/invalid_emails"),
    _List(SuppressionReason.SPAM, "v3/suppression/spam_reports", "v3/suppression/spam_reports"),
    _List(SuppressionReason.UNSUBSCRIBE, "v3/suppression/unsubscribes", _GLOBAL),
)

_PAGE_OF_LIST: Final = msgspec.json.Decoder(list[Entry])
_ENCODER: Final = msgspec.json.Encoder()


class SendGridSuppressions:
    """One account's lists. Owns its client: closing the list closes it."""

    rules = ListRules(adds={SuppressionReason.UNSUBSCRIBE: SuppressionReason.UNSUBSCRIBE})

    def __init__(self, settings: SendGridAccount, client: HttpClient, clock: Clock) -> None:
        self.account = settings.account
        self.place = "sendgrid"
        self._url = api_url(settings)
        self._headers = {
            "Authorization": f"Bearer {settings.api_key}",
            "Content-Type": "application/json",
            "User-Agent": "posthouse",
        }
        self._client = client
        self._desk = ListDesk(
            settings.account, "SendGrid", clock, lambda words: words.replace(settings.api_key, "[redacted]")
        )

    async def read(self) -> AsyncIterator[Sequence[ListedThere]]:
        """An entry that is taken off meanwhile moves those behind it up by one, of which one may be missed:
        the next reading has it again."""
        for one in _LISTS:
            for page in range(MAX_PAGES):
                url = (self._url / one.read_at).with_query(limit=str(_PAGE), offset=str(page * _PAGE))
                reply = await self._desk.ask(partial(self._client.get, url, self._headers))
                items = self._desk.body(reply, _PAGE_OF_LIST)
                yield [_listed(item, one.reason) for item in items]
                if len(items) < _PAGE:
                    break
            else:
                raise NotNow(f"SendGrid's list {one.read_at} for {self.account} does not end.")

    async def add(self, entries: Sequence[OnList]) -> list[Change]:
        done: list[Change] = []
        for start in range(0, len(entries), _ADDED_AT_ONCE):
            done += await self._put_on(entries[start : start + _ADDED_AT_ONCE])
        return done

    async def remove(self, entries: Sequence[OnList]) -> list[Change]:
        return await one_by_one(entries, self._take_off)

    async def close(self) -> None:
        await self._client.close()

    async def _put_on(self, entries: Sequence[OnList]) -> list[Change]:
        """A set that SendGrid refuses is tried one by one: it does not say which it was."""
        body = _ENCODER.encode({"recipient_emails": [entry.address for entry in entries]})
        request = partial(self._client.post, self._url / _GLOBAL, self._headers, body, _at_once)
        reply = await self._desk.ask(request)
        if reply.status in _TAKEN:
            return [Changed()] * len(entries)
        if reply.status != _REFUSED:
            self._desk.refuse(reply)
        if len(entries) == 1:
            return [KeptThere(self._desk.words(reply))]
        return [change for entry in entries for change in await self._put_on([entry])]

    async def _take_off(self, entry: OnList) -> Change:
        """Two lists hold addresses that bounced: it is taken off both."""
        for one in _LISTS:
            if one.reason is entry.reason:
                url = of_address(self._url / one.remove_at, entry.address)
                reply = await self._desk.ask(partial(self._client.delete, url, self._headers))
                if reply.status not in _DONE:
                    self._desk.refuse(reply)
        return Changed()


def _listed(item: Entry, reason: SuppressionReason) -> ListedThere:
    said = " ".join(part for part in (text(item, "status", 20), text(item, "reason", 300)) if part)
    return ListedThere(text(item, "email", 1000), reason, unix_time(item.get("created")), said)


def _at_once() -> bool:
    return True
