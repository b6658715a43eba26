"""/healthz, /readyz and /metrics of a role that answers by itself."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from posthouse.web.exchange import Answer, plain

#: Why the role is not ready, in words; empty when it is.
FindTrouble: TypeAlias = Callable[[], Awaitable[Sequence[str]]]


async def probe(path: str, registry: CollectorRegistry, find_trouble: FindTrouble) -> Answer | None:
    """The answer to a probe; None when the path is none."""
    match path:
        case "/healthz":
            return plain(200, "alive")
        case "/readyz":
            trouble = await find_trouble()
            return plain(503 if trouble else 200, "\n".join(trouble) or "ready")
        case "/metrics":
            return plain(200, generate_latest(registry).decode(), CONTENT_TYPE_LATEST)
        case _:
            return None
