"""Faults on the way in, as an HTTP relay shows them; how it puts its refusals is the vendor's."""

import asyncio
from dataclasses import dataclass

from aiohttp.web import Request, Response

from posthouse.simulator.faults import Fault
from posthouse.simulator.http_listener import cut
from posthouse.simulator.settings import FaultKind


@dataclass(frozen=True, slots=True)
class Refusals:
    """The vendor's own words for each; a response can be sent once, so they are made for one request."""

    throttled: Response
    in_trouble: Response
    unauthorized: Response


async def refused_by(fault: Fault | None, request: Request, refusals: Refusals) -> Response | None:
    """The answer of a fault that keeps a mail from being taken; None: it is looked at."""
    match fault.spec.kind if fault is not None else None:
        case FaultKind.HANG if fault is not None:
            await request.read()
            await asyncio.shield(fault.over)
            cut(request)
            return Response(status=500)
        case FaultKind.CUT_MID_BODY:
            await request.content.readany()
            cut(request)
            return Response(status=500)
        case FaultKind.THROTTLE:
            return refusals.throttled
        case FaultKind.SERVER_ERROR:
            return refusals.in_trouble
        case FaultKind.UNAUTHORIZED:
            return refusals.unauthorized
        case _:
            return None


async def answer(fault: Fault | None, request: Request, accepted: Response) -> Response:
    """The answer to a mail that was taken, unless a fault breaks the line before it, or keeps it back."""
    if fault is not None and fault.spec.kind is FaultKind.CUT_AFTER_BODY:
        cut(request)
    if fault is not None and fault.spec.kind is FaultKind.SLOW:
        await asyncio.sleep(fault.spec.delay_ms / 1000)
    return accepted
