"""An HTTP server that can stop listening and start again on its port, as a relay in trouble does."""

from asyncio import BaseTransport
from collections.abc import Awaitable, Callable

from aiohttp.typedefs import Middleware
from aiohttp.web import Application, AppRunner, BaseRequest, Request, StreamResponse, TCPSite, middleware

_GRACE_SECONDS = 0.15  # twice, for requests under way when the simulator stops


class HttpListener:
    def __init__(self, app: Application, host: str, port: int) -> None:
        self.port = port
        self._host = host
        self._busy: set[BaseTransport] = set()
        app.middlewares.append(self._note_busy())
        self._runner = AppRunner(app, access_log=None, shutdown_timeout=_GRACE_SECONDS)
        self._site: TCPSite | None = None

    async def open(self) -> None:
        """Listens; on a port that was free at the first time, on the same one later. Raises OSError."""
        if self._site is not None:
            return
        if self._runner.server is None:
            await self._runner.setup()
        site = TCPSite(self._runner, self._host, self.port, reuse_address=True)
        await site.start()
        self._site = site
        self.port = site.port

    async def refuse(self) -> None:
        """Stops listening and closes idle connections; a request under way is still answered."""
        if self._site is None:
            return
        await self._site.stop()
        self._site = None
        if self._runner.server is None:
            return
        for connection in self._runner.server.connections:
            if connection.transport in self._busy:
                connection.close()
            else:
                connection.force_close()

    async def close(self) -> None:
        await self._runner.cleanup()
        self._site = None

    def _note_busy(self) -> Middleware:
        @middleware
        async def note(
            request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]
        ) -> StreamResponse:
            transport = request.transport
            if transport is None:
                return await handler(request)
            self._busy.add(transport)
            try:
                return await handler(request)
            finally:
                self._busy.discard(transport)

        return note


def cut(request: BaseRequest) -> None:
    """Breaks the line under a request."""
    if request.transport is not None:
        request.transport.abort()
