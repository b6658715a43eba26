"""What readers of relays' suppression lists share: what an answer means, and waiting when asked to."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NoReturn, TypeVar
from urllib.parse import quote

import msgspec
from yarl import URL

from posthouse.clock import Clock
from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.domain.ids import RelayAccount
from posthouse.net.client import Denied, NoReply, Reply, Withheld
from posthouse.relays.base import Change, OnList
from posthouse.relays.http import clean, retry_after

T = TypeVar("T")

#: A page of a list may be this long. What fills it may have been cut, and is not read.
PAGE_BYTES: Final = 4_000_000
#: Of one list. More is a server that goes round in circles.
MAX_PAGES: Final = 20_000

_THROTTLED: Final = 429
_WAITS: Final = 6  # for one request
_LONGEST_WAIT: Final = 60.0  # seconds; a relay that asks for more is asked at the next sync
_WAIT: Final = 2.0  # seconds, where the relay does not say
_OUT_OF_REACH: Final = frozenset({401, 403})
#: Requests under way at a time, where each address needs its own.
_AT_ONCE: Final = 4


class ListDesk:
    """Requests about one account's lists, and what their answers mean. `hide` takes the key out of words."""

    def __init__(self, account: RelayAccount, relay: str, clock: Clock, hide: Callable[[str], str]) -> None:
        self._account = account
        self._relay = relay
        self._clock = clock
        self._hide = hide

    async def ask(self, request: Callable[[], Awaitable[Reply | NoReply]]) -> Reply:
        """The answer of a server that is there and knows us, whatever it is. A list of thousands of pages is
        longer than any rate allows in one go, so that a pause asked for is made, and the request repeated.
        Raises NotNow and Misconfigured."""
        for _ in range(_WAITS):
            reply = await request()
            if not isinstance(reply, Reply) or reply.status != _THROTTLED:
                return self._present(reply)
            pause = retry_after(reply.headers, self._clock.now()) or _WAIT
            if pause > _LONGEST_WAIT:
                raise NotNow(f"{self._relay} lets {self._account} ask no more for now.", retry_after=pause)
            await asyncio.sleep(pause)
        raise NotNow(f"{self._relay} lets {self._account} ask no more for now.")

    def body(self, reply: Reply, decoder: msgspec.json.Decoder[T]) -> T:
        """What a 200 says. Raises NotNow."""
        if reply.status != 200:
            self.refuse(reply)
        if len(reply.body) >= PAGE_BYTES:
            raise NotNow(f"A page of {self._relay}'s list for {self._account} is too long to be read.")
        try:
            return decoder.decode(reply.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise NotNow(
                f"{self._relay}'s answer about the suppression list of {self._account} cannot be read."
            ) from error

    def refuse(self, reply: Reply) -> NoReturn:
        """An answer that is none. Raises NotNow."""
        raise NotNow(
            f"{self._relay} answered {self.words(reply)} about the suppression list of {self._account}."
        )

    def words(self, reply: Reply) -> str:
        """A refusal as it may be stored."""
        said = self._hide(reply.body[:300].decode("utf-8", "replace")).strip()
        return clean(f"{reply.status} {said}".strip(), 300)

    def _present(self, reply: Reply | NoReply) -> Reply:
        match reply:
            case Reply() if reply.status in _OUT_OF_REACH:
                raise Misconfigured(
                    f"relays.{self._account}: {self._relay} does not show its suppression list to this key "
                    f"({self.words(reply)}). Give the account a key that may read and change suppressions."
                )
            case Reply():
                return reply
            case Denied(reason):
                raise Misconfigured(f"relays.{self._account}: not allowed to connect: {reason}.")
            case Withheld():
                raise NotNow(f"{self._relay} was not asked.")
            case _:
                raise NotNow(f"{self._relay} did not answer about {self._account}: {reply.reason}.")


async def one_by_one(
    entries: Sequence[OnList], change: Callable[[OnList], Awaitable[Change]]
) -> list[Change]:
    """A request for each address, a few at a time; answers in order. The first that raises ends it."""
    hands = asyncio.Semaphore(_AT_ONCE)

    async def changed(entry: OnList) -> Change:
        async with hands:
            return await change(entry)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(changed(entry)) for entry in entries]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


def of_address(url: URL, address: str) -> URL:
    """The resource of one address below a list's. Local parts may hold "/", "?" and "%"; "@" is encoded too:
    so AWS signs it."""
    return URL(f"{url}/{quote(address, safe='')}", encoded=True)


def unix_time(seconds: object) -> datetime | None:
    """A time of theirs, where it is one."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
