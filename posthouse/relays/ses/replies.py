"""What SES's answers mean for a mail. The words are data, in replies.toml; the rest goes by HTTP status."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from importlib import resources
from typing import Final, assert_never

import msgspec

from posthouse.domain.event import BounceClass
from posthouse.domain.suppression import SuppressionReason
from posthouse.net.client import Reply
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    NotTried,
    Outcome,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    TryLater,
)
from posthouse.relays.http import clean, retry_after

#: A used-up day comes back bit by bit: not worth a try each second.
QUOTA_RETRY: Final = 600.0  # seconds
_CLOCK: Final = " (is this machine's clock right?)"


class Meaning(StrEnum):
    """What a rule of the table makes of an answer."""

    THROTTLED = "throttled"
    QUOTA = "quota"
    ACCOUNT = "account"
    CLOCK = "clock"
    LISTED = "listed"
    RECIPIENT = "recipient"
    MESSAGE = "message"
    LATER = "later"
    UNAVAILABLE = "unavailable"


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    errors: tuple[str, ...]
    means: Meaning
    says: tuple[str, ...] = ()
    names_recipient: bool = False

    def fits(self, error: str, message: str, recipient: str) -> bool:
        return (
            error in self.errors
            and (not self.says or any(piece in message for piece in self.says))
            and (not self.names_recipient or recipient.lower() in message)
        )


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reply: tuple[_Rule, ...]


RULES: Final = msgspec.toml.decode(
    (resources.files("posthouse.relays.ses") / "replies.toml").read_bytes(), type=_Table
).reply


class _Body(msgspec.Struct, rename={"message_id": "MessageId", "kind": "__type", "upper": "Message"}):
    message_id: str = ""
    message: str | None = None
    upper: str | None = None
    kind: str | None = None
    code: str | None = None


_BODY = msgspec.json.Decoder(_Body)


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is not a yes: the error's bare name and its words, as they may be stored."""

    error: str
    message: str


def accepted(reply: Reply) -> Outcome:
    """What a 200 means: acceptance if it names its message, and doubt if it does not."""
    message_id = clean(_body(reply).message_id.strip(), 200)
    if not message_id:
        return OutcomeUnknown("200 without a MessageId: did SES answer?")
    return Accepted(message_id, f"200 accepted as {message_id}")


def failure(reply: Reply) -> Failure:
    """The error that an answer names. AWS writes `Name:http://...` or `com.amazon.coral#Name`."""
    body = _body(reply)
    named = reply.headers.get("x-amzn-errortype") or body.kind or body.code or ""
    name = named.partition(":")[0].rpartition("#")[2].strip().removesuffix("Exception")
    words = body.message or body.upper or reply.body[:500].decode("utf-8", "replace").strip()
    return Failure(clean(name, 100), clean(words, 400))


def outcome_of(reply: Reply, said: Failure, recipient: str, now: datetime) -> Outcome:
    """What an answer other than 200 means for its mail."""
    words = f"{reply.status} {said.error} {said.message}".replace("  ", " ").strip()
    meaning = _meaning(reply.status, said, recipient)
    pause = retry_after(reply.headers, now)
    match meaning:
        case Meaning.THROTTLED | Meaning.UNAVAILABLE:
            return TryLater(words, retry_after=pause, slow_relay=True)
        case Meaning.QUOTA:
            return TryLater(words, retry_after=pause or QUOTA_RETRY, slow_relay=True)
        case Meaning.ACCOUNT:
            return AccountTrouble(words)
        case Meaning.CLOCK:
            return AccountTrouble(words + _CLOCK)
        case Meaning.LISTED:
            return NotTried(words, SuppressionReason.BOUNCE)
        case Meaning.RECIPIENT:
            return RejectedRecipient(BounceClass.HARD, words)
        case Meaning.MESSAGE:
            return RejectedMessage(words)
        case Meaning.LATER:
            return TryLater(words, retry_after=pause)
        case None:
            return OutcomeUnknown(f"{words} (SES accepts with 200)")
        case _:
            assert_never(meaning)


def _meaning(status: int, said: Failure, recipient: str) -> Meaning | None:
    """By the table, and by the status where it is silent. None: nobody knows whether the mail was taken."""
    if 400 <= status < 600:
        message = said.message.lower()
        for rule in RULES:
            if rule.fits(said.error, message, recipient):
                return rule.means
    return _meaning_of_status(status)


def _meaning_of_status(status: int) -> Meaning | None:
    match status:
        case 408 | 409 | 425 | 500:
            return Meaning.LATER
        case 429:
            return Meaning.THROTTLED
        case 401 | 402 | 403 | 404 | 405 | 406 | 407 | 410 | 415 | 421:
            return Meaning.ACCOUNT
        case _ if 300 <= status < 400:
            return Meaning.ACCOUNT  # a redirect is not followed: the endpoint is wrong
        case _ if 400 <= status < 500:
            return Meaning.MESSAGE
        case 504:
            return None  # the gateway gave up waiting for somebody who may have taken it
        case _ if 500 < status < 600:
            return Meaning.UNAVAILABLE
        case _:
            return None


def _body(reply: Reply) -> _Body:
    try:
        return _BODY.decode(reply.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Body()
