"""The error tree, split by what the caller can do.

PosthouseError
├── InvalidInput          the caller's data is wrong: change it (4xx)
│   ├── InvalidAddress
│   ├── InvalidHeader
│   ├── InvalidTemplate       does not parse, or uses what is not there
│   └── MissingVariables      the template asks for values that were not given
├── NotFound              no such thing (404)
├── Conflict              the thing is in another state (409)
├── Forbidden             the key may not do this (403)
├── RenderFailed          this job cannot be rendered: it ends FAILED with this reason
│   └── TemplateTooExpensive  it loops or grows past its limits
├── NotNow                try the same again later (503)
└── Misconfigured         the operator must change a setting
    └── PoisonRun             nearly nothing that comes can be read: mend it before more is set aside
"""

from collections.abc import Sequence


class PosthouseError(Exception):
    """What happened, why, and what to do. `code` is stable and for machines."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None, pointer: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer  # RFC 6901 pointer to the field at fault, "" if none
        if code is not None:
            self.code = code


class InvalidInput(PosthouseError):
    code = "validation_error"


class InvalidAddress(InvalidInput):
    code = "invalid_address"


class InvalidHeader(InvalidInput):
    code = "invalid_header"


class InvalidTemplate(InvalidInput):
    code = "invalid_template"


class MissingVariables(InvalidInput):
    code = "missing_template_variables"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"The template needs {', '.join(names)}: give each in template.variables, or declare a default.",
            pointer="/template/variables",
        )
        self.names = tuple(names)


class NotFound(PosthouseError):
    code = "not_found"


class Conflict(PosthouseError):
    code = "conflict"


class Forbidden(PosthouseError):
    code = "forbidden"


class RenderFailed(PosthouseError):
    code = "render_failed"


class TemplateTooExpensive(RenderFailed):
    code = "template_too_expensive"


class NotNow(PosthouseError):
    code = "unavailable"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds


class Misconfigured(PosthouseError):
    code = "misconfigured"


class PoisonRun(Misconfigured):
    code = "poison_run"
