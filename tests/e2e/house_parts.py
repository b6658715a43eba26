"""The roles of a house as processes of their own, kept running as a supervisor keeps them, and armed."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import aiohttp

from posthouse.cli.supervisor import Role

#: Until a wait is a failure. Seconds; long, because the machine may have other things to do.
PATIENCE: Final = 60.0
#: A role that was told to end is gone within this. Seconds.
DRAINED_WITHIN: Final = 30.0
_POLL: Final = 0.05

#: Who asks, and what is answered with 200 when a role is ready.
Probe: TypeAlias = tuple[aiohttp.ClientSession, str]


async def until(
    what: str, holds: Callable[[], Awaitable[bool] | bool], *, within: float = PATIENCE, every: float = _POLL
) -> None:
    """Return when it holds; an AssertionError that says what did not, after `within` seconds."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        found = holds()
        if found if isinstance(found, bool) else await found:
            return
        assert asyncio.get_running_loop().time() < deadline, f"not within {within:g} s: {what}"
        await asyncio.sleep(every)


class Part:
    """One role. However it ends, it is started again at once, unarmed, until it is told to stay down."""

    def __init__(
        self,
        role: Role,
        environment: Mapping[str, str],
        folder: Path,
        probe: Probe,
    ) -> None:
        self.role = role
        self.program: Sequence[str] = ("-m", "posthouse")  # what Python runs
        self.ends: list[int] = []  # exit codes, one for each life
        self.log = folder / f"{role.name}.log"
        self._hits = folder / f"{role.name}.hits"
        self._environment = environment
        self._probe = probe
        self._armed = ""
        self._armed_for_good = False
        self._wanted = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def hits(self) -> list[str]:
        """The names of the failpoints that acted, over all lives."""
        lines = self._hits.read_text(encoding="utf-8").splitlines() if self._hits.exists() else []
        return [line.split()[0] for line in lines]

    async def keep(self) -> None:
        """Run life after life, until cancelled; then end what runs."""
        try:
            while True:
                await self._wanted.wait()
                self._process = await self._start()
                self.ends.append(await self._process.wait())
        finally:
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    async def up(self, armed: str = "", *, for_good: bool = False) -> None:
        """Start it, with failpoints armed for this life or, `for_good`, for every one until it is next told.
        Returns when it is ready."""
        self._armed, self._armed_for_good = armed, for_good
        self._wanted.set()
        await self.ready()

    async def down(self) -> int:
        """SIGTERM: its exit code, once it has drained. It stays down."""
        self._wanted.clear()
        lives = len(self.ends)
        self.send(signal.SIGTERM)
        return await self.ended(lives, within=DRAINED_WITHIN)

    async def restart(self, armed: str = "", *, for_good: bool = False) -> None:
        assert await self.down() == 0, self.last_words()
        await self.up(armed, for_good=for_good)

    async def ended(self, lives: int, *, within: float = PATIENCE) -> int:
        """The exit code of the life after the first `lives`, when it is over."""
        await until(f"{self.role.name} has ended", lambda: len(self.ends) > lives, within=within)
        return self.ends[lives]

    async def ready(self) -> None:
        await until(f"{self.role.name} is ready; {self.last_words()}", self._is_ready)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def last_words(self) -> str:
        return self.log.read_text(encoding="utf-8")[-2000:] if self.log.exists() else "it wrote nothing"

    async def _start(self) -> asyncio.subprocess.Process:
        environment = {
            **self._environment,
            "POSTHOUSE_FAILPOINTS": self._armed,
            "POSTHOUSE_FAILPOINT_LOG": str(self._hits),
        }
        if not self._armed_for_good:
            self._armed = ""
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, *self.program, "serve", *self.role.arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )

    async def _is_ready(self) -> bool:
        session, url = self._probe
        try:
            async with session.get(url) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False
