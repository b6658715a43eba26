"""The suppression list of one Postmark message stream.

https://postmarkapp.com/developer/api/suppressions-api: a list is given whole, and can be asked for by days;
what a customer puts on it is a manual suppression, whatever the reason. A complaint, and what a recipient
asked for, a customer cannot take off.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final

import msgspec
from yarl import URL

from posthouse.clock import Clock
from posthouse.domain.errors import NotNow
from posthouse.domain.suppression import SuppressionReason
from posthouse.net.client import HttpClient, Reply
from posthouse.relays.base import Change, Changed, KeptThere, ListedThere, ListRules, OnList
from posthouse.relays.http import clean
from posthouse.relays.lists import PAGE_BYTES, ListDesk
from posthouse.relays.postmark.account import PostmarkAccount, base_url, headers

#: Before Postmark there was no list.
_FIRST_DAY: Final = date(2009, 1, 1)
_DAY: Final = timedelta(days=1)
_AT_ONCE: Final = 50  # documented for one request
_MANUAL: Final = "ManualSuppression"
_REASONS: Final = {"HardBounce": SuppressionReason.BOUNCE, "SpamComplaint": SuppressionReason.SPAM}


class _Listed(msgspec.Struct, frozen=True, rename="pascal"):
    email_address: str
    suppression_reason: str = ""
    origin: str = ""
    created_at: str = ""


class _Dump(msgspec.Struct, frozen=True, rename="pascal"):
    suppressions: list[_Listed]


class _Said(msgspec.Struct, frozen=True, rename="pascal"):
    email_address: str
    status: str
    message: str | None = None


class _Answers(msgspec.Struct, frozen=True, rename="pascal"):
    suppressions: list[_Said]


_DUMP: Final = msgspec.json.Decoder(_Dump)
_ANSWERS: Final = msgspec.json.Decoder(_Answers)
_ENCODER: Final = msgspec.json.Encoder()


class PostmarkSuppressions:
    """One message stream's list. Owns its client: closing the list closes it."""

    rules = ListRules(
        adds=dict.fromkeys(SuppressionReason, SuppressionReason.MANUAL),
        keeps=frozenset({SuppressionReason.SPAM, SuppressionReason.UNSUBSCRIBE}),
    )

    def __init__(self, settings: PostmarkAccount, client: HttpClient, clock: Clock) -> None:
        self.account = settings.account
        self.place = f"postmark {settings.message_stream}"
        self._url = base_url(settings) / "message-streams" / settings.message_stream / "suppressions"
        self._headers = headers(settings)
        self._client = client
        self._clock = clock
        self._desk = ListDesk(
            settings.account,
            "Postmark",
            clock,
            lambda words: words.replace(settings.server_token, "[redacted]"),
        )

    async def read(self) -> AsyncIterator[Sequence[ListedThere]]:
        """In spans of days, each halved until what it holds fits in a page."""
        spans = [(_FIRST_DAY, self._clock.now().date() + _DAY)]
        while spans:
            first, last = spans.pop()
            reply = await self._desk.ask(partial(self._client.get, self._span(first, last), self._headers))
            if not _is_cut(reply):
                found = self._desk.body(reply, _DUMP)
                yield [_listed(entry) for entry in found.suppressions]
            elif first == last:
                raise NotNow(f"Postmark's list for {self.account} has more of {first} than can be read.")
            else:
                middle = first + (last - first) // 2
                spans += [(middle + _DAY, last), (first, middle)]

    async def add(self, entries: Sequence[OnList]) -> list[Change]:
        return await self._change(self._url, entries)

    async def remove(self, entries: Sequence[OnList]) -> list[Change]:
        return await self._change(self._url / "delete", entries)

    async def close(self) -> None:
        await self._client.close()

    def _span(self, first: date, last: date) -> URL:
        return (self._url / "dump").with_query(fromdate=first.isoformat(), todate=last.isoformat())

    async def _change(self, url: URL, entries: Sequence[OnList]) -> list[Change]:
        done: list[Change] = []
        for start in range(0, len(entries), _AT_ONCE):
            part = entries[start : start + _AT_ONCE]
            body = _ENCODER.encode({"Suppressions": [{"EmailAddress": one.address} for one in part]})
            reply = await self._desk.ask(partial(self._client.post, url, self._headers, body, _at_once))
            answers = self._desk.body(reply, _ANSWERS).suppressions
            if len(answers) != len(part):
                raise NotNow(f"Postmark did not answer for each address about the list of {self.account}.")
            done += map(_change_of, answers)
        return done


def _is_cut(reply: Reply) -> bool:
    return reply.status == 200 and len(reply.body) >= PAGE_BYTES


def _listed(entry: _Listed) -> ListedThere:
    """A manual suppression is an unsubscription where the recipient made it."""
    reason = _REASONS.get(entry.suppression_reason)
    if reason is None:
        by_recipient = entry.suppression_reason == _MANUAL and entry.origin == "Recipient"
        reason = SuppressionReason.UNSUBSCRIBE if by_recipient else SuppressionReason.MANUAL
    words = f"{entry.suppression_reason} by {entry.origin}"
    return ListedThere(clean(entry.email_address), reason, _moment(entry.created_at), clean(words, 300))


def _change_of(said: _Said) -> Change:
    if said.status in ("Suppressed", "Deleted"):
        return Changed()
    return KeptThere(clean(said.message or said.status, 300) or "no reason was given")


def _moment(text: str) -> datetime | None:
    """ISO 8601, with an offset."""
    try:
        moment = datetime.fromisoformat(text[:64])
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _at_once() -> bool:
    return True
