"""What the harnesses of all HTTP relays share: a fake that can be scripted, and servers that are away."""

import socket
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, Self, TypeVar

from fake_http_relay import THROTTLE_HINT, FakeHttpRelay
from relay_laws import Fault

from posthouse.relays.base import Relay

Server = TypeVar("Server", bound=FakeHttpRelay)
Adapter = TypeVar("Adapter", bound=Relay)


class HttpHarness(ABC, Generic[Server, Adapter]):
    """The vendor says how its adapter is made, what it takes, and how what it sent is read."""

    throttle_hint: float | None = THROTTLE_HINT
    # A body that fits into the kernel's buffers has left, whatever the server read of it.
    knows_unfinished = False
    together = 1

    def __init__(self, server: Server) -> None:
        self.server = server
        self._silent = socket.socket()

    async def __aenter__(self) -> Self:
        await self.server.start()
        self._silent.bind(("127.0.0.1", 0))
        self._silent.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.server.close()
        self._silent.close()

    @abstractmethod
    def relay_at(self, base_url: str) -> Adapter:
        """A new adapter, with time-outs of about a second."""

    def relay(self) -> Adapter:
        return self.relay_at(f"http://{self.server.address}")

    def lonely_relay(self) -> Adapter:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = nobody.getsockname()[1]
        return self.relay_at(f"http://127.0.0.1:{port}")

    def unreachable_relay(self) -> Adapter:
        # TLS to a listener that never says a word.
        return self.relay_at(f"https://127.0.0.1:{self._silent.getsockname()[1]}")

    def script(self, recipient: str, fault: Fault) -> None:
        self.server.faults[recipient] = fault

    def answer_with(self, recipient: str, raw: bytes) -> None:
        self.server.raw_answers[recipient] = raw

    def begun(self) -> int:
        return self.server.begun

    async def taken(self, mails: int) -> None:
        await self.server.taken(mails)
