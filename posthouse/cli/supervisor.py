"""The processes of one house on one machine: started in order, restarted when one dies, ended in order."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from posthouse.cli.exits import Exit
from posthouse.config import PARENT_PIPE
from posthouse.domain.errors import Misconfigured

#: Drained and stopped within this, or killed. Seconds.
STOP_WITHIN: Final = 30.0
#: A role that keeps dying is started again this often at most. Seconds.
RESTART_PAUSE: Final = 1.0
#: A role that dies this often in its first seconds is not going to start at all.
EARLY_DEATHS: Final = 5
EARLY: Final = 5.0


@dataclass(frozen=True, slots=True)
class Role:
    """One process: what `posthouse serve` is told."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)  # beside the supervisor's


@dataclass(slots=True)
class _Running:
    role: Role
    process: asyncio.subprocess.Process
    started_at: float
    early_deaths: int = 0


class Supervisor:
    """Children hold the read end of a pipe: when this process goes, however it goes, they see its end and
    drain."""

    def __init__(
        self, roles: Sequence[Role], environment: Mapping[str, str], log_folder: Path | None
    ) -> None:
        """`log_folder` None: they write where this process does."""
        self._roles = roles
        self._environment = environment
        self._log_folder = log_folder
        self._running: dict[str, _Running] = {}
        self._read_end, self._write_end = os.pipe()

    @property
    def pids(self) -> dict[str, int]:
        return {name: running.process.pid for name, running in self._running.items()}

    def exit_codes(self) -> dict[str, int | None]:
        """By role; None for one that runs."""
        return {name: running.process.returncode for name, running in self._running.items()}

    def log_of(self, name: str) -> str:
        """Where what it says can be read."""
        return "the lines above" if self._log_folder is None else str(self._log_folder / f"{name}.log")

    async def start(self) -> None:
        if self._log_folder is not None:
            self._log_folder.mkdir(parents=True, exist_ok=True)
        for role in self._roles:
            await self._start(role, early_deaths=0)

    async def watch(self, stop: asyncio.Event) -> None:
        """Restart what dies until `stop`. Raises Misconfigured when a role cannot stay up."""
        while not stop.is_set():
            for running in list(self._running.values()):
                if running.process.returncode is not None:
                    await self._restart(running)
            await _either(stop, RESTART_PAUSE)

    async def stop(self) -> dict[str, int]:
        """SIGTERM in the order of the roles, then SIGKILL to the late. Their exit codes."""
        for role in self._roles:
            running = self._running.get(role.name)
            if running is not None and running.process.returncode is None:
                running.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*(self._end(running) for running in self._running.values()))
        os.close(self._write_end)
        os.close(self._read_end)
        return {name: running.process.returncode or 0 for name, running in self._running.items()}

    async def _end(self, running: _Running) -> None:
        try:
            await asyncio.wait_for(running.process.wait(), STOP_WITHIN)
        except TimeoutError:
            running.process.kill()
            await running.process.wait()

    async def _start(self, role: Role, early_deaths: int) -> None:
        with self._output(role) as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "posthouse",
                "serve",
                *role.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._environment, **role.environment, PARENT_PIPE: str(self._read_end)},
                pass_fds=(self._read_end,),
                start_new_session=True,  # Ctrl-C is for the supervisor, which ends the roles in order
            )
        now = asyncio.get_running_loop().time()
        self._running[role.name] = _Running(role, process, now, early_deaths)

    def _output(self, role: Role) -> AbstractContextManager[BinaryIO | None]:
        return nullcontext() if self._log_folder is None else open(self.log_of(role.name), "ab")

    async def _restart(self, died: _Running) -> None:
        lived = asyncio.get_running_loop().time() - died.started_at
        # A role whose database is away says so and ends: it is tried again for as long as that takes.
        hopeless = lived < EARLY and died.process.returncode != Exit.UNAVAILABLE
        early_deaths = died.early_deaths + 1 if hopeless else 0
        if early_deaths >= EARLY_DEATHS:
            raise Misconfigured(
                f"{died.role.name} ended {early_deaths} times right after its start (exit code "
                f"{died.process.returncode}). Its log says why: {self.log_of(died.role.name)}"
            )
        await self._start(died.role, early_deaths)


async def _either(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
