"""GET /v1/suppressions/why: would a mail to this address be sent, and if not, what can be done?"""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias, assert_never
from urllib.parse import quote
from uuid import UUID

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from posthouse.domain.address import domain_of, normalise, parse_mailbox
from posthouse.domain.ids import AddressKey
from posthouse.domain.stream import Stream
from posthouse.domain.suppression import (
    Suppression,
    SuppressionReason,
    SuppressionScope,
    SuppressionSource,
    stops,
)
from posthouse.storage import suppressions
from posthouse.storage.keys import ApiKey, KeyScope
from posthouse.storage.suppressions import Cause
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest

_Which: TypeAlias = tuple[UUID, SuppressionReason]  # an entry of one address, by the mail that caused it


class CauseView(msgspec.Struct, frozen=True):
    """The mail whose event made an entry; `occurred_at` null: the event itself is not stored."""

    email_id: UUID
    recipient_id: UUID
    event: str
    occurred_at: datetime | None
    bounce: str | None
    reason: str | None
    smtp_code: int | None
    enhanced_code: str | None
    diagnostic: str | None


class BecauseView(msgspec.Struct, frozen=True):
    """An entry that stops mail. `cause` null: no mail caused it, that mail is too old to be stored, or it is
    none that this key may see. `lift`: how to have mail sent again."""

    reason: SuppressionReason
    scope: SuppressionScope
    source: SuppressionSource
    since: datetime
    until: datetime | None
    note: str
    cause: CauseView | None
    lift: str


class StreamView(msgspec.Struct, frozen=True):
    stream: Stream
    would_be_sent: bool
    because: list[BecauseView]


class WhyView(msgspec.Struct, frozen=True):
    address: str
    streams: list[StreamView]


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @get("/suppressions/why")
    async def why(
        request: ApiRequest, address: FromQuery[str], stream: FromQuery[Stream | None] = None
    ) -> WhyView:
        api_key = await deps.keys.authenticate(request, KeyScope.READ)
        key, now = normalise(address), deps.now()
        entries = await suppressions.entries_of(deps.database, key)
        causes = await suppressions.causes(deps.database, entries)
        seen = {(one.job_id, one.made): _cause(one) for one in causes if _may_see(api_key, one)}
        streams = list(Stream) if stream is None else [stream]
        return WhyView(key, [_stream(one, entries, seen, now) for one in streams])

    return [why]


def _stream(
    stream: Stream,
    entries: list[Suppression],
    causes: Mapping[_Which, CauseView],
    now: datetime,
) -> StreamView:
    because = [_because(entry, causes) for entry in entries if stops(entry, stream, now)]
    return StreamView(stream, not because, because)


def _because(entry: Suppression, causes: Mapping[_Which, CauseView]) -> BecauseView:
    return BecauseView(
        reason=entry.reason,
        scope=entry.scope,
        source=entry.source,
        since=entry.added_at,
        until=entry.expires_at,
        note=entry.note,
        cause=None if entry.job_id is None else causes.get((entry.job_id, entry.reason)),
        lift=_lift(entry.address, entry.reason),
    )


def _lift(address: AddressKey, reason: SuppressionReason) -> str:
    remove = f"DELETE /v1/suppressions/{quote(address, safe='@')}"
    match reason:
        case SuppressionReason.BOUNCE:
            first, last = "Find out that the mailbox exists now", remove
        case SuppressionReason.SPAM:
            first = "Only when this person asked for mail again, in words that can be given as the reason"
            last = f"{remove}?force=true&reason=..."
        case SuppressionReason.UNSUBSCRIBE:
            first, last = "Only when this person asked for it again", remove
        case SuppressionReason.MANUAL:
            first, last = "Ask who added it", remove
        case _:
            assert_never(reason)
    return f"{first}: {last}. It takes away every entry of the address."


def _may_see(key: ApiKey, cause: Cause) -> bool:
    """As with mail itself: a key sees what it could have sent."""
    if key.stream is not None and key.stream != cause.stream:
        return False
    return not key.from_domains or domain_of(parse_mailbox(cause.from_address)) in key.from_domains


def _cause(cause: Cause) -> CauseView:
    return CauseView(
        email_id=cause.message_id,
        recipient_id=cause.job_id,
        event=cause.type,
        occurred_at=cause.occurred_at,
        bounce=cause.bounce_class,
        reason=cause.reason,
        smtp_code=cause.smtp_code,
        enhanced_code=cause.enhanced_code,
        diagnostic=cause.diagnostic,
    )
