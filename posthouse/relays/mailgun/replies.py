"""What Mailgun's answers mean for a mail. The words are data, in replies.toml."""

import re
from datetime import datetime
from enum import StrEnum
from importlib import resources
from typing import Final, assert_never

import msgspec

from posthouse.domain.event import BounceClass
from posthouse.net.client import Reply
from posthouse.relays.base import (
    Accepted,
    AccountTrouble,
    Outcome,
    OutcomeUnknown,
    RejectedMessage,
    RejectedRecipient,
    TryLater,
)
from posthouse.relays.http import clean, retry_after, until
from posthouse.relays.mailgun.request import Credentials

#: "... limit exceeded, try again after Mon, 25 Aug 2025 07:00:31 UTC"
_AGAIN_AFTER = re.compile(r"try again after ([A-Za-z]{3}, [0-9A-Za-z :+-]{10,40})")


class Meaning(StrEnum):
    """What a rule of the table makes of an answer."""

    THROTTLED = "throttled"
    RECIPIENT = "recipient"
    ACCOUNT = "account"
    MESSAGE = "message"
    LATER = "later"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    status: tuple[int, ...]
    means: Meaning
    says: tuple[str, ...] = ()

    def fits(self, status: int, message: str) -> bool:
        return status in self.status and (not self.says or any(piece in message for piece in self.says))


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reply: tuple[Rule, ...]


RULES: Final = msgspec.toml.decode(
    (resources.files("posthouse.relays.mailgun") / "replies.toml").read_bytes(), type=_Table
).reply


class _Body(msgspec.Struct):
    id: str | None = None
    message: str | None = None


_BODY = msgspec.json.Decoder(_Body)


def outcome_of(reply: Reply, now: datetime, credentials: Credentials) -> Outcome:
    """What a reply means for its mail. Nothing but a 200 that names its message is acceptance."""
    body = _body(reply.body)
    words = body.message or reply.body[:500].decode("utf-8", "replace").strip()
    message_id = clean((body.id or "").strip().strip("<>"), 300)
    said = clean(credentials.hidden_in(f"{reply.status} {words}".strip()), 500)
    if reply.status == 200 and message_id:
        return Accepted(message_id, said)
    return _refusal(_meaning(reply.status, words.lower()), reply, said, words, now)


def _refusal(meaning: Meaning, reply: Reply, said: str, words: str, now: datetime) -> Outcome:
    match meaning:
        case Meaning.THROTTLED:
            return TryLater(said, retry_after=_pause(reply, words, now), slow_relay=True)
        case Meaning.RECIPIENT:
            return RejectedRecipient(BounceClass.HARD, said)
        case Meaning.ACCOUNT:
            return AccountTrouble(said)
        case Meaning.MESSAGE:
            return RejectedMessage(said)
        case Meaning.LATER:
            return TryLater(said)
        case Meaning.UNAVAILABLE:
            return TryLater(said, retry_after=retry_after(reply.headers, now), slow_relay=True)
        case Meaning.UNKNOWN:
            return OutcomeUnknown(f"{said} (Mailgun accepts with 200 and an id)")
        case _:
            assert_never(meaning)


def _meaning(status: int, words: str) -> Meaning:
    rule = next((rule for rule in RULES if rule.fits(status, words)), None)
    if rule is not None:
        return rule.means
    match status // 100:
        case 3:
            return Meaning.ACCOUNT  # a redirect, which is not followed: is base_url right?
        case 4:
            return Meaning.MESSAGE
        case 5:
            return Meaning.UNAVAILABLE
        case _:
            return Meaning.UNKNOWN


def _pause(reply: Reply, words: str, now: datetime) -> float | None:
    """Seconds: a header's, where there is one, else the date in the words."""
    hint = retry_after(reply.headers, now)
    if hint is not None:
        return hint
    date = _AGAIN_AFTER.search(words[:1000])
    return until(date[1], now) if date is not None else None


def _body(body: bytes) -> _Body:
    try:
        return _BODY.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Body()
