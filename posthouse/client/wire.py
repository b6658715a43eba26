"""What both clients do with HTTP."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

import httpx

from posthouse.client.answers import Json
from posthouse.client.errors import Unavailable
from posthouse.client.retries import Answer

TIMEOUT: Final = 30.0  # seconds


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
        raise Unavailable("What answered is not Posthouse: is the address right?", status=answer.status)
    return answer.body


def _version() -> str:
    try:
        return version("posthouse")
    except PackageNotFoundError:
        return "unknown"
