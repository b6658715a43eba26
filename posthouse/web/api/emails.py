"""POST /v1/emails and GET /v1/emails/{id}."""

import re
from dataclasses import dataclass
from http import HTTPStatus
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from posthouse.domain.address import domain_of, parse_mailbox
from posthouse.domain.errors import Forbidden, InvalidInput, NotFound
from posthouse.intake.group import Idempotency, Receipt, Submission
from posthouse.intake.posted import PostedEmail, fingerprint
from posthouse.intake.validate import validate
from posthouse.storage import timeline
from posthouse.storage.keys import ApiKey, KeyScope
from posthouse.storage.timeline import MailRecord
from posthouse.web.api.body import decode, refuse_other_than_json
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.email_view import EmailView, email_view
from posthouse.web.api.problems import ApiRequest, HttpError

_decoder = msgspec.json.Decoder(PostedEmail)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,256}")


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @post("/emails", status_code=HTTPStatus.ACCEPTED)
    async def post_email(request: ApiRequest) -> Response[bytes]:
        receipt = await _accept(deps, request)
        headers = {"idempotent-replayed": "true"} if receipt.replayed else {}
        return Response(
            receipt.body, status_code=HTTPStatus.ACCEPTED, media_type="application/json", headers=headers
        )

    @get("/emails/{email_id:str}")
    async def get_email(request: ApiRequest, email_id: FromPath[str]) -> EmailView:
        key = await deps.keys.authenticate(request, KeyScope.READ)
        return email_view(_visible(await timeline.find(deps.database, _uuid(email_id)), key))

    return [post_email, get_email]


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


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _not_found() from None


def _visible(mail: MailRecord | None, key: ApiKey) -> MailRecord:
    """A key sees what it could have sent; for the rest it is told that there is no such mail."""
    if mail is None:
        raise _not_found()
    job = mail.jobs[0]
    if key.stream is not None and key.stream != job.stream:
        raise _not_found()
    if key.from_domains and domain_of(parse_mailbox(job.from_address)) not in key.from_domains:
        raise _not_found()
    return mail


def _not_found() -> NotFound:
    return NotFound("There is no mail with this id.")
