"""Hand-over to SendGrid: one request for each mail, many at a time, every answer an outcome.

What cannot be known is said to be unknown: a request that left whole and got no readable answer may have been
taken. SendGrid has no idempotency key; its `processed` event, which carries our ids, settles the doubt.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec
from yarl import URL

from posthouse.clock import Clock
from posthouse.domain.errors import Misconfigured
from posthouse.domain.event import BounceClass
from posthouse.domain.ids import RelayAccount
from posthouse.domain.message import RawMail, Rendered
from posthouse.failpoints import failpoint
from posthouse.net.client import HttpClient, Reply
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    Capabilities,
    Gate,
    NotBegun,
    Outcome,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    Tell,
    TryLater,
    tell_nobody,
)
from posthouse.relays.http import NoSlot, Slots, clean, each, retry_after, without_reply
from posthouse.relays.sendgrid.request import MAX_REQUEST_BYTES, CannotExpress, request_body

_PRINTABLE = re.compile(r"[!-~]+")
_RECIPIENT_FIELD = re.compile(r"personalizations\.\d+\.to(\.\d+(\.email)?)?")
_SAYS_INVALID_ADDRESS = re.compile(
    r"not contain a valid (e-?mail )?address|invalid (e-?mail )?address", re.IGNORECASE
)

CAPABILITIES: Final = Capabilities(
    takes_raw=False,
    max_message_bytes=MAX_REQUEST_BYTES,
    batch=1,
    shows_other_recipients=False,
    keeps_message_id=True,
    reports_acceptance=True,
    can_be_asked=False,
    own_return_path=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendGridAccount:
    """How to send by one account. `slot_wait` (seconds): how long a claimed mail may wait for a free slot."""

    account: RelayAccount
    api_key: str = field(repr=False)
    base_url: str = "https://api.sendgrid.com"
    max_concurrency: int = 64
    slot_wait: float = 1.0

    def __post_init__(self) -> None:
        if not _PRINTABLE.fullmatch(self.api_key):
            raise Misconfigured(f"relays.{self.account}: the API key is missing or is not printable ASCII.")


class SendGridRelay:
    """One SendGrid account. Owns its client: closing the relay closes it."""

    capabilities = CAPABILITIES

    def __init__(self, settings: SendGridAccount, client: HttpClient, clock: Clock) -> None:
        self.account = settings.account
        self._client = client
        self._clock = clock
        self._api_key = settings.api_key
        self._url = api_url(settings) / "v3/mail/send"
        self._headers = {
            "Authorization": f"Bearer {settings.api_key}",
            "Content-Type": "application/json",
            "User-Agent": "posthouse",
        }
        self._slots = Slots(settings.max_concurrency, wait=settings.slot_wait)

    async def send_many(
        self, mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell = tell_nobody
    ) -> list[Outcome]:
        """Hand over each mail by a request of its own; answers in order."""
        return await each(mails, partial(self._hand_over, gate=gate), tell)

    async def close(self) -> None:
        await self._client.close()

    async def _hand_over(self, mail: Rendered | RawMail, gate: Gate) -> Outcome:
        if isinstance(mail, RawMail):
            return RejectedMessage("SendGrid takes no raw mail over HTTP")
        try:
            async with self._slots.one():
                return await self._request(mail, gate)
        except NoSlot:
            return NotBegun("all connections to SendGrid are busy", slow_relay=True)
        except CannotExpress as error:
            return RejectedMessage(str(error))

    async def _request(self, mail: Rendered, gate: Gate) -> Outcome:
        body = request_body(mail)
        answer = await self._client.post(self._url, self._headers, body, partial(_begin, gate))
        if not isinstance(answer, Reply):
            return without_reply(answer)
        if answer.status == 202:
            failpoint("relay.sendgrid.accepted")
        return self._outcome(answer)

    def _outcome(self, reply: Reply) -> Outcome:
        """What a reply means for its mail. Nothing but a 202 that names its message is acceptance."""
        said = self._words(reply)
        match reply.status:
            case 202:
                return _accepted(reply)
            case 400 if _names_the_recipient(reply.body):
                return RejectedRecipient(BounceClass.HARD, said)
            case 408 | 425:
                return TryLater(said)
            case 429:
                pause = retry_after(reply.headers, self._clock.now())
                return TryLater(said, retry_after=pause, slow_relay=True)
            case 401 | 402 | 403 | 404 | 405 | 406 | 407 | 410 | 415 | 421:
                return AccountTrouble(said)
            case status if 400 <= status < 500:
                return RejectedMessage(said)
            case 500:
                # One mail that SendGrid stumbles over must not pause the others.
                return TryLater(said)
            case status if 500 < status < 600:
                pause = retry_after(reply.headers, self._clock.now())
                return TryLater(said, retry_after=pause, slow_relay=True)
            case status if 300 <= status < 400:
                return AccountTrouble(f"{said} (a redirect, which is not followed: is base_url right?)")
            case _:
                return OutcomeUnknown(f"{said} (SendGrid accepts with 202)")

    def _words(self, reply: Reply) -> str:
        """The reply as it may be stored and shown. A server may echo what it was sent, the key included."""
        words = " ".join(_messages(reply.body)) or reply.body[:500].decode("utf-8", "replace").strip()
        return clean(f"{reply.status} {words}".strip().replace(self._api_key, "[redacted]"), 500)


def _begin(gate: Gate) -> bool:
    if not gate():
        return False
    failpoint("relay.sendgrid.mid_body")
    return True


def api_url(settings: SendGridAccount) -> URL:
    """Raises Misconfigured."""
    try:
        url = URL(settings.base_url)
    except ValueError as error:
        raise Misconfigured(f"relays.{settings.account}: base_url is not a URL: {error}.") from error
    if url.scheme not in ("http", "https") or not url.host or url.user or url.query_string or url.fragment:
        raise Misconfigured(f"relays.{settings.account}: base_url must be like https://api.sendgrid.com.")
    return url


def _accepted(reply: Reply) -> Outcome:
    message_id = clean(reply.headers.get("x-message-id", "").strip(), 200)
    if not message_id:
        return OutcomeUnknown("202 without X-Message-Id: did SendGrid answer?")
    return Accepted(message_id, f"202 queued as {message_id}")


class _Error(msgspec.Struct):
    message: str | None = None
    field: str | None = None


class _Errors(msgspec.Struct):
    errors: list[_Error] = []


_ERRORS = msgspec.json.Decoder(_Errors)


def _errors(body: bytes) -> list[_Error]:
    try:
        return _ERRORS.decode(body).errors
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


def _messages(body: bytes) -> list[str]:
    return [
        f"{error.message} ({error.field})" if error.field else error.message
        for error in _errors(body)[:5]
        if error.message
    ]


def _names_the_recipient(body: bytes) -> bool:
    """Whether the one thing wrong is the recipient's address: a hard bounce, so nothing less clear counts."""
    errors = _errors(body)
    return bool(errors) and all(
        _RECIPIENT_FIELD.fullmatch(error.field or "") and _SAYS_INVALID_ADDRESS.search(error.message or "")
        for error in errors
    )
