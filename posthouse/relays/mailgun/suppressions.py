"""Mailgun's own lists of one domain: bounces, complaints, unsubscribes.

https://documentation.mailgun.com/docs/mailgun/user-manual/suppressions: mail to an address on one of them is
taken and dropped. Each list is read through links to its next page, and takes up to 1,000 entries at a time.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final

import msgspec
from yarl import URL

from posthouse.clock import Clock
from posthouse.domain.errors import NotNow
from posthouse.domain.ids import RelayAccount
from posthouse.domain.suppression import SuppressionReason
from posthouse.net.client import HttpClient
from posthouse.relays.base import Change, Changed, KeptThere, ListedThere, ListRules, OnList
from posthouse.relays.entries import Entry, text
from posthouse.relays.lists import MAX_PAGES, ListDesk, of_address, one_by_one
from posthouse.relays.mailgun.request import Credentials, api_url

_LISTS: Final[Mapping[SuppressionReason, str]] = {
    SuppressionReason.BOUNCE: "bounces",
    SuppressionReason.SPAM: "complaints",
    SuppressionReason.UNSUBSCRIBE: "unsubscribes",
}
_PAGE: Final = 1000
_ADDED_AT_ONCE: Final = 1000
_GONE: Final = 404
_REFUSED: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class MailgunLists:
    """The lists of one domain. The key must be the account's: a domain's sending key may not see them."""

    account: RelayAccount
    domain: str
    api_key: str = field(repr=False)
    base_url: str


class _Page(msgspec.Struct):
    items: list[Entry]
    paging: Entry = {}


class _Said(msgspec.Struct):
    message: str


#: A path that Mailgun does not know is answered 200 as well, and with a line of text.
_SAID: Final = msgspec.json.Decoder(_Said)
_PAGE_OF_LIST: Final = msgspec.json.Decoder(_Page)
_ENCODER: Final = msgspec.json.Encoder()


class MailgunSuppressions:
    """One domain's lists. Owns its client: closing the list closes it."""

    rules = ListRules(adds={reason: reason for reason in _LISTS})

    def __init__(self, settings: MailgunLists, client: HttpClient, clock: Clock) -> None:
        self.account = settings.account
        self.place = f"mailgun {settings.domain}"
        credentials = Credentials(settings.api_key, settings.account)
        self._url = api_url(settings.base_url, settings.domain, settings.account)
        self._headers = {"Authorization": credentials.header, "User-Agent": "posthouse"}
        self._client = client
        self._desk = ListDesk(settings.account, "Mailgun", clock, credentials.hidden_in)

    async def read(self) -> AsyncIterator[Sequence[ListedThere]]:
        for reason, name in _LISTS.items():
            url: URL | None = (self._url / name).with_query(limit=str(_PAGE))
            for _ in range(MAX_PAGES):
                if url is None:
                    break
                reply = await self._desk.ask(partial(self._client.get, url, self._headers))
                page = self._desk.body(reply, _PAGE_OF_LIST)
                yield [_listed(item, reason) for item in page.items]
                url = self._next(page, url) if page.items else None
            else:
                raise NotNow(f"Mailgun's list of {name} for {self.account} does not end.")

    async def add(self, entries: Sequence[OnList]) -> list[Change]:
        done: dict[OnList, Change] = {}
        for reason in _LISTS:
            wanted = [entry for entry in entries if entry.reason is reason]
            for start in range(0, len(wanted), _ADDED_AT_ONCE):
                part = wanted[start : start + _ADDED_AT_ONCE]
                done |= zip(part, await self._put_on(part), strict=True)
        return [done[entry] for entry in entries]

    async def remove(self, entries: Sequence[OnList]) -> list[Change]:
        return await one_by_one(entries, self._take_off)

    async def close(self) -> None:
        await self._client.close()

    def _next(self, page: _Page, here: URL) -> URL | None:
        """The link to the next page, which must lead to the same list: it gets our key. Raises NotNow."""
        link = text(page.paging, "next", 2000)
        if not link:
            return None
        try:
            url = URL(link)
        except ValueError as error:
            raise NotNow(f"Mailgun's link to the next page for {self.account} is no URL.") from error
        if url.user or (url.scheme, url.host, url.port, url.path) != (
            here.scheme,
            here.host,
            here.port,
            here.path,
        ):
            raise NotNow(f"Mailgun's link to the next page for {self.account} leads somewhere else.")
        if url == here:
            raise NotNow(f"Mailgun's link to the next page for {self.account} leads to the same page.")
        return url

    async def _put_on(self, entries: Sequence[OnList]) -> list[Change]:
        """All of one reason. A set that Mailgun refuses is tried one by one: it does not say which it was."""
        url = self._url / _LISTS[entries[0].reason]
        headers = {**self._headers, "Content-Type": "application/json"}
        body = _ENCODER.encode([_posted(entry) for entry in entries])
        reply = await self._desk.ask(partial(self._client.post, url, headers, body, _at_once))
        if reply.status != _REFUSED:
            self._desk.body(reply, _SAID)
            return [Changed()] * len(entries)
        if len(entries) == 1:
            return [KeptThere(self._desk.words(reply))]
        return [change for entry in entries for change in await self._put_on([entry])]

    async def _take_off(self, entry: OnList) -> Change:
        url = of_address(self._url / _LISTS[entry.reason], entry.address)
        reply = await self._desk.ask(partial(self._client.delete, url, self._headers))
        words = self._desk.words(reply)
        if reply.status == _GONE and "domain not found" not in words.lower():
            return Changed()
        self._desk.body(reply, _SAID)
        return Changed()


def _listed(item: Entry, reason: SuppressionReason) -> ListedThere:
    """An unsubscription from some tags only is one all the same: whom it stops there, it stops here."""
    said = " ".join(part for part in (text(item, "code", 20), text(item, "error", 300)) if part)
    return ListedThere(text(item, "address", 1000), reason, _date(text(item, "created_at", 64)), said)


def _posted(entry: OnList) -> dict[str, object]:
    match entry.reason:
        case SuppressionReason.BOUNCE:
            return {"address": entry.address, "code": "550", "error": "suppressed by Posthouse"}
        case SuppressionReason.UNSUBSCRIBE:
            return {"address": entry.address, "tags": ["*"]}
        case _:
            return {"address": entry.address}


def _date(text: str) -> datetime | None:
    """RFC 2822, with "UTC" for its zone."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _at_once() -> bool:
    return True
