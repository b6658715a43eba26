"""`posthouse send`: one mail over the HTTP API, as an application would send it."""

import secrets
import sys
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Final

import aiohttp
import msgspec
import typer

from posthouse.cli.call import Call, call_of, cell, run, table
from posthouse.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, NotNow, PosthouseError
from posthouse.domain.stream import Stream

_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)


class _Recipient(msgspec.Struct):
    id: str
    email: str


class _Accepted(msgspec.Struct):
    id: str
    status: str
    recipients: list[_Recipient] = []


class _Problem(msgspec.Struct):
    detail: str = ""
    code: str = ""


def register(app: typer.Typer) -> None:
    app.command("send")(command)


def command(
    context: typer.Context,
    sender: Annotated[str, typer.Option("--from", help="jane@example.org, or Jane <jane@example.org>.")],
    to: Annotated[list[str], typer.Option(help="A recipient; may be given several times.")],
    subject: Annotated[str | None, typer.Option(help="Not needed with --template.")] = None,
    text: Annotated[str | None, typer.Option(help="The plain text; - reads it from stdin.")] = None,
    html: Annotated[str | None, typer.Option(help="The HTML; - reads it from stdin.")] = None,
    template: Annotated[str | None, typer.Option(help="Key of a published template.")] = None,
    var: Annotated[
        list[str] | None, typer.Option(help="name=value for the template; may be given several times.")
    ] = None,
    stream: Annotated[Stream | None, typer.Option(help="Default: what the key or the sender says.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Send once, however often this is run with the same key.")
    ] = None,
    api_key: Annotated[str, typer.Option(envvar="POSTHOUSE_API_KEY", help="Better in the environment.")] = "",
    url: Annotated[
        str | None, typer.Option(envvar="POSTHOUSE_URL", help="Of the API (default: this configuration's).")
    ] = None,
) -> None:
    """Send a mail. Answers with its id as soon as it is accepted, which is for good."""
    call = call_of(context)
    if not api_key:
        raise InvalidInput("No API key: set POSTHOUSE_API_KEY (`posthouse keys create` makes one).")
    body = {
        "from": sender,
        "to": to,
        "subject": subject,
        "text": _content(text),
        "html": _content(html),
        "template": None if template is None else {"key": template, "variables": _variables(var or [])},
        "stream": stream,
    }
    given = {name: value for name, value in body.items() if value is not None}
    # A try that is cut off can then be repeated with the same effect, by us or by hand.
    key = idempotency_key or secrets.token_urlsafe(16)
    accepted = run(_post(_address(call, url), api_key, key, msgspec.json.encode(given)))
    shown = table("id", "recipient")
    for one in accepted.recipients:
        shown.add_row(cell(one.id), cell(one.email))
    call.answer(accepted, shown)


def _address(call: Call, url: str | None) -> str:
    if url is not None:
        return url.rstrip("/")
    house = call.settings().house
    return f"http://{house.host}:{house.api_port}"


def _content(given: str | None) -> str | None:
    return sys.stdin.read() if given == "-" else given


def _variables(pairs: Sequence[str]) -> dict[str, object]:
    """name=value; a value that is JSON (a number, a list) is taken as that, any other as text."""
    variables: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInput(f"{pair!r} is not name=value.", pointer="/template/variables")
        try:
            variables[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            variables[name] = value
    return variables


async def _post(url: str, api_key: str, idempotency_key: str, body: bytes) -> _Accepted:
    headers = {
        "Authorization": f"Bearer {api_key}",
        "Content-Type": "application/json",
        "Idempotency-Key": idempotency_key,
    }
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.post(f"{url}/v1/emails", data=body, headers=headers) as response,
        ):
            answer = await response.read()
            status = response.status
    except aiohttp.InvalidURL as error:
        raise InvalidInput(f"{url!r} is not the URL of an API.") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotNow(
            f"The API at {url} does not answer ({type(error).__name__}). Is the house up? If this was "
            f"cut off, run it again with --idempotency-key {idempotency_key}: the mail goes out once."
        ) from error
    if status >= HTTPStatus.BAD_REQUEST:
        raise _refused(status, answer)
    try:
        return msgspec.json.decode(answer, type=_Accepted)
    except msgspec.DecodeError as error:
        raise PosthouseError(f"What answers at {url} is not Posthouse's API.") from error


def _refused(status: int, answer: bytes) -> PosthouseError:
    """The API's problem as the error it stands for."""
    try:
        problem = msgspec.json.decode(answer, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(f"The API answered {status}.")
    message, code = problem.detail or f"The API answered {status}.", problem.code or None
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return Forbidden(message, code=code)
        case HTTPStatus.NOT_FOUND:
            return NotFound(message, code=code)
        case HTTPStatus.CONFLICT:
            return Conflict(message, code=code)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return NotNow(message)
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return NotNow(message)
        case _:
            return InvalidInput(message, code=code)
