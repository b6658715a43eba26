"""Hand-over to Postmark: transactional mail each by itself, marketing mail in batches; answers are outcomes.

What cannot be known is said to be unknown: a request that left whole and got no readable answer may have
been taken, and all mails of one request share that doubt. So a mail that somebody waits for never shares one.
Postmark has no idempotency key; it can be asked afterwards.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeGuard, assert_never

from yarl import URL

from posthouse.clock import Clock
from posthouse.domain.event import BounceClass
from posthouse.domain.message import RawMail, Rendered
from posthouse.domain.stream import Stream
from posthouse.failpoints import failpoint
from posthouse.net.client import Begin, HttpClient, NoReply, Reply
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    Capabilities,
    Gate,
    NotBegun,
    NotTried,
    Outcome,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    Tell,
    TryLater,
    tell_nobody,
)
from posthouse.relays.http import NoSlot, Slots, clean, retry_after, without_reply
from posthouse.relays.postmark.account import PostmarkAccount, base_url, headers
from posthouse.relays.postmark.lists import SuppressionList
from posthouse.relays.postmark.replies import (
    ReplyClass,
    Said,
    class_of,
    class_of_status,
    each_said,
    said,
)
from posthouse.relays.postmark.request import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    MAX_MESSAGE_BYTES,
    CannotExpress,
    request_body,
)

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NO_ID = "00000000-0000-0000-0000-000000000000"

CAPABILITIES: Final = Capabilities(
    takes_raw=False,
    max_message_bytes=MAX_MESSAGE_BYTES,
    batch=MAX_BATCH,
    shows_other_recipients=False,
    keeps_message_id=True,
    reports_acceptance=False,
    can_be_asked=True,
    own_return_path=False,
)

#: What a batch of 500 answers has about 130 KB, each refused at length twice that.
REPLY_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Prepared:
    place: int  # in the list that was to be sent
    body: bytes


class PostmarkRelay:
    """One Postmark server and message stream. Owns its client: closing the relay closes it."""

    capabilities = CAPABILITIES

    def __init__(self, settings: PostmarkAccount, client: HttpClient, clock: Clock) -> None:
        self.account = settings.account
        self._client = client
        self._clock = clock
        self._settings = settings
        base = base_url(settings)
        self._one_url, self._batch_url = base / "email", base / "email/batch"
        self._headers = headers(settings)
        self._list = SuppressionList(settings, client)
        self._slots = Slots(settings.max_concurrency, wait=settings.slot_wait)

    async def send_many(
        self, mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell = tell_nobody
    ) -> list[Outcome]:
        """Hand over each mail, in as few requests as their streams allow; answers in order."""
        outcomes: dict[int, Outcome] = {}
        alone: list[list[_Prepared]] = []
        shared: list[_Prepared] = []
        for place, mail in enumerate(mails):
            try:
                prepared = _Prepared(place, self._body(mail))
            except CannotExpress as error:
                outcomes[place] = RejectedMessage(str(error))
                continue
            if isinstance(mail, Rendered) and mail.stream is Stream.MARKETING:
                shared.append(prepared)
            else:
                alone.append([prepared])
        parcels = [*alone, *_parcels(shared, self._settings.max_batch)]
        ended = await asyncio.gather(
            *(self._parcel(parcel, gate, tell) for parcel in parcels), return_exceptions=True
        )
        for parcel, end in zip(parcels, ended, strict=True):
            places = (mail.place for mail in parcel)
            outcomes |= zip(places, _outcomes_of(end, len(parcel)), strict=True)
        outcomes |= await self._with_reasons(outcomes, mails)
        return [outcomes[place] for place in range(len(mails))]

    async def _with_reasons(
        self, outcomes: Mapping[int, Outcome], mails: Sequence[Rendered | RawMail]
    ) -> dict[int, Outcome]:
        """Of addresses that Postmark did not try, what they are listed for."""
        listed = [(place, outcome) for place, outcome in outcomes.items() if isinstance(outcome, NotTried)]
        if not listed:
            return {}
        reasons = await self._list.why([mails[place].recipient for place, _ in listed])
        return {
            place: replace(outcome, listed_for=reason)
            for (place, outcome), reason in zip(listed, reasons, strict=True)
        }

    async def close(self) -> None:
        await self._client.close()

    def _body(self, mail: Rendered | RawMail) -> bytes:
        if isinstance(mail, RawMail):
            raise CannotExpress("Postmark takes no raw mail over HTTP")
        return request_body(mail, self._settings.message_stream)

    async def _parcel(self, parcel: Sequence[_Prepared], gate: Gate, tell: Tell) -> list[Outcome]:
        outcomes = await self._hand_over(parcel, gate)
        for mail, outcome in zip(parcel, outcomes, strict=True):
            if not isinstance(outcome, NotTried):  # its reason is asked for at the end
                tell(mail.place, outcome)
        return outcomes

    async def _hand_over(self, parcel: Sequence[_Prepared], gate: Gate) -> list[Outcome]:
        """The mails of one request."""
        if len(parcel) == 1:
            return [await self._one(parcel[0], gate)]
        try:
            async with self._slots.one():
                outcomes = await self._batch(parcel, gate)
        except NoSlot:
            return [_busy()] * len(parcel)
        if outcomes is not None:
            return outcomes
        # Refused as a whole, so nothing of it was taken: one bad mail must not cost its neighbours.
        return list(await asyncio.gather(*(self._one(mail, gate) for mail in parcel)))

    async def _one(self, mail: _Prepared, gate: Gate) -> Outcome:
        try:
            async with self._slots.one():
                answer = await self._post(self._one_url, mail.body, partial(_begin, gate, 1))
        except NoSlot:
            return _busy()
        if not isinstance(answer, Reply):
            return without_reply(answer)
        words = said(answer.body)
        if answer.status != 200:
            return self._refusal(class_of_status(answer.status, words), answer)
        if words is None:
            return OutcomeUnknown(f"{self._words(answer)} (not the words of an acceptance)")
        return self._verdict(words, answer)

    async def _batch(self, parcel: Sequence[_Prepared], gate: Gate) -> list[Outcome] | None:
        """None: Postmark refused the batch for something that is in it."""
        body = b"[" + b",".join(mail.body for mail in parcel) + b"]"
        answer = await self._post(self._batch_url, body, partial(_begin, gate, len(parcel)))
        if not isinstance(answer, Reply):
            return [without_reply(answer)] * len(parcel)
        if answer.status != 200:
            reply_class = class_of_status(answer.status, said(answer.body))
            if reply_class in _ABOUT_A_MAIL:
                return None
            return [self._refusal(reply_class, answer)] * len(parcel)
        items = each_said(answer.body, len(parcel))
        if items is None:
            return [OutcomeUnknown(f"{answer.status} without an answer for each mail of the batch")] * len(
                parcel
            )
        return [self._verdict(item, answer) for item in items]

    async def _post(self, url: URL, body: bytes, begin: Begin) -> Reply | NoReply:
        answer = await self._client.post(url, self._headers, body, begin)
        if isinstance(answer, Reply) and answer.status == 200:
            failpoint("relay.postmark.accepted")
        return answer

    def _verdict(self, words: Said, reply: Reply) -> Outcome:
        """What a 200 says of one mail."""
        reply_class = class_of(words)
        text = self._fit(f"{reply.status} ErrorCode {words.error_code}: {words.message}")
        if reply_class is not ReplyClass.ACCEPTED:
            return self._outcome(reply_class, text, reply)
        if not _is_message_id(words.message_id):
            return OutcomeUnknown(f"{text} (without a MessageID: did Postmark answer?)")
        return Accepted(words.message_id, text)

    def _refusal(self, reply_class: ReplyClass, reply: Reply) -> Outcome:
        text = self._words(reply)
        if 300 <= reply.status < 400:
            text = f"{text} (a redirect, which is not followed: is base_url right?)"
        return self._outcome(reply_class, text, reply)

    def _outcome(self, reply_class: ReplyClass, text: str, reply: Reply) -> Outcome:
        match reply_class:
            case ReplyClass.RECIPIENT:
                return RejectedRecipient(BounceClass.HARD, text)
            case ReplyClass.INACTIVE:
                return NotTried(text)
            case ReplyClass.MESSAGE:
                return RejectedMessage(text)
            case ReplyClass.ACCOUNT:
                return AccountTrouble(text)
            case ReplyClass.THROTTLED | ReplyClass.DOWN:
                pause = retry_after(reply.headers, self._clock.now())
                return TryLater(text, retry_after=pause, slow_relay=True)
            case ReplyClass.LATER:
                return TryLater(text)
            case ReplyClass.DOUBT | ReplyClass.ACCEPTED:
                return OutcomeUnknown(text)
            case _:
                assert_never(reply_class)

    def _words(self, reply: Reply) -> str:
        words = said(reply.body)
        if words is None:
            return self._fit(f"{reply.status} {reply.body[:500].decode('utf-8', 'replace').strip()}".strip())
        return self._fit(f"{reply.status} ErrorCode {words.error_code}: {words.message}")

    def _fit(self, text: str) -> str:
        """Foreign text as it may be stored. A server may echo what it was sent, the token included."""
        return clean(text.replace(self._settings.server_token, "[redacted]"), 500)


#: A batch that is refused for one of these is handed over mail by mail.
_ABOUT_A_MAIL: Final = frozenset({ReplyClass.MESSAGE, ReplyClass.RECIPIENT, ReplyClass.INACTIVE})


def _parcels(mails: Sequence[_Prepared], most: int) -> Iterator[list[_Prepared]]:
    """In order, each of at most so many mails and of no more bytes than Postmark takes at once."""
    parcel: list[_Prepared] = []
    size = 0
    for mail in mails:
        if parcel and (len(parcel) == most or size + len(mail.body) + 2 > MAX_BATCH_BYTES):
            yield parcel
            parcel, size = [], 0
        parcel.append(mail)
        size += len(mail.body) + 1  # and a comma
    if parcel:
        yield parcel


def _begin(gate: Gate, mails: int) -> bool:
    """Each mail of a request asks for itself; one that may not begin holds the others back."""
    if not all(gate() for _ in range(mails)):
        return False
    failpoint("relay.postmark.mid_body")
    return True


def _busy() -> Outcome:
    return NotBegun("all connections to Postmark are busy", slow_relay=True)


def _outcomes_of(end: list[Outcome] | BaseException, mails: int) -> list[Outcome]:
    """A defect met by one request is its mails' doubt, not the end of the others."""
    if isinstance(end, Exception):
        return [OutcomeUnknown(f"defect in the adapter: {end!r}")] * mails
    if isinstance(end, BaseException):
        raise end
    return end


def _is_message_id(text: str | None) -> TypeGuard[str]:
    """Refused mails of a batch may have an id of zeros."""
    return text is not None and _UUID.fullmatch(text) is not None and text != _NO_ID
