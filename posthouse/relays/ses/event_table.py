"""SES's words and what they mean, as events.toml has them."""

from dataclasses import dataclass
from importlib import resources
from typing import Final

import msgspec

from posthouse.domain.event import BounceClass, EventType
from posthouse.domain.suppression import SuppressionReason


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an event of SES's is here."""

    type: EventType
    bounce: BounceClass | None = None
    mirrored: SuppressionReason | None = None


UNHEARD: Final = Meaning(EventType.UNKNOWN)


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"bounce_class": "class"}):
    event: EventType
    bounce_class: BounceClass | None = None
    mirrored: SuppressionReason | None = None
    type: tuple[str, ...] | None = None
    subtype: tuple[str, ...] | None = None
    status: tuple[str, ...] | None = None
    report: bool | None = None
    feedback: tuple[str, ...] | None = None
    left: bool | None = None

    def __post_init__(self) -> None:
        if (self.event is EventType.BOUNCED) != (self.bounce_class is not None):
            raise ValueError("a bounce has its class, and nothing else has one")

    @property
    def meaning(self) -> Meaning:
        return Meaning(self.event, self.bounce_class, self.mirrored)


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    words: dict[str, EventType]
    bounce: tuple[_Rule, ...]
    complaint: tuple[_Rule, ...]
    subscription: tuple[_Rule, ...]


TABLE: Final = msgspec.toml.decode(
    (resources.files("posthouse.relays.ses") / "events.toml").read_bytes(), type=_Table
)


def of_bounce(kind: str, subtype: str, status: str, *, report: bool) -> Meaning:
    """`report`: a server's own report came with it."""
    return next(
        rule.meaning
        for rule in TABLE.bounce
        if (rule.type is None or kind in rule.type)
        and (rule.subtype is None or subtype in rule.subtype)
        and (rule.status is None or status.startswith(rule.status))
        and (rule.report is None or rule.report is report)
    )


def of_complaint(subtype: str, feedback: str) -> Meaning:
    return next(
        rule.meaning
        for rule in TABLE.complaint
        if (rule.subtype is None or subtype in rule.subtype)
        and (rule.feedback is None or feedback in rule.feedback)
    )


def of_subscription(*, left: bool) -> Meaning:
    return next(rule.meaning for rule in TABLE.subscription if rule.left is left)


def of_word(word: str) -> Meaning:
    return Meaning(TABLE.words.get(word, EventType.UNKNOWN))
