"""What a report says, as values."""

from enum import StrEnum

import msgspec

from posthouse.domain.event import BounceClass
from posthouse.replies.bounce_rules import Action, Reason


class Kind(StrEnum):
    """What a mail that came to a bounce address is."""

    BOUNCE = "bounce"  # somebody does not get the mail
    COMPLAINT = "complaint"  # somebody called it spam
    DELAYED = "delayed"  # a server is still trying
    DELIVERED = "delivered"  # a success report, asked for or not
    AUTO_REPLY = "auto_reply"  # a person is away; a robot answers
    OTHER = "other"  # a person's answer, a newsletter, a read receipt, anything


class Recipient(msgspec.Struct, frozen=True, rename={"bounce": "class"}):
    """One recipient, and what is to be done. `address` is "" where the mail does not say whom it is about.

    `rule` names what decided (`bounce_rules.toml`); `status` is an enhanced code (RFC 3463) or "".
    """

    address: str
    bounce: BounceClass | None
    action: Action
    reason: Reason
    status: str
    diagnostic: str
    rule: str


class Original(msgspec.Struct, frozen=True):
    """What the report says of the mail that it is about: how it is found again. "" where it does not say.

    None of it is proof. Whoever can send mail to a bounce address can write this; only a signed return path
    shows that the report is about a mail of ours.
    """

    message_id: str = ""
    posthouse_id: str = ""  # our header X-Posthouse-Id
    envelope_id: str = ""  # ENVID of RFC 3461
    feedback_id: str = ""
    recipient: str = ""  # of its To


class Report(msgspec.Struct, frozen=True):
    kind: Kind
    recipients: tuple[Recipient, ...]
    original: Original
