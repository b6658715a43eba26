"""What both clients do with HTTP."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Final, TypeVar

import httpx

from posthouse.client.answers import Json
from posthouse.client.errors import Unavailable
from posthouse.client.retries import Answer

T = TypeVar("T")

TIMEOUT: Final = 30.0  # seconds


def checked_url(text: str) -> str:
    """Raises ValueError."""
    if not text.startswith(("http://", "https://")):
        raise ValueError(f"base_url is like https://mail.example.com, with its scheme; not {text!r}.")
    return text


def headers_of(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "user-agent": f"posthouse-client/{_version()}"}


def answer_of(response: httpx.Response) -> Answer:
    """An answer that is no JSON (a proxy's page) has no body."""
    try:
        body: object = response.json()
    except ValueError:
        body = None
    return Answer(response.status_code, response.headers, body)


def body_of(answer: Answer) -> Json:
    """The object that a good answer is. Raises Unavailable when something else answered in its place."""
    if not isinstance(answer.body, dict):
        raise _somebody_else(answer)
    return answer.body


def read(answer: Answer, kind: Callable[[Json], T]) -> T:
    """A good answer as `kind` makes it of its object. Raises Unavailable as `body_of`."""
    try:
        return kind(body_of(answer))
    except (KeyError, TypeError, ValueError) as error:
        raise _somebody_else(answer) from error


def _somebody_else(answer: Answer) -> Unavailable:
    return Unavailable("What answered is not Posthouse: is the address right?", status=answer.status)


def _version() -> str:
    try:
        return version("posthouse")
    except PackageNotFoundError:
        return "unknown"
