"""POST /hooks/{relay}/{account}: what relays tell us. The bytes go on as they came, for their signature."""

from functools import partial
from http import HTTPStatus
from typing import assert_never

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from posthouse.domain.errors import NotFound, NotNow
from posthouse.domain.ids import RelayAccount
from posthouse.ingest.receive import Received
from posthouse.relays.base import RawCallback
from posthouse.telemetry import log
from posthouse.web.api.deps import ApiDeps
from posthouse.web.api.problems import ApiRequest, HttpError
from posthouse.web.short_way import Route


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @post("/hooks/{relay:str}/{account:str}", status_code=HTTPStatus.OK)
    async def receive(request: ApiRequest, relay: FromPath[str], account: FromPath[str]) -> Response[bytes]:
        return await _receive(deps, relay, RelayAccount(account), request)

    _begin_counting(deps)
    return [receive]


def short_ways(deps: ApiDeps) -> dict[str, Route]:
    """The same for each account that there is, by its path: a relay that posts one event in a call makes as
    many calls as there are events."""
    return {
        f"/hooks/{relay}/{account}": partial(_receive, deps, relay, account)
        for relay, account in deps.receiver.accounts
    }


async def _receive(deps: ApiDeps, relay: str, account: RelayAccount, request: ApiRequest) -> Response[bytes]:
    async with deps.bodies.read(request) as body:
        callback = RawCallback(relay, account, dict(request.headers.items()), body)
        received = await deps.receiver.receive(callback)
    _count(deps, callback, received)
    return _answer(received)


def _begin_counting(deps: ApiDeps) -> None:
    """At 0, so that the first forgery is an increase: the alert on Postmark's needs only one."""
    for relay, account in deps.receiver.accounts:
        deps.metrics.callbacks.labels(relay, account, Received.BAD_SIGNATURE.name.lower())


def _count(deps: ApiDeps, callback: RawCallback, received: Received) -> None:
    relay, account = callback.relay, str(callback.account)
    if received is Received.UNKNOWN_ACCOUNT:
        # A path that anybody can make up must not become a label.
        relay = account = "unknown"
    deps.metrics.callbacks.labels(relay, account, received.name.lower()).inc()
    if received in (Received.BAD_SIGNATURE, Received.REPLAYED):
        log.warning("a callback does not prove that it is its account's", relay=relay, account=account)


def _answer(received: Received) -> Response[bytes]:
    match received:
        case Received.STORED:
            return Response(b"", status_code=HTTPStatus.OK)
        case Received.BAD_SIGNATURE:
            raise HttpError(
                HTTPStatus.UNAUTHORIZED,
                "The signature or the secret is not this account's.",
                code="bad_signature",
            )
        case Received.REPLAYED:
            raise HttpError(
                HTTPStatus.NOT_ACCEPTABLE,
                "The signature is that of another callback: send nothing like it again.",
                code="replayed_signature",
            )
        case Received.UNKNOWN_ACCOUNT:
            raise NotFound("There is no such relay account.")
        case Received.TOO_LARGE:
            raise HttpError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The callback is too large.", code="body_too_large"
            )
        case Received.UNAVAILABLE:
            raise NotNow("The callback could not be stored; send it again.", retry_after=5.0)
        case _:
            assert_never(received)
