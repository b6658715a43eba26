"""Errors as application/problem+json (RFC 9457) with a stable `code`, and the id of the request.

The same body says in `statusCode`, `name` and `message` what Resend's SDKs look for. They ask for
application/json and refuse an answer of any other type, so that is what such a client is told it got.
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, TypeAlias

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException

from posthouse.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, NotNow, PosthouseError
from posthouse.storage.acceptance import KeyInUse
from posthouse.telemetry import log
from posthouse.web.api.marks import request_id
from posthouse.web.api.resend_names import resend_name

ApiRequest: TypeAlias = Request[None, None, State]

MEDIA_TYPE = "application/problem+json"
_PLAIN_JSON = "application/json"
_MAX_DETAIL = 500  # characters: what was posted may be quoted, not echoed whole


#: RFC 9110's names where Python before 3.13 has older ones: titles and codes are the same on each version.
_RENAMED: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.REQUEST_URI_TOO_LONG: "URI Too Long",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "Range Not Satisfiable",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
}


class HttpError(PosthouseError):
    """A request that is wrong as HTTP, whatever it asks for."""

    def __init__(self, status: HTTPStatus, message: str, *, code: str) -> None:
        super().__init__(message, code=code)
        self.status = status


class TooManyRequests(HttpError):
    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(HTTPStatus.TOO_MANY_REQUESTS, message, code="rate_limit_exceeded")
        self.retry_after = retry_after  # seconds


class FieldProblem(msgspec.Struct, frozen=True):
    pointer: str
    code: str
    detail: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """RFC 9457's members, ours (`code`, `errors`), and Resend's, which say the same again. Its clients show
    nothing but `message`, so that it names the field too."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    status_code: int = msgspec.field(name="statusCode")
    name: str
    message: str
    errors: list[FieldProblem] = []


def on_house_error(request: ApiRequest, error: PosthouseError) -> Response[bytes]:
    status = _status(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, NotNow):
        log.error("request_failed", code=error.code, reason=error.message)
    detail = _short(error.message)
    errors = [FieldProblem(error.pointer, error.code, detail)] if error.pointer else []
    return _answer(request, status, error.code, detail, errors, _headers(error))


def on_http_error(request: ApiRequest, error: HTTPException) -> Response[bytes]:
    """What the framework itself refuses: unknown paths, methods, parameters."""
    status = HTTPStatus(error.status_code)
    code = _phrase(status).lower().replace(" ", "_").replace("-", "_")
    detail = _parameters(error) if isinstance(error, ValidationException) else error.detail
    return _answer(request, status, code, _short(detail), [], error.headers or {})


def on_bug(request: ApiRequest, error: Exception) -> Response[bytes]:
    log.error("request_failed", code="internal_error", exc_info=error)
    return _answer(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "This is a fault of ours. The log has more under the id of this request.",
        [],
        {},
    )


def _status(error: PosthouseError) -> HTTPStatus:
    match error:
        case HttpError():
            return error.status
        case InvalidInput():
            return HTTPStatus.UNPROCESSABLE_ENTITY
        case NotFound():
            return HTTPStatus.NOT_FOUND
        case Conflict() | KeyInUse():
            return HTTPStatus.CONFLICT
        case Forbidden():
            return HTTPStatus.FORBIDDEN
        case NotNow():
            return HTTPStatus.SERVICE_UNAVAILABLE
        case _:
            return HTTPStatus.INTERNAL_SERVER_ERROR


def _headers(error: PosthouseError) -> dict[str, str]:
    match error:
        case HttpError(status=HTTPStatus.UNAUTHORIZED):
            return {"www-authenticate": "Bearer"}
        case HttpError(status=HTTPStatus.REQUEST_TIMEOUT):
            return {"connection": "close"}
        case NotNow() | TooManyRequests():
            return {"retry-after": str(max(1, math.ceil(error.retry_after)))}
        case _:
            return {}


def _answer(
    request: ApiRequest,
    status: HTTPStatus,
    code: str,
    detail: str,
    errors: list[FieldProblem],
    headers: Mapping[str, str],
) -> Response[bytes]:
    problem = Problem(
        type=f"urn:posthouse:problem:{code}",
        title=_phrase(status),
        status=status,
        detail=detail,
        instance=request_id.get(),
        code=code,
        status_code=status,
        name=resend_name(code, status),
        message=f"{errors[0].pointer}: {detail}" if errors else detail,
        errors=errors,
    )
    return Response(
        msgspec.json.encode(problem),
        status_code=status,
        media_type=_media_type(request.headers.get("accept", "")),
        headers=dict(headers),
    )


def _media_type(accept: str) -> str:
    """application/json for who names it and not ours. `*/*` names neither."""
    named = {each.partition(";")[0].strip().lower() for each in accept.split(",")}
    return _PLAIN_JSON if _PLAIN_JSON in named and MEDIA_TYPE not in named else MEDIA_TYPE


def _parameters(error: ValidationException) -> str:
    """Which parameters of the URL are wrong, and why."""
    wrong = error.extra if isinstance(error.extra, list) else []
    return "; ".join(f"{item.get('key')}: {item.get('message')}" for item in wrong) or error.detail


def _short(text: str) -> str:
    return text if len(text) <= _MAX_DETAIL else f"{text[:_MAX_DETAIL]}…"


def _phrase(status: HTTPStatus) -> str:
    return _RENAMED.get(status, status.phrase)
