"""What can go wrong, split by what the caller can do."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """`pointer` (RFC 6901) leads to the field at fault in what was posted."""

    pointer: str
    code: str
    detail: str


class ApiError(Exception):
    """What happened and why, in the house's words; `code` is stable and for programs."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        request_id: str = "",
        fields: tuple[FieldProblem, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status  # of HTTP; 0: there was no answer
        self.code = code
        self.request_id = request_id
        self.fields = fields


class InvalidRequest(ApiError):
    """Change what is sent."""


class NotAllowed(ApiError):
    """Use another key, or another sender."""


class NotFound(ApiError):
    """There is no such thing, or not for this key."""


class Conflict(ApiError):
    """The thing is in another state."""


class TooManyRequests(ApiError):
    """Slower."""


class Unavailable(ApiError):
    """The same again later; nothing is wrong with the call."""


_KINDS: Mapping[int, type[ApiError]] = {
    HTTPStatus.UNAUTHORIZED: NotAllowed,
    HTTPStatus.FORBIDDEN: NotAllowed,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.REQUEST_TIMEOUT: Unavailable,
    HTTPStatus.TOO_MANY_REQUESTS: TooManyRequests,
}


def error_of(status: int, body: object) -> ApiError:
    """The error that an answer is; `body` is its JSON, whatever that may be."""
    problem = body if isinstance(body, dict) else {}
    kind = Unavailable if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _KINDS.get(status, InvalidRequest)
    return kind(
        str(problem.get("detail") or f"The house answered {status}."),
        status=status,
        code=str(problem.get("code", "")),
        request_id=str(problem.get("instance", "")),
        fields=tuple(_field(field) for field in problem.get("errors", ()) if isinstance(field, dict)),
    )


def _field(field: Mapping[str, object]) -> FieldProblem:
    return FieldProblem(*(str(field.get(name, "")) for name in ("pointer", "code", "detail")))
