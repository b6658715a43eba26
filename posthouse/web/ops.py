"""What a role without an HTTP interface of its own answers: /healthz, /readyz, /metrics."""

from prometheus_client import CollectorRegistry

from posthouse.web.exchange import Asgi, Receive, Scope, Send, live, plain, send_answer
from posthouse.web.probes import FindTrouble, probe


def build_ops(registry: CollectorRegistry, find_trouble: FindTrouble) -> Asgi:
    """The ASGI application of workers and processors."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
        elif scope["type"] == "http":
            answer = await probe(str(scope["path"]), registry, find_trouble)
            await send_answer(answer or plain(404, "not here"), send, with_body=scope["method"] != "HEAD")

    return application
