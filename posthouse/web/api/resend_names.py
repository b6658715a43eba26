"""What Resend calls our problems, so that its SDKs raise the class that their users catch.

The SDK for Python picks the class by HTTP status and name together: validation_error at 400 and 422,
missing_required_field at 422, missing_api_key at 401, invalid_api_key at 403, rate_limit_exceeded at 429,
application_error at 500. For anything else it raises its base class, with the name in it.
"""

from http import HTTPStatus
from typing import Final

#: Codes that have a name of their own there. All others go by their status.
_BY_CODE: Final = {
    "missing_api_key": "missing_api_key",
    "invalid_api_key": "invalid_api_key",
    "restricted_api_key": "restricted_api_key",
    "stream_not_allowed": "restricted_api_key",
    "missing_required_field": "missing_required_field",
    "invalid_attachment": "invalid_attachment",
    "attachment_url_refused": "invalid_attachment",
    "attachment_type_blocked": "invalid_attachment",
    "attachments_too_large": "invalid_attachment",
    "too_many_attachments": "invalid_attachment",
    "invalid_idempotency_key": "invalid_idempotency_key",
    "invalid_idempotent_request": "invalid_idempotent_request",
    "idempotency_in_progress": "concurrent_idempotent_requests",
}

_BY_STATUS: Final = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_exceeded",
}


def resend_name(code: str, status: HTTPStatus) -> str:
    """Theirs for a problem of ours."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "application_error"
    return _BY_CODE.get(code) or _BY_STATUS.get(status, "validation_error")
