"""One account's signed calls to AWS: every request of this vendor leaves here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from yarl import URL

from posthouse.clock import Clock
from posthouse.domain.errors import Misconfigured
from posthouse.net.client import Begin, HttpClient, NoReply, Reply
from posthouse.relays.ses.sigv4 import Credentials, Scope, Unsigned, signed_headers

#: Asked before each request, since a role's credentials change within hours. Raises Misconfigured.
CredentialSource: TypeAlias = Callable[[], Credentials]

_AGENT: Final = {"User-Agent": "posthouse"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one AWS service is reached, and what its requests are signed for."""

    url: URL
    scope: Scope


def endpoint(url: str, scope: Scope, setting: str) -> Endpoint:
    """Raises Misconfigured, naming the setting."""
    try:
        parsed = URL(url)
    except ValueError as error:
        raise Misconfigured(f"{setting} is not a URL: {error}.") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.user or parsed.query_string:
        raise Misconfigured(f"{setting} must be like https://email.eu-west-1.amazonaws.com.")
    return Endpoint(parsed, scope)


class AwsApi:
    """Signs with what the source says now; never shows it."""

    def __init__(self, client: HttpClient, credentials: CredentialSource, clock: Clock) -> None:
        self._client = client
        self._credentials = credentials
        self._clock = clock

    async def post(
        self, to: Endpoint, url: URL, headers: Mapping[str, str], body: bytes, begin: Begin
    ) -> Reply | NoReply:
        """POST, once. Raises Misconfigured when there are no credentials."""
        return await self._client.post(url, self._signed("POST", to, url, headers, body), body, begin)

    async def get(self, to: Endpoint, url: URL) -> Reply | NoReply:
        """GET, once. Raises Misconfigured when there are no credentials."""
        return await self._client.get(url, self._signed("GET", to, url, {}, b""))

    async def put(self, to: Endpoint, url: URL, headers: Mapping[str, str], body: bytes) -> Reply | NoReply:
        """PUT, once. Raises Misconfigured when there are no credentials."""
        return await self._client.put(url, self._signed("PUT", to, url, headers, body), body)

    async def delete(self, to: Endpoint, url: URL) -> Reply | NoReply:
        """DELETE, once. Raises Misconfigured when there are no credentials."""
        return await self._client.delete(url, self._signed("DELETE", to, url, {}, b""))

    async def close(self) -> None:
        await self._client.close()

    def without_secrets(self, text: str) -> str:
        """A server may echo what it was sent; the signature's key never leaves, a session's token does."""
        token = self._credentials().session_token
        return text.replace(token, "[redacted]") if token else text

    def _signed(
        self, method: str, to: Endpoint, url: URL, headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        request = Unsigned(method, url, {**_AGENT, **headers}, body)
        return signed_headers(request, self._credentials(), to.scope, self._clock.now())
