"""The account-level suppression list of SES, in one region.

https://docs.aws.amazon.com/ses/latest/dg/sending-email-suppression-list.html: pages by a token, one reason
for each address, one address in each change. The global list of SES itself is Amazon's, and shows to nobody.
"""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

import msgspec

from posthouse.clock import Clock
from posthouse.domain.errors import NotNow
from posthouse.domain.ids import RelayAccount
from posthouse.domain.suppression import SuppressionReason
from posthouse.relays.base import Change, Changed, KeptThere, ListedThere, ListRules, OnList
from posthouse.relays.http import clean
from posthouse.relays.lists import MAX_PAGES, ListDesk, of_address, one_by_one, unix_time
from posthouse.relays.ses.api import AwsApi, Endpoint

_PAGE: Final = 1000
_THEIRS: Final = {SuppressionReason.BOUNCE: "BOUNCE", SuppressionReason.SPAM: "COMPLAINT"}
_JSON: Final = {"Content-Type": "application/json"}
_GONE: Final = 404
_REFUSED: Final = 400


class _Listed(msgspec.Struct, frozen=True, rename="pascal"):
    email_address: str
    reason: str = ""
    last_update_time: float | None = None


class _Page(msgspec.Struct, frozen=True, rename="pascal"):
    suppressed_destination_summaries: list[_Listed]
    next_token: str | None = None


_PAGE_OF_LIST: Final = msgspec.json.Decoder(_Page)
_SAID: Final = msgspec.json.Decoder(dict[str, object])
_ENCODER: Final = msgspec.json.Encoder()


class SesSuppressions:
    """One account's list in one region. Owns its client: closing the list closes it."""

    rules = ListRules(adds={reason: reason for reason in _THEIRS})

    def __init__(self, account: RelayAccount, endpoint: Endpoint, api: AwsApi, clock: Clock) -> None:
        self.account = account
        self.place = f"ses {endpoint.scope.region}"
        self._endpoint = endpoint
        self._url = endpoint.url / "v2/email/suppression/addresses"
        self._api = api
        self._desk = ListDesk(account, "SES", clock, api.without_secrets)

    async def read(self) -> AsyncIterator[Sequence[ListedThere]]:
        token: str | None = None
        for _ in range(MAX_PAGES):
            query = {"PageSize": str(_PAGE)} | ({} if token is None else {"NextToken": token})
            url = self._url.with_query(query)
            page = self._desk.body(
                await self._desk.ask(partial(self._api.get, self._endpoint, url)), _PAGE_OF_LIST
            )
            yield [_listed(entry) for entry in page.suppressed_destination_summaries]
            if not page.next_token:
                return
            if page.next_token == token:
                break
            token = page.next_token
        raise NotNow(f"The suppression list of {self.account} at SES does not end.")

    async def add(self, entries: Sequence[OnList]) -> list[Change]:
        return await one_by_one(entries, self._put_on)

    async def remove(self, entries: Sequence[OnList]) -> list[Change]:
        return await one_by_one(entries, self._take_off)

    async def close(self) -> None:
        await self._api.close()

    async def _put_on(self, entry: OnList) -> Change:
        body = _ENCODER.encode({"EmailAddress": entry.address, "Reason": _THEIRS[entry.reason]})
        reply = await self._desk.ask(partial(self._api.put, self._endpoint, self._url, _JSON, body))
        if reply.status == _REFUSED:
            return KeptThere(self._desk.words(reply))
        self._desk.body(reply, _SAID)
        return Changed()

    async def _take_off(self, entry: OnList) -> Change:
        url = of_address(self._url, entry.address)
        reply = await self._desk.ask(partial(self._api.delete, self._endpoint, url))
        if reply.status != _GONE:
            self._desk.body(reply, _SAID)
        return Changed()


def _listed(entry: _Listed) -> ListedThere:
    """A reason that is new: the mail bounces all the same."""
    complained = entry.reason == _THEIRS[SuppressionReason.SPAM]
    reason = SuppressionReason.SPAM if complained else SuppressionReason.BOUNCE
    return ListedThere(
        clean(entry.email_address), reason, unix_time(entry.last_update_time), clean(entry.reason, 100)
    )
