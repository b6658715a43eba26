"""An entry of the suppression list, as somebody asks for it."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from posthouse.domain.address import key_of, parse_mailbox
from posthouse.domain.errors import InvalidAddress, InvalidInput
from posthouse.domain.suppression import Suppression, SuppressionReason, SuppressionScope, SuppressionSource
from posthouse.intake.plain_json import check_text


class PostedSuppression(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`scope` left out: marketing for an unsubscription, else all."""

    address: str
    reason: SuppressionReason = SuppressionReason.MANUAL
    scope: SuppressionScope | None = None
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    note: Annotated[str, msgspec.Meta(max_length=1000)] = ""


def suppression_of(posted: PostedSuppression, source: SuppressionSource, now: datetime) -> Suppression:
    """The entry that was asked for. Raises InvalidInput."""
    check_text(posted.note, "/note")
    if posted.reason is SuppressionReason.SPAM and posted.expires_at is not None:
        raise InvalidInput("A complaint suppresses for good: it has no expires_at.", pointer="/expires_at")
    unsubscribed = posted.reason is SuppressionReason.UNSUBSCRIBE
    if unsubscribed and posted.scope is SuppressionScope.ALL:
        raise InvalidInput("Unsubscribing stops marketing, never transactional mail.", pointer="/scope")
    try:
        address = key_of(parse_mailbox(posted.address))
    except InvalidAddress as error:
        raise InvalidAddress(error.message, pointer="/address") from error
    return Suppression(
        address=address,
        reason=posted.reason,
        scope=posted.scope or (SuppressionScope.MARKETING if unsubscribed else SuppressionScope.ALL),
        source=source,
        added_at=now,
        expires_at=_in_utc(posted.expires_at),
        note=posted.note,
    )


def _in_utc(moment: datetime | None) -> datetime | None:
    try:
        return None if moment is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInput(
            "This time is outside the years 1 to 9999 in UTC.", pointer="/expires_at"
        ) from error
