"""Why mail came back: the words and codes of a report against the rules of `bounce_rules.toml`.

`classify.py` beside it says what a reply means while a server waits for our next command. Here the reply is
a quotation, often without its stage or its code, in any language, and the question is what it says of the
address.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from importlib import resources
from typing import Final, TypeAlias

import msgspec

from posthouse.domain.event import BounceClass

MAX_TEXT: Final = (
    4_000  # characters that rules look at: a reply may have 100 lines, but it says why in the first
)
_WILD: Final = 80  # characters that "*" stands for
_STARTS: Final = 8  # places in a text at which a phrase is tried


class Reason(StrEnum):
    """Why. What each means is in `bounce_rules.toml`."""

    USER_UNKNOWN = "user_unknown"
    HOST_UNKNOWN = "host_unknown"
    BAD_ADDRESS = "bad_address"
    NOT_ACCEPTING = "not_accepting"
    MOVED = "moved"
    CLOSED = "closed"
    SUSPENDED = "suspended"
    MAILBOX_FULL = "mailbox_full"
    RATE = "rate"
    EXPIRED = "expired"
    NETWORK = "network"
    LOOP = "loop"
    SYSTEM = "system"
    RELAY_DENIED = "relay_denied"
    UNKNOWN = "unknown"
    MESSAGE_TOO_BIG = "message_too_big"
    BLOCKED_IP = "blocked_ip"
    AUTHENTICATION = "authentication"
    SPAM = "spam"
    VIRUS = "virus"
    CONTENT = "content"
    SENDER_REJECTED = "sender_rejected"
    RESTRICTED = "restricted"
    ENCRYPTION = "encryption"
    PROTOCOL = "protocol"
    POLICY = "policy"
    FEEDBACK = "feedback"
    VACATION = "vacation"
    DELIVERED = "delivered"


class Action(StrEnum):
    """What is done about an address. A block is for the operator, and nothing is done about the address."""

    SUPPRESS = "suppress"
    RETRY = "retry"
    NONE = "none"


class Meaning(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"bounce": "class"}):
    """What a reason says of the address. `bounce` is None where nothing bounced."""

    action: Action
    means: str
    bounce: BounceClass | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row; every condition that is given must hold. `vague`: a code that says "dead" says more."""

    name: str
    reason: Reason
    source: str
    example: str
    phrases: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    around: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    vague: bool = False


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reasons: dict[Reason, Meaning]
    rule: tuple[Rule, ...]


class Phrase:
    """A text to look for: literal pieces, with a bounded gap between one and the next."""

    __slots__ = ("_rest", "_word", "first")

    def __init__(self, phrase: str) -> None:
        self.first, *self._rest = (piece.strip() for piece in phrase.split("*"))
        self._word = self.first[:1].isascii() and self.first[:1].isalpha()

    def within(self, text: str) -> bool:
        """Whether it occurs. Linear: a few starts, and each looks at a bounded stretch."""
        start = text.find(self.first)
        for _ in range(_STARTS):
            if start < 0:
                return False
            if self._begins_word(text, start) and self._goes_on(text, start + len(self.first)):
                return True
            start = text.find(self.first, start + 1)
        return False

    def _begins_word(self, text: str, start: int) -> bool:
        before = text[start - 1 : start]
        return not self._word or not (before.isascii() and before.isalpha())

    def _goes_on(self, text: str, end: int) -> bool:
        for piece in self._rest:
            found = text.find(piece, end, end + _WILD + len(piece))
            if found < 0:
                return False
            end = found + len(piece)
        return True


#: Phrases with what they begin with beside them: a mail is searched for 2,000, and hardly one begins in it.
Phrases: TypeAlias = Sequence[tuple[str, Phrase]]


def phrases_of(texts: Sequence[str]) -> Phrases:
    return tuple((phrase.first, phrase) for phrase in map(Phrase, texts))


def any_within(phrases: Phrases, text: str) -> bool:
    for first, phrase in phrases:  # noqa: SIM110 - a generator costs more than the search
        if first in text and phrase.within(text):
            return True
    return False


class _Test:
    """A rule made ready."""

    __slots__ = ("_around", "_phrases", "_status", "_unless", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._phrases = phrases_of(rule.phrases)
        self._around = phrases_of(rule.around)
        self._unless = phrases_of(rule.unless)
        self._status = tuple(tuple(pattern.split(".")) for pattern in rule.status)

    def fits(self, text: str, status: Sequence[str], around: str) -> bool:
        return (
            self._fits_status(status)
            and (not self._phrases or any_within(self._phrases, text))
            and (not self._around or any_within(self._around, around))
            and not any_within(self._unless, around if self._around else text)
        )

    def _fits_status(self, status: Sequence[str]) -> bool:
        return not self._status or any(
            len(status) == len(pattern) and all(map(_part_fits, pattern, status)) for pattern in self._status
        )


def _part_fits(want: str, have: str) -> bool:
    return want in ("*", have)


def read_status(status: str) -> tuple[str, ...]:
    """The three parts of an enhanced code; nothing for what is none."""
    return tuple(status.split(".")) if _STATUS.fullmatch(status) else ()


_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


def by_words(text: str, status: str, around: str = "") -> Rule | None:
    """The first rule whose words occur in `text`; `around` is all that is said of the recipient.

    Both are as `bounce_rules.toml` says: lower case, single spaces. `status` is an enhanced code or "".
    """
    parts = read_status(status)
    return next((test.rule for test in _BY_WORDS if test.fits(text, parts, around)), None)


def by_code(status: str) -> Rule | None:
    """The rule for an enhanced code alone."""
    parts = read_status(status)
    return next((test.rule for test in _BY_CODE if test.fits("", parts, "")), None)


def meaning(reason: Reason) -> Meaning:
    return REASONS[reason]


_TABLE: Final = msgspec.toml.decode(
    (resources.files("posthouse.replies") / "bounce_rules.toml").read_bytes(), type=_Table
)
REASONS: Final = _TABLE.reasons
RULES: Final = _TABLE.rule
_BY_WORDS: Final = tuple(_Test(rule) for rule in RULES if rule.phrases or rule.around)
_BY_CODE: Final = tuple(_Test(rule) for rule in RULES if not (rule.phrases or rule.around))
