"""Errors as application/problem+json (RFC 9457) with a stable `code`, and the id of the request."""

from collections.abc import Mapping
from contextvars import ContextVar
from http import HTTPStatus
from typing import TypeAlias

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException

from posthouse.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, NotNow, PosthouseError
from posthouse.storage.acceptance import KeyInUse
from posthouse.telemetry import log

ApiRequest: TypeAlias = Request[None, None, State]

MEDIA_TYPE = "application/problem+json"
_MAX_DETAIL = 500  # characters: what was posted may be quoted, not echoed whole

#: The id of the request that is being answered.
request_id: ContextVar[str] = ContextVar("request_id", default="")


class HttpError(PosthouseError):
    """A request that is wrong as HTTP, whatever it asks for."""

    def __init__(self, status: HTTPStatus, message: str, *, code: str) -> None:
        super().__init__(message, code=code)
        self.status = status


class FieldProblem(msgspec.Struct, frozen=True):
    pointer: str
    code: str
    detail: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[FieldProblem] = []


def problem_of(error: PosthouseError) -> Response[bytes]:
    """The answer to a request that ended in this error."""
    status = _status(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, NotNow):
        log.error("request_failed", code=error.code, reason=error.message)
    detail = _short(error.message)
    errors = [FieldProblem(error.pointer, error.code, detail)] if error.pointer else []
    return _answer(status, error.code, detail, errors, _headers(error))


def on_house_error(_: ApiRequest, error: PosthouseError) -> Response[bytes]:
    return problem_of(error)


def on_http_error(_: ApiRequest, error: HTTPException) -> Response[bytes]:
    """What the framework itself refuses: unknown paths, methods, parameters."""
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "_").replace("-", "_")
    detail = _parameters(error) if isinstance(error, ValidationException) else error.detail
    return _answer(status, code, _short(detail), [], error.headers or {})


def on_bug(_: ApiRequest, error: Exception) -> Response[bytes]:
    log.error("request_failed", code="internal_error", exc_info=error)
    return _answer(
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
        case NotNow():
            return {"retry-after": str(max(1, round(error.retry_after)))}
        case _:
            return {}


def _answer(
    status: HTTPStatus, code: str, detail: str, errors: list[FieldProblem], headers: Mapping[str, str]
) -> Response[bytes]:
    problem = Problem(
        f"urn:posthouse:problem:{code}", status.phrase, status, detail, request_id.get(), code, errors
    )
    return Response(
        msgspec.json.encode(problem), status_code=status, media_type=MEDIA_TYPE, headers=dict(headers)
    )


def _parameters(error: ValidationException) -> str:
    """Which parameters of the URL are wrong, and why."""
    wrong = error.extra if isinstance(error.extra, list) else []
    return "; ".join(f"{item.get('key')}: {item.get('message')}" for item in wrong) or error.detail


def _short(text: str) -> str:
    return text if len(text) <= _MAX_DETAIL else f"{text[:_MAX_DETAIL]}…"
