"""A composer beside the event loop, for processes that answer people.

A body of 1 MB takes seconds to be composed. A worker may take its time, as only its own mail waits; an API
would accept nothing meanwhile.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from posthouse.compose.pipeline import Composer

T = TypeVar("T")


class ComposerAside:
    """One thread, which alone touches its composer: what is asked of it waits in line."""

    def __init__(self, composer: Composer) -> None:
        self._composer = composer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="composer")

    async def run(self, work: Callable[[Composer], Coroutine[None, None, T]]) -> T:
        """What `work` makes of the composer, in the thread, on a loop of its own. Raises what it raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: asyncio.run(work(self._composer)))

    def close(self) -> None:
        """Finish what is under way, and end the sandbox process."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._composer.close()
