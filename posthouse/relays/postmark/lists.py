"""A message stream's suppression list, asked why it has an address: a refused mail is not told.

https://postmarkapp.com/developer/api/suppressions-api
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from posthouse.domain.suppression import SuppressionReason
from posthouse.net.client import HttpClient, Reply
from posthouse.relays.postmark.account import PostmarkAccount, base_url, headers
from posthouse.relays.postmark.replies import listed_for

#: Seconds for all of a set: their outcomes are facts that wait meanwhile to be recorded.
_WITHIN: Final = 2.0
_AT_ONCE: Final = 8  # requests


class _Entry(msgspec.Struct, frozen=True, rename="pascal"):
    email_address: str
    suppression_reason: str
    origin: str = ""


class _Dump(msgspec.Struct, frozen=True, rename="pascal"):
    suppressions: list[_Entry]


_DUMP = msgspec.json.Decoder(_Dump)


class SuppressionList:
    def __init__(self, settings: PostmarkAccount, client: HttpClient) -> None:
        self._url = base_url(settings) / "message-streams" / settings.message_stream / "suppressions" / "dump"
        self._headers = headers(settings)
        self._client = client
        self._hands = asyncio.Semaphore(_AT_ONCE)

    async def why(self, addresses: Sequence[str]) -> list[SuppressionReason | None]:
        """What each is listed for; None where that is not found out, or none of ours. Raises only on
        cancellation."""
        asked = [asyncio.create_task(self._why(address)) for address in addresses]
        try:
            await asyncio.wait(asked, timeout=_WITHIN)
        finally:
            for task in asked:
                task.cancel()
        ended = await asyncio.gather(*asked, return_exceptions=True)
        return [None if isinstance(end, BaseException) else end for end in ended]

    async def _why(self, address: str) -> SuppressionReason | None:
        async with self._hands:
            reply = await self._client.get(self._url.with_query(EmailAddress=address), self._headers)
        if not isinstance(reply, Reply) or reply.status != 200:
            return None
        try:
            entries = _DUMP.decode(reply.body).suppressions
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        # Whether the filter is exact is not documented.
        mine = [entry for entry in entries if entry.email_address.lower() == address.lower()]
        return listed_for(mine[0].suppression_reason, mine[0].origin) if mine else None
