"""POST /v1/emails, GET /v1/emails/{id} and GET /v1/emails/{id}/events."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Literal, assert_never

import msgspec
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter

from posthouse.domain.errors import Forbidden, InvalidInput
from posthouse.intake.group import Idempotency, Receipt, Submission
from posthouse.intake.posted import PostedEmail, fingerprint
from posthouse.intake.validate import validate
from posthouse.storage import timeline
from posthouse.storage.keys import ApiKey, KeyScope
from posthouse.storage.timeline import EventPlace, EventRecord, MailRecord
from posthouse.web.api.body import decode, refuse_other_than_json
from posthouse.web.api.cursor import from_cursor, to_cursor
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.email_content import content_of
from posthouse.web.api.email_view import EmailView, EventView, email_view, event_view
from posthouse.web.api.problems import ApiRequest, HttpError
from posthouse.web.api.visible import visible_jobs

_PageSize = Annotated[int, QueryParameter(ge=1, le=100)]
_decoder = msgspec.json.Decoder(PostedEmail)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,256}")


class Include(StrEnum):
    CONTENT = "content"


class EventPage(msgspec.Struct, frozen=True):
    """Oldest first."""

    object: Literal["list"]
    data: list[EventView]
    has_more: bool
    next_cursor: str | None


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @post("/emails", status_code=HTTPStatus.ACCEPTED)
    async def post_email(request: ApiRequest) -> Response[bytes]:
        receipt = await _accept(deps, request)
        headers = {"idempotent-replayed": "true"} if receipt.replayed else {}
        return Response(
            receipt.body, status_code=HTTPStatus.ACCEPTED, media_type="application/json", headers=headers
        )

    @get("/emails/{email_id:str}")
    async def get_email(
        request: ApiRequest, email_id: FromPath[str], include: FromQuery[Include | None] = None
    ) -> EmailView:
        """`include=content`: with what it was sent as, or would be sent as now."""
        key = await deps.keys.authenticate(request, KeyScope.READ)
        jobs = await visible_jobs(deps.database, key, email_id)
        mail = MailRecord(jobs, await timeline.events_of(deps.database, jobs, timeline.MAX_EVENTS))
        match include:
            case None:
                return email_view(mail)
            case Include.CONTENT:
                return email_view(mail, await content_of(deps, mail, deps.now()))
            case _:
                assert_never(include)

    @get("/emails/{email_id:str}/events")
    async def list_events(
        request: ApiRequest,
        email_id: FromPath[str],
        limit: _PageSize = 50,
        cursor: FromQuery[str | None] = None,
    ) -> EventPage:
        key = await deps.keys.authenticate(request, KeyScope.READ)
        after = None if cursor is None else _place(cursor)
        jobs = await visible_jobs(deps.database, key, email_id)
        return _page(await timeline.events_of(deps.database, jobs, limit + 1, after), limit)

    return [post_email, get_email, list_events]


@dataclass(frozen=True, slots=True)
class _Post:
    """A body that was understood, and the key under which it may be repeated."""

    email: PostedEmail
    idempotency: Idempotency | None


async def _accept(deps: ApiDeps, request: ApiRequest) -> Receipt:
    """Who asks, what for, may they, store it."""
    key = await deps.keys.authenticate(request, KeyScope.SEND)
    refuse_other_than_json(request)
    idempotency_key = _idempotency_key(request)
    async with deps.bodies.read(request) as body:
        posted = _understood(body, idempotency_key)
        submission = await _validated(deps, key, posted)
        if isinstance(submission, Receipt):
            return submission
        return await deps.intake.accept(submission)


def _understood(body: bytes, idempotency_key: str | None) -> _Post:
    email = decode(body, _decoder)
    if idempotency_key is None:
        return _Post(email, None)
    try:
        return _Post(email, Idempotency(idempotency_key, fingerprint(email)))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            "The variables are not JSON that can be used.", pointer="/template/variables"
        ) from error


async def _validated(deps: ApiDeps, key: ApiKey, post: _Post) -> Submission | Receipt:
    """The mail, ready to be stored; or, if it is not good any more (it would expire before it is due, its
    template is gone) but was accepted when it came first, the answer of then."""
    email = post.email
    try:
        template = None if email.template is None else await deps.templates.find(email.template)
        mail = validate(email, template, key=key, rules=deps.rules, now=deps.now())
    except (InvalidInput, Forbidden):
        if post.idempotency is not None:
            earlier = await deps.intake.recall(key.api_key_id, post.idempotency)
            if earlier is not None:
                return earlier
        raise
    return Submission(key.api_key_id, mail, post.idempotency)


def _idempotency_key(request: ApiRequest) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise HttpError(
            HTTPStatus.BAD_REQUEST,
            "An Idempotency-Key has 1 to 256 visible ASCII characters.",
            code="invalid_idempotency_key",
        )
    return key


def _place(cursor: str) -> EventPlace:
    place = from_cursor(cursor, EventPlace)
    if place.occurred_at.tzinfo is None or place.received_at.tzinfo is None:
        raise InvalidInput("This is no cursor of this list.", code="invalid_cursor")
    return place


def _page(events: Sequence[EventRecord], size: int) -> EventPage:
    shown, has_more = events[:size], len(events) > size
    return EventPage(
        "list",
        [event_view(event) for event in shown],
        has_more,
        to_cursor(timeline.place_of(shown[-1])) if has_more else None,
    )
