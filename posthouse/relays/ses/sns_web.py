"""The two calls that receiving from SNS needs, on the guarded client: a certificate, and a confirmation."""

from dataclasses import dataclass
from typing import Final, Protocol

from yarl import URL

from posthouse.net.client import HttpClient, Reply
from posthouse.relays.ses.sns import Topic

_AGENT: Final = {"User-Agent": "posthouse"}


@dataclass(frozen=True, slots=True)
class AllowedTopic:
    """A topic, and the address of SNS for it: in a simulation, the simulator's."""

    topic: Topic
    base_url: str  # without a slash at its end


class SnsWeb(Protocol):
    """Neither raises but on cancellation."""

    async def certificate(self, url: str) -> bytes | None:
        """The file; empty when there is none; None while nobody can tell."""
        ...

    async def confirm(self, allowed: AllowedTopic, token: str) -> str | None:
        """Confirm a subscription; None when SNS took it, else why not."""
        ...

    async def close(self) -> None: ...


class SnsHttp:
    """The real one. Owns its client."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def certificate(self, url: str) -> bytes | None:
        answer = await self._client.get(URL(url, encoded=True), _AGENT)
        if not isinstance(answer, Reply) or answer.status >= 500 or answer.status == 429:
            return None
        return answer.body if answer.status == 200 else b""

    async def confirm(self, allowed: AllowedTopic, token: str) -> str | None:
        """By a URL of our own making: SubscribeURL is signed, and still somebody else's text."""
        url = URL(f"{allowed.base_url}/").with_query(
            Action="ConfirmSubscription", TopicArn=allowed.topic.arn, Token=token, Version="2010-03-31"
        )
        answer = await self._client.get(url, _AGENT)
        if not isinstance(answer, Reply):
            return type(answer).__name__
        return None if answer.status == 200 else f"HTTP {answer.status}"

    async def close(self) -> None:
        await self._client.close()
