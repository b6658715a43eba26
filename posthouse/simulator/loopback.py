"""The simulated people's web browser. It never leaves this machine, whatever a mail tells it to open."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

_HOSTS: Mapping[str, str] = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}
_PAGE_BYTES = 256 * 1024
_TIMEOUT = ClientTimeout(total=10)


class OffMachineError(Exception):
    """The address is not of this machine, so it was not opened."""


class VisitFailedError(Exception):
    """No answer: refused, cut, or too slow."""


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    location: str  # empty: none
    body: str


class _Resolver(AbstractResolver):
    """Knows no name but localhost, so that not even a look-up leaves the machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = _HOSTS.get(host)
        if address is None:
            raise OSError(f"{host} is not this machine")
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        return None


class LoopbackBrowser:
    """Follows no redirect, keeps no cookie, reads no proxy from the environment."""

    def __init__(self, *, connections: int) -> None:
        self.refused = 0
        self._session = ClientSession(
            connector=TCPConnector(limit=connections, resolver=_Resolver()),
            cookie_jar=DummyCookieJar(),
            timeout=_TIMEOUT,
        )

    async def get(self, url: str, agent: str) -> Page:
        """Raises OffMachineError, VisitFailedError."""
        return await self._visit("GET", url, agent, None)

    async def post(self, url: str, agent: str, fields: Sequence[tuple[str, str]]) -> Page:
        """A form (application/x-www-form-urlencoded). Raises OffMachineError, VisitFailedError."""
        return await self._visit("POST", url, agent, fields)

    async def close(self) -> None:
        await self._session.close()

    async def _visit(
        self, method: str, url: str, agent: str, fields: Sequence[tuple[str, str]] | None
    ) -> Page:
        try:
            target = local_url(url)
        except OffMachineError:
            self.refused += 1
            raise
        try:
            async with self._session.request(
                method,
                target,
                data=dict(fields) if fields is not None else None,
                headers={"User-Agent": agent},
                allow_redirects=False,
            ) as answer:
                body = await answer.content.read(_PAGE_BYTES)
                return Page(
                    answer.status, answer.headers.get("Location", ""), body.decode("utf-8", "replace")
                )
        except (ClientError, TimeoutError, OSError, ValueError) as error:
            raise VisitFailedError(f"{type(error).__name__}: {error}") from error


def local_url(url: str) -> URL:
    """The URL as the client will use it. Raises OffMachineError unless its host is our own loopback."""
    try:
        target = URL(url)
    except ValueError as error:
        raise OffMachineError(url) from error
    if target.scheme not in ("http", "https") or target.host not in _HOSTS:
        raise OffMachineError(url)
    return target
