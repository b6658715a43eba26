"""/healthz, /readyz and /metrics: for those who watch the house."""

import asyncio
from http import HTTPStatus

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from posthouse.domain.errors import NotNow
from posthouse.storage import partitions
from posthouse.web.api.deps import ApiDeps

_ANSWER_WITHIN = 2.0  # seconds


class Health(msgspec.Struct, frozen=True):
    ready: bool
    reason: str = ""


def routes(deps: ApiDeps) -> list[HTTPRouteHandler]:
    @get("/healthz")
    async def healthz() -> Response[Health]:
        """This process answers."""
        return Response(Health(ready=True))

    @get("/readyz")
    async def readyz() -> Response[Health]:
        """It can accept mail: the database answers, and has a place for today's and the coming days' mail."""
        health = await _readiness(deps)
        status = HTTPStatus.OK if health.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Response(health, status_code=status)

    @get("/metrics")
    async def metrics() -> Response[bytes]:
        return Response(generate_latest(deps.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return [healthz, readyz, metrics]


async def _readiness(deps: ApiDeps) -> Health:
    try:
        async with asyncio.timeout(_ANSWER_WITHIN):
            missing = await partitions.missing(deps.database, deps.now().date())
    except NotNow as error:
        return Health(ready=False, reason=error.message)
    except TimeoutError:
        return Health(ready=False, reason=f"The database did not answer within {_ANSWER_WITHIN:g} s.")
    if missing:
        return Health(ready=False, reason=f"Partitions are missing: {', '.join(missing[:5])}.")
    return Health(ready=True)
