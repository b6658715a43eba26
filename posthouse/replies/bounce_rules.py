"""Why mail came back: the words and codes of a report against the rules of `bounce_rules.toml`.

`classify.py` beside it says what a reply means while a server waits for our next command. Here the reply is
a quotation, often without its stage or its code, in any language, and the question is what it says of the
address.
"""

import re
from collections.abc import Sequence, Set
from enum import StrEnum
from importlib import resources
from typing import Final

import msgspec

from posthouse.domain.event import BounceClass
from posthouse.replies.phrases import PhraseBook

MAX_TEXT: Final = (
    4_000  # characters that rules look at: a reply may have 100 lines, but it says why in the first
)


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


class _Test:
    """A rule made ready."""

    __slots__ = ("_around", "_phrases", "_status", "_unless", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._phrases = frozenset(rule.phrases)
        self._around = frozenset(rule.around)
        self._unless = frozenset(rule.unless)
        self._status = tuple(tuple(pattern.split(".")) for pattern in rule.status)

    def fits(self, found: Set[str], status: Sequence[str], around: Set[str]) -> bool:
        """`found`: the phrases of all rules that occur in a text; `around`: in all that is said."""
        return (
            self._fits_status(status)
            and (not self._phrases or not self._phrases.isdisjoint(found))
            and (not self._around or not self._around.isdisjoint(around))
            and self._unless.isdisjoint(around if self._around else found)
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


def phrases_in(text: str) -> frozenset[str]:
    """The phrases of all rules that occur in a text, which is as `bounce_rules.toml` says."""
    return _BOOK.found_in(text)


def by_words(found: Set[str], status: str, around: Set[str] = frozenset()) -> Rule | None:
    """The first rule whose phrases were `found` in a text; `around` are those in all that is said.

    `status` is the enhanced code that goes with the text, or "".
    """
    parts = read_status(status)
    return next((test.rule for test in _BY_WORDS if test.fits(found, parts, around)), None)


def by_code(status: str) -> Rule | None:
    """The rule for an enhanced code alone."""
    parts = read_status(status)
    return next((test.rule for test in _BY_CODE if test.fits(frozenset(), parts, frozenset())), None)


def meaning(reason: Reason) -> Meaning:
    return REASONS[reason]


_TABLE: Final = msgspec.toml.decode(
    (resources.files("posthouse.replies") / "bounce_rules.toml").read_bytes(), type=_Table
)
REASONS: Final = _TABLE.reasons
RULES: Final = _TABLE.rule
_BOOK: Final = PhraseBook(text for rule in RULES for text in (*rule.phrases, *rule.around, *rule.unless))
_BY_WORDS: Final = tuple(_Test(rule) for rule in RULES if rule.phrases or rule.around)
_BY_CODE: Final = tuple(_Test(rule) for rule in RULES if not (rule.phrases or rule.around))
