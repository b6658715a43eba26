"""What Mailgun's words mean: the table events.toml; where it leaves a failure open, the server's reply."""

from collections.abc import Mapping
from importlib import resources
from typing import Final, NamedTuple, assert_never

import msgspec

from posthouse.domain.event import BounceClass, EventType
from posthouse.domain.suppression import SuppressionReason
from posthouse.replies.classify import ReplyClass, Stage, classify


class Failure(NamedTuple):
    """What Mailgun says of a mail that it did not deliver."""

    severity: str
    reason: str
    code: int | None  # SMTP's, or one of Mailgun's own above 600
    status: str  # RFC 3463, or ""
    words: str


class Meaning(NamedTuple):
    event: EventType
    bounce: BounceClass | None = None
    mirrored: SuppressionReason | None = None


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"bounce_class": "class"}):
    event: EventType
    bounce_class: BounceClass | None = None
    mirrors: SuppressionReason | None = None
    severity: tuple[str, ...] | None = None
    reason: tuple[str, ...] | None = None
    code: tuple[int, ...] | None = None
    status: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.event is not EventType.BOUNCED and self.bounce_class is not None:
            raise ValueError("only a bounce has a class")
        if self.mirrors is not None and self.event is not EventType.REJECTED:
            raise ValueError("an address that nobody tried is rejected")

    def fits(self, failure: Failure) -> bool:
        return (
            (self.severity is None or failure.severity in self.severity)
            and (self.reason is None or failure.reason in self.reason)
            and (self.code is None or failure.code in self.code)
            and (self.status is None or failure.status.startswith(self.status))
        )


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    words: Mapping[str, EventType]
    legacy: Mapping[str, Mapping[str, str]]
    legacy_reasons: Mapping[str, str]
    failed: tuple[_Rule, ...]


TABLE: Final = msgspec.toml.decode(
    (resources.files("posthouse.relays.mailgun") / "events.toml").read_bytes(), type=_Table
)
_FAILED: Final = "failed"


def meaning_of(word: str, failure: Failure) -> Meaning:
    """What a word means; of "failed" by its circumstances."""
    if word != _FAILED:
        return Meaning(TABLE.words.get(word, EventType.UNKNOWN))
    rule = next(rule for rule in TABLE.failed if rule.fits(failure))
    if rule.event is not EventType.BOUNCED:
        return Meaning(rule.event, mirrored=rule.mirrors)
    return Meaning(EventType.BOUNCED, rule.bounce_class or _by_reply(failure))


def _by_reply(failure: Failure) -> BounceClass:
    """Mailgun does not say what the server's reply answered. After the mail's last dot fewest replies are
    about the address, so that is how it is read."""
    if failure.code is None:
        return BounceClass.SOFT
    verdict = classify(Stage.FINAL_DOT, failure.code, failure.status or None, failure.words)
    match verdict.reply_class:
        case ReplyClass.HARD_RECIPIENT:
            return BounceClass.HARD
        case ReplyClass.BLOCK | ReplyClass.MESSAGE | ReplyClass.ACCOUNT | ReplyClass.PARAMETERS:
            return BounceClass.BLOCK
        case (
            ReplyClass.ACCEPTED
            | ReplyClass.TRY_LATER
            | ReplyClass.GREYLISTED
            | ReplyClass.THROTTLED
            | ReplyClass.SOFT_RECIPIENT
            | ReplyClass.RELAY_DOWN
            | ReplyClass.PROTOCOL
        ):
            return BounceClass.SOFT
        case _:
            assert_never(verdict.reply_class)
