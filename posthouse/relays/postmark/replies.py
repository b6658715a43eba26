"""What Postmark's replies mean. The meanings are data (codes.toml); here is how they are looked up."""

from enum import StrEnum
from importlib import resources
from typing import Final

import msgspec

from posthouse.domain.suppression import SuppressionReason


class ReplyClass(StrEnum):
    """See codes.toml."""

    ACCEPTED = "accepted"
    RECIPIENT = "recipient"
    INACTIVE = "inactive"
    MESSAGE = "message"
    ACCOUNT = "account"
    THROTTLED = "throttled"
    DOWN = "down"
    LATER = "later"
    DOUBT = "doubt"


class Said(msgspec.Struct, frozen=True, rename="pascal"):
    """What Postmark says of one mail, or of a whole request."""

    error_code: int
    message: str = ""
    message_id: str | None = msgspec.field(name="MessageID", default=None)


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"reply_class": "class"}):
    code: int
    reply_class: ReplyClass
    meaning: str


class _Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"reply_class": "class"}):
    code: int
    says: str
    reply_class: ReplyClass


class _Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: str
    mirrored: SuppressionReason
    origin: str | None = None


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    status: dict[str, ReplyClass]
    code: tuple[Code, ...]
    words: tuple[_Words, ...]
    listed: tuple[_Listed, ...]


_TABLE = msgspec.toml.decode(
    (resources.files("posthouse.relays.postmark") / "codes.toml").read_bytes(), type=_Table
)
_BY_STATUS: Final = {int(status): reply_class for status, reply_class in _TABLE.status.items()}
CODES: Final = {row.code: row for row in _TABLE.code}

_SAID = msgspec.json.Decoder(Said)
_EACH_SAID = msgspec.json.Decoder(list[Said])


def said(body: bytes) -> Said | None:
    """What a body says; None when it is not Postmark's."""
    try:
        return _SAID.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def each_said(body: bytes, mails: int) -> list[Said] | None:
    """What a batch's body says of each of its mails, in their order; None unless it does so of all."""
    try:
        items = _EACH_SAID.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return items if len(items) == mails else None


def class_of_status(status: int, words: Said | None) -> ReplyClass:
    """What a reply that refuses a whole request means: nothing here is an acceptance."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status < 500 and words is not None and words.error_code != 0:
        return class_of(words)
    if 300 <= status < 400:
        return ReplyClass.ACCOUNT
    return ReplyClass.MESSAGE if 400 <= status < 500 else ReplyClass.DOUBT


def class_of(words: Said) -> ReplyClass:
    """What is said of one mail. A code that nobody documented refuses it: only 0 takes."""
    for row in _TABLE.words:
        if row.code == words.error_code and words.message.startswith(row.says):
            return row.reply_class
    known = CODES.get(words.error_code)
    return known.reply_class if known is not None else ReplyClass.MESSAGE


def listed_for(reason: str, origin: str) -> SuppressionReason | None:
    """What an entry of Postmark's list is on ours; None where it is none of ours."""
    return next(
        (row.mirrored for row in _TABLE.listed if row.reason == reason and row.origin in (None, origin)), None
    )
