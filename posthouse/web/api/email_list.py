"""GET /v1/emails: lists of mails, one entry for each recipient, newest first.

A page may be shorter than `limit`, even empty, while `has_more` is true: one request looks at a bounded
number of mails, so that no filter makes it slow. Go on with `next_cursor` until `has_more` is false.

A key sees what it could have sent; test keys see the sandboxed mails and live keys all others.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter

from posthouse.domain.address import normalise
from posthouse.domain.errors import InvalidInput
from posthouse.domain.ids import CampaignId, TemplateKey, first_of_moment
from posthouse.domain.job import Status
from posthouse.domain.stream import Stream
from posthouse.intake.plain_json import check_text
from posthouse.intake.posted import MAX_TAGS, PostedTag
from posthouse.storage import listing
from posthouse.storage.keys import ApiKey, KeyScope
from posthouse.storage.listing import FIRST, LAST, NOTHING, Filter, Page, Way
from posthouse.web.api.cursor import from_cursor, to_cursor
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.email_view import EmailEntry, email_entry
from posthouse.web.api.problems import ApiRequest

_PageSize = Annotated[int, QueryParameter(ge=1, le=100)]
_REPEATED = "tag"
_NAMES = frozenset(
    {
        "limit", "cursor", "after", "before", "status", "recipient", _REPEATED, "stream", "template",
        "campaign_id", "since", "until",
    }
)  # fmt: skip

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class EmailPage(msgspec.Struct, frozen=True):
    """Newest first. `next_cursor` is null when `has_more` is false."""

    object: Literal["list"]
    data: list[EmailEntry]
    has_more: bool
    next_cursor: str | None


class _Cursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last mail that was looked at, and which list it is a place of."""

    at: UUID
    way: Way
    of: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins; `at` None: at the newest mail."""

    at: UUID | None
    way: Way


@dataclass(frozen=True, slots=True)
class _Asked:
    """What stands in the URL."""

    cursor: str | None
    after: str | None
    before: str | None
    status: str | None
    recipient: str | None
    tags: list[str]
    stream: str | None
    template: str | None
    campaign_id: str | None
    since: str | None
    until: str | None


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @get("/emails")
    async def list_emails(
        request: ApiRequest,
        limit: _PageSize = 20,
        cursor: FromQuery[str | None] = None,
        after: FromQuery[str | None] = None,
        before: FromQuery[str | None] = None,
        status: FromQuery[str | None] = None,
        recipient: FromQuery[str | None] = None,
        tag: FromQuery[list[str] | None] = None,
        stream: FromQuery[str | None] = None,
        template: FromQuery[str | None] = None,
        campaign_id: FromQuery[str | None] = None,
        since: FromQuery[str | None] = None,
        until: FromQuery[str | None] = None,
    ) -> EmailPage:
        key = await deps.keys.authenticate(request, KeyScope.READ)
        _refuse_what_is_not_asked_so(request)
        asked = _Asked(
            cursor, after, before, status, recipient, tag or [], stream, template, campaign_id, since, until
        )
        wanted = await _filter(deps, key, asked)
        if wanted is None:
            return page_view(NOTHING, Way.OLDER, "")
        name = list_name(wanted)
        place = _place(asked, name)
        page = await listing.page(deps.database, wanted, place=place.at, way=place.way, limit=limit)
        return page_view(page, place.way, name)

    return [list_emails]


def _refuse_what_is_not_asked_so(request: ApiRequest) -> None:
    """A filter with a typo in its name, or one of two, would go unnoticed: the list would be too long."""
    for name in request.query_params:
        if name not in _NAMES:
            raise InvalidInput(
                f"Mails are not listed by {name[:100]!r}, but by: {', '.join(sorted(_NAMES))}.",
                code="unknown_parameter",
            )
        if name != _REPEATED and len(request.query_params.getall(name)) > 1:
            raise InvalidInput(f"Give {name} once.")


async def _filter(deps: ApiDeps, key: ApiKey, asked: _Asked) -> Filter | None:
    """What is asked for, of what the key may see; None: there can be no such mail."""
    wanted = Filter(
        sandbox=key.sandbox,
        streams=_streams(asked.stream, key),
        from_domains=key.from_domains,
        statuses=None if asked.status is None else _statuses(asked.status),
        recipient=None if asked.recipient is None else normalise(asked.recipient),
        tags=tags_of(asked.tags),
        campaign=None if asked.campaign_id is None else CampaignId(_uuid("campaign_id", asked.campaign_id)),
        since=FIRST if asked.since is None else first_of_moment(_moment("since", asked.since)),
        until=LAST if asked.until is None else first_of_moment(_moment("until", asked.until)),
    )
    if asked.template is not None:
        check_text(asked.template, "")
        template = await listing.template_id(deps.database, TemplateKey(asked.template))
        if template is None:
            return None
        wanted = replace(wanted, template=template)
    return wanted if wanted.streams else None


def _streams(asked: str | None, key: ApiKey) -> frozenset[Stream]:
    visible = frozenset(Stream) if key.stream is None else frozenset({key.stream})
    if asked is None:
        return visible
    try:
        return visible & {Stream(asked)}
    except ValueError:
        raise InvalidInput(f"stream is one of: {', '.join(Stream)}.") from None


def _statuses(text: str) -> frozenset[Status]:
    known = {status.lower(): status for status in Status}
    try:
        return frozenset(known[word] for word in text.split(","))
    except KeyError:
        raise InvalidInput(
            f"status is one or more, with commas between them, of: {', '.join(sorted(known))}."
        ) from None


def tags_of(texts: list[str]) -> tuple[tuple[str, str], ...]:
    """Raises InvalidInput."""
    if len(texts) > MAX_TAGS:
        raise InvalidInput(f"A mail has at most {MAX_TAGS} tags.")
    return tuple(sorted({_tag(text) for text in texts}))


def _tag(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    try:
        tag = msgspec.convert({"name": name, "value": value}, PostedTag)
    except msgspec.ValidationError:
        raise InvalidInput(
            "tag is name:value, both of A-Z, a-z, 0-9, _ and -, and may be given several times."
        ) from None
    return tag.name, tag.value


def _moment(name: str, text: str) -> datetime:
    try:
        return msgspec.convert(text, _Moment)
    except msgspec.ValidationError:
        raise InvalidInput(
            f"{name} is a time with its offset like 2026-11-24T10:00:00Z (RFC 3339; in a URL + is %2B)."
        ) from None


def _uuid(name: str, text: str) -> UUID:
    try:
        return msgspec.convert(text, UUID)
    except msgspec.ValidationError:
        raise InvalidInput(f"{name} is an id like 0190163d-8694-739b-aea5-966c26f8ad91.") from None


def _place(asked: _Asked, of: str) -> Place:
    """`after` and `before` are ids of mails: on from there to older ones, or back to newer ones."""
    if [asked.cursor, asked.after, asked.before].count(None) < 2:
        raise InvalidInput("Give one of cursor, after and before.")
    if asked.cursor is not None:
        return place_at(asked.cursor, of)
    if asked.before is not None:
        return Place(_uuid("before", asked.before), Way.NEWER)
    return Place(None if asked.after is None else _uuid("after", asked.after), Way.OLDER)


def place_at(cursor: str, of: str) -> Place:
    """Where a list goes on. Raises InvalidInput for a cursor of another one."""
    found = from_cursor(cursor, _Cursor)
    if found.of != of:
        raise InvalidInput(
            "This cursor is of another list: ask with the filters and the key that you got it with.",
            code="invalid_cursor",
        )
    return Place(found.at, found.way)


def list_name(wanted: Filter) -> str:
    """Short, and the same for the same filter in every process."""
    return hashlib.sha256(msgspec.json.encode(wanted, order="deterministic")).hexdigest()[:12]


def page_view(page: Page, way: Way, of: str) -> EmailPage:
    return EmailPage(
        object="list",
        data=[email_entry(job) for job in page.jobs],
        has_more=page.place is not None,
        next_cursor=None if page.place is None else to_cursor(_Cursor(page.place, way, of)),
    )
