"""The HTTP client for everything Posthouse calls: guarded egress, no redirects, no proxies from the
environment, capped replies, time limits, and an honest answer to "could it have arrived?"."""

import asyncio
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TypeAlias

import aiohttp
from yarl import URL

from posthouse.net.guard import EgressDenied, EgressGuard, EgressPolicy

#: Asked once, when a connection stands and no byte of the request was sent; False withholds the request.
Begin: TypeAlias = Callable[[], bool]

#: Of a connection that broke: how long its writer may take to notice (it needs one turn of the event loop).
_WRITER_SETTLES = 1.0  # seconds

#: A longer body goes out piece by piece, so that other requests have their turns.
_ONE_WRITE = 256 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer. `headers` have lower-case names; `body` is cut at the client's limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class NotTaken:
    """The request cannot have arrived whole: no connection, or it broke before the last byte had left."""

    reason: str


@dataclass(frozen=True, slots=True)
class Denied:
    """The egress policy does not allow the destination; no byte was sent."""

    reason: str


@dataclass(frozen=True, slots=True)
class Withheld:
    """`begin` said no; no byte was sent."""


@dataclass(frozen=True, slots=True)
class InDoubt:
    """The request went out, and no answer that could be read came back."""

    reason: str


NoReply: TypeAlias = NotTaken | Denied | Withheld | InDoubt


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """Seconds, connections and bytes. `connect` covers look-up, connection and TLS; `total` everything."""

    connect: float = 5.0
    total: float = 30.0
    connections: int = 64
    reply_bytes: int = 64 * 1024

    def __post_init__(self) -> None:
        if not 0 < self.connect <= self.total:
            raise ValueError("the time to connect is positive, and part of the total")


class _BeginSaidNo(Exception):
    """Leaves aiohttp's request before its first byte."""


@dataclass(frozen=True, slots=True)
class _Handover:
    """What the trace of a request carries."""

    begin: Begin


async def _ask_to_begin(
    _session: aiohttp.ClientSession, trace: SimpleNamespace, _params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    # aiohttp sends this signal on a standing connection, before it writes; what is raised here ends the
    # request with nothing on the wire.
    handover = trace.trace_request_ctx
    assert isinstance(handover, _Handover)
    if not handover.begin():
        raise _BeginSaidNo


class HttpClient:
    """One pool of connections under one policy. Opens it at the first request; use it in one event loop."""

    def __init__(self, policy: EgressPolicy, limits: ClientLimits | None = None) -> None:
        self._policy = policy
        self._limits = limits or ClientLimits()
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def post(self, url: URL, headers: Mapping[str, str], body: bytes, begin: Begin) -> Reply | NoReply:
        """POST, once. Raises only on cancellation (and what `begin` raises)."""
        return await self._exchange("POST", url, headers, body, begin)

    async def get(self, url: URL, headers: Mapping[str, str]) -> Reply | NoReply:
        """GET, once. Raises only on cancellation."""
        return await self._exchange("GET", url, headers, b"", _at_once)

    async def put(self, url: URL, headers: Mapping[str, str], body: bytes) -> Reply | NoReply:
        """PUT, once. Raises only on cancellation."""
        return await self._exchange("PUT", url, headers, body, _at_once)

    async def delete(self, url: URL, headers: Mapping[str, str]) -> Reply | NoReply:
        """DELETE, once. Raises only on cancellation."""
        return await self._exchange("DELETE", url, headers, b"", _at_once)

    async def _exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes, begin: Begin
    ) -> Reply | NoReply:
        if self._closed:
            return NotTaken("the client is closed")
        refusal = self._refusal(url)
        if refusal is not None:
            return refusal
        upload = aiohttp.UploadTracker()
        try:
            async with self._open_session().request(
                method,
                url,
                data=_upload(body),
                headers=headers,
                allow_redirects=False,
                trace_request_ctx=_Handover(begin),
                upload_tracker=upload,
            ) as response:
                return Reply(response.status, _lowered(response), await self._read_capped(response))
        except _BeginSaidNo:
            return Withheld()
        except aiohttp.InvalidURL as error:
            return Denied(f"the URL cannot be used: {_words(error)}")
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            return _unconnected(error)
        except TimeoutError:
            # Bytes that wait in the transport are still sent while it closes: even a body that had not left
            # when the time was up may arrive.
            return InDoubt(f"no answer within {self._limits.total:g} s")
        except (aiohttp.ClientConnectionError, OSError) as error:
            return await _broken(error, upload)
        except (aiohttp.ClientError, ValueError) as error:
            return InDoubt(f"the answer is not HTTP: {_words(error)}")

    async def close(self) -> None:
        """Close all connections; a second call does nothing."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _refusal(self, url: URL) -> Denied | None:
        host, port = url.host, url.port
        if host is None or port is None:
            return Denied("the URL names no host")
        if url.scheme != "https" and not (url.scheme == "http" and self._policy.allows(host, port)):
            return Denied(f"{url.scheme}://{host}:{port} has no TLS and is not an allowed destination")
        return None

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            guard = EgressGuard(self._policy, aiohttp.ThreadedResolver())
            ask = aiohttp.TraceConfig()
            ask.on_request_headers_sent.append(_ask_to_begin)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=guard, socket_factory=guard.open_socket, limit=self._limits.connections
                ),
                timeout=aiohttp.ClientTimeout(
                    total=self._limits.total,
                    connect=self._limits.connect,
                    sock_connect=self._limits.connect,
                ),
                trace_configs=[ask],
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                # A compressed reply is not asked for and not unpacked: a small one can be huge.
                auto_decompress=False,
                skip_auto_headers=("Accept-Encoding", "User-Agent"),
            )
        return self._session

    async def _read_capped(self, response: aiohttp.ClientResponse) -> bytes:
        """What could be read of the body: the status line has said what matters."""
        limit = self._limits.reply_bytes
        read = bytearray()
        try:
            while len(read) <= limit and (chunk := await response.content.read(limit)):
                read += chunk
        except (aiohttp.ClientError, OSError):
            response.close()
        if len(read) > limit:
            response.close()
        return bytes(read[:limit])


def _at_once() -> bool:
    return True


def _upload(body: bytes) -> bytes | io.BytesIO | None:
    if not body:
        return None
    return body if len(body) <= _ONE_WRITE else io.BytesIO(body)


def _unconnected(error: aiohttp.ClientError) -> NotTaken | Denied:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
    if isinstance(cause, EgressDenied):
        return Denied(str(cause))
    return NotTaken(_words(error))


async def _broken(error: Exception, upload: aiohttp.UploadTracker) -> NotTaken | InDoubt:
    """A lost connection drops what its buffers still hold, so a body that had not left whole never will."""
    await asyncio.wait([upload.upload_complete], timeout=_WRITER_SETTLES)
    if upload.upload_complete.done() and upload.upload_complete.exception() is not None:
        return NotTaken(f"the connection broke before the request had left: {_words(error)}")
    return InDoubt(f"the connection broke before an answer: {_words(error)}")


def _lowered(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
