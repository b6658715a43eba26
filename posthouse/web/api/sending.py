"""POST /v1/emails: one mail, in a group commit with its neighbours'."""

import re
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

import msgspec
from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from posthouse.domain.errors import Forbidden, InvalidInput
from posthouse.intake.attachments import read_attachments
from posthouse.intake.mail import NewMail
from posthouse.intake.posted import PostedEmail, fingerprint
from posthouse.intake.submission import Idempotency, Receipt, Submission, one_mail
from posthouse.intake.validate import validate
from posthouse.storage.keys import ApiKey, KeyScope
from posthouse.web.api.body import decode, refuse_other_than_json
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest, HttpError

_decoder = msgspec.json.Decoder(PostedEmail)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,256}")


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @post("/emails", status_code=HTTPStatus.ACCEPTED)
    async def post_email(request: ApiRequest) -> Response[bytes]:
        return await send_one(deps, request)

    return [post_email]


async def send_one(deps: ApiDeps, request: ApiRequest) -> Response[bytes]:
    return answer(await _accept(deps, request))


def answer(receipt: Receipt) -> Response[bytes]:
    headers = {"idempotent-replayed": "true"} if receipt.replayed else {}
    return Response(
        receipt.body, status_code=HTTPStatus.ACCEPTED, media_type="application/json", headers=headers
    )


@dataclass(frozen=True, slots=True)
class _Post:
    """A body that was understood, and the key under which it may be repeated."""

    email: PostedEmail
    idempotency: Idempotency | None


async def _accept(deps: ApiDeps, request: ApiRequest) -> Receipt:
    """Who asks, what for, may they, store it."""
    key = await deps.keys.authenticate(request, KeyScope.SEND)
    refuse_other_than_json(request)
    idempotency_key = idempotency_key_of(request)
    async with deps.bodies.read(request) as body:
        email = decode(body, _decoder)
        posted = _Post(email, idempotency_of(email, idempotency_key or email.idempotency_key))
        submission = await _validated(deps, key, posted)
        if isinstance(submission, Receipt):
            return submission
        return await deps.intake.accept(submission)


async def _validated(deps: ApiDeps, key: ApiKey, post: _Post) -> Submission | Receipt:
    """The mail, ready to be stored; or, if it is not good any more (it would expire before it is due, its
    template is gone) but was accepted when it came first, the answer of then."""
    try:
        mail = await found_good(deps, key, post.email, deps.now())
    except (InvalidInput, Forbidden):
        if post.idempotency is not None:
            earlier = await deps.intake.recall(key.api_key_id, post.idempotency)
            if earlier is not None:
                return earlier
        raise
    return one_mail(key.api_key_id, mail, post.idempotency)


async def found_good(deps: ApiDeps, key: ApiKey, email: PostedEmail, now: datetime) -> NewMail:
    """A posted mail that may be stored. Raises InvalidInput, Forbidden, NotNow."""
    template = None if email.template is None else await deps.templates.find(email.template)
    mail = validate(email, template, key=key, rules=deps.rules, now=now)
    if not email.attachments:
        return mail
    files = await read_attachments(email.attachments, deps.rules.max_attachment_bytes)
    return msgspec.structs.replace(mail, files=files)


def idempotency_of(email: PostedEmail, key: str | None) -> Idempotency | None:
    """Raises InvalidInput for variables that are not JSON."""
    if key is None:
        return None
    try:
        return Idempotency(key, fingerprint(email))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            "The variables are not JSON that can be used.", pointer="/template/variables"
        ) from error


def idempotency_key_of(request: ApiRequest) -> str | None:
    """The header's. Raises HttpError (400) for what cannot be one."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise HttpError(
            HTTPStatus.BAD_REQUEST,
            "An Idempotency-Key has 1 to 256 visible ASCII characters.",
            code="invalid_idempotency_key",
        )
    return key
