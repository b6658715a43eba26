"""The template engine, set up so that templates reach their variables and nothing else.

minijinja compiles to Rust: no Python attributes, no loader, so no include, no file and no environment. The
worker and its sandbox process share this set-up.
"""

import msgspec
from minijinja import Environment, TemplateError

from posthouse.domain.errors import RenderFailed, TemplateTooExpensive

#: A name's ending decides whether values are escaped for HTML.
HTML_SUFFIX = ".html"
_FORBIDDEN_GLOBALS = ("debug",)  # prints the whole state

_variables = msgspec.json.Decoder(dict[str, object])


def new_environment() -> Environment:
    """An environment in which a missing variable is an error."""
    environment = Environment(undefined_behavior="strict", debug=False, auto_escape_callback=_escapes)
    for name in _FORBIDDEN_GLOBALS:
        environment.remove_global(name)
    return environment


def _escapes(name: str) -> bool:
    return name.endswith(HTML_SUFFIX)


def decode_variables(data: bytes) -> dict[str, object]:
    """The variables of a job. Raises RenderFailed when they are no JSON object that can be held."""
    try:
        return _variables.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RenderFailed(f"The template variables cannot be read: {error}") from error


def is_out_of_fuel(error: TemplateError) -> bool:
    return error.kind == "OutOfFuel"


def failure(error: BaseException, source: str) -> RenderFailed:
    """The engine's error in words that name the line and, for a missing variable, the variable."""
    if not isinstance(error, TemplateError):
        return RenderFailed(f"The template engine failed ({type(error).__name__}).")
    line = f" in line {error.line}" if error.line is not None else ""
    if is_out_of_fuel(error):
        return TemplateTooExpensive(f"The template takes too many steps{line}.")
    if error.kind == "UndefinedError":
        return RenderFailed(
            f"The variable {_expression(error, source)} is missing{line}.", code="missing_variable"
        )
    return RenderFailed(f"The template cannot be rendered: {error.detail or error.message}{line}."[:500])


def _expression(error: TemplateError, source: str) -> str:
    if error.range is None:
        return "that the template asks for"
    start, end = error.range
    return source.encode()[start:end].decode(errors="replace")[:100]


def is_engine_error(error: BaseException) -> bool:
    """Whether the engine raised it: its panics are not Exceptions."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"
