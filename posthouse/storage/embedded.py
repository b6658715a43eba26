"""An embedded PostgreSQL: made, started, watched and stopped by this process.

Everything lives in one folder: `cluster/` (PGDATA), `run/` (the socket), `lock`, `startup.log`; the server's
own log is in `cluster/log/`. There is no TCP: who may enter the folder (0700) may connect.

PostgreSQL ends with the thread that started it: the kernel then sends it SIGINT, its fast shutdown. Killed
itself, it recovers at its next start. Either way the next start waits for what is still stopping.
"""

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import BinaryIO, Self
from urllib.parse import quote

from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.storage.db import ping
from posthouse.storage.pg_host import (
    CLUSTER,
    Binaries,
    Identity,
    choose_identity,
    clear_sockets,
    find_binaries,
    hold,
    launch_line,
    socket_folder,
)
from posthouse.storage.pg_remains import ESCALATION, clear_remains, cluster_name

_USER = "posthouse"
_DATABASE = "postgres"
_POLL = 0.02  # seconds
_SIGNAL_EVERY = 25  # polls
_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "max_connections": "100",
        # Each day that a plan names is a lock; PostgreSQL 18 takes so many of a statement the fast way.
        "max_locks_per_transaction": "256",
        "shared_buffers": "256MB",
        "jit": "off",
        "max_wal_size": "2GB",
        "wal_compression": "on",
        "checkpoint_timeout": "10min",
        "autovacuum_naptime": "10s",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "logging_collector": "on",
        "log_directory": "log",
        "log_filename": "%a.log",  # a week of them
        "log_truncate_on_rotation": "on",
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
        "log_checkpoints": "off",
        "log_error_verbosity": "terse",  # DETAIL would write addresses into the log
    }
)


class Durability(Enum):
    FULL = "full"
    NONE = "none"  # loses data when the machine crashes: for tests, which start again from nothing


_DURABILITY: Mapping[Durability, Mapping[str, str]] = MappingProxyType(
    {
        Durability.FULL: {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"},
        Durability.NONE: {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"},
    }
)


class EmbeddedPostgres:
    """`async with EmbeddedPostgres(folder) as postgres: ... postgres.dsn`"""

    def __init__(self, folder: Path, *, durability: Durability = Durability.FULL) -> None:
        self._folder = folder.absolute()
        self._cluster = self._folder / CLUSTER
        self._durability = durability
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets = self._folder

    @property
    def dsn(self) -> str:
        return f"postgresql://{_USER}@/{_DATABASE}?host={quote(str(self._sockets), safe='')}"

    @property
    def pid(self) -> int | None:
        """The postmaster's, while it is started."""
        return None if self._process is None else self._process.pid

    async def start(self, *, timeout: float = 600.0) -> None:
        """Return when it takes connections. `timeout` (seconds) covers a long crash recovery.

        Raises FolderInUse when another process has the folder, Misconfigured when it cannot run here, NotNow
        when it takes longer.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "PostgreSQL ends with the thread that starts it: start it from the main thread"
            )
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = hold(self._folder)
        try:
            await self._start_locked(timeout)
        except BaseException:
            await self.stop()
            raise

    async def _start_locked(self, timeout: float) -> None:
        binaries = find_binaries()
        identity, major = choose_identity(binaries, self._folder)
        self._sockets = socket_folder(self._folder, identity)
        if self._cluster.exists():
            _check_version(self._cluster, major)
            await clear_remains(self._cluster, self._sockets)
        else:
            await self._make_cluster(binaries, identity, major)
        self._process = self._launch(identity, self._server(binaries))
        await self._until_ready(timeout)

    async def stop(self) -> None:
        """Fast shutdown; whoever is connected is cut off. Harder ways follow if it does not end."""
        process, self._process = self._process, None
        try:
            if process is not None:
                await _end(process)
                clear_sockets(self._folder)
        finally:
            lock, self._lock = self._lock, None
            if lock is not None:
                os.close(lock)

    async def ended(self) -> int:
        """Return, with its exit code, when the server has ended by itself. Start it again after `stop`."""
        return await _exit_code(self._started(), poll=0.25)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _make_cluster(self, binaries: Binaries, identity: Identity, major: int) -> None:
        # Made beside and renamed, so that a cluster is there whole or not at all.
        new = self._folder / f"{CLUSTER}.new"
        shutil.rmtree(new, ignore_errors=True)
        command = [binaries.path("initdb"), "-D", str(new), "-U", _USER, "--auth=trust", "--encoding=UTF8"]
        command += ["--locale=C", "--no-instructions"]
        if major >= 17:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self._durability is Durability.NONE:
            command += ["--no-sync"]
        maker = self._launch(identity, command)
        try:
            code = await _exit_code(maker)
        finally:
            await _end(maker)
        if code != 0:
            raise Misconfigured(f"PostgreSQL's initdb failed: {self._last_words()}")
        new.rename(self._cluster)

    def _server(self, binaries: Binaries) -> list[str]:
        settings = {
            **_SETTINGS,
            **_DURABILITY[self._durability],
            "unix_socket_directories": _quoted(self._sockets),
            "cluster_name": cluster_name(self._cluster),
        }
        command = [binaries.path("postgres"), "-D", str(self._cluster)]
        return command + [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _launch(self, identity: Identity, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with _fresh_log(self._folder / "startup.log") as log:
            return subprocess.Popen(
                launch_line(identity, self._folder, command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: we drain first, then stop it
                env=_environment(),
            )

    async def _until_ready(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                while not await self._is_ready():  # noqa: ASYNC110
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise NotNow(f"PostgreSQL was not ready after {timeout:g} s: {self._last_words()}") from None

    async def _is_ready(self) -> bool:
        if self._started().poll() is not None:
            raise Misconfigured(f"PostgreSQL did not start: {self._last_words()}")
        try:
            await ping(self.dsn)
        except NotNow:
            return False
        return True

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the embedded PostgreSQL is not started")
        return self._process

    def _last_words(self) -> str:
        """The end of what it wrote: first to us, then, once it had a log, there."""
        logs = sorted((self._cluster / "log").glob("*.log"), key=lambda log: log.stat().st_mtime)
        ends = [_tail(log) for log in (self._folder / "startup.log", *logs[-1:])]
        return " / ".join(line.strip() for end in ends for line in end if line.strip())


def _fresh_log(path: Path) -> BinaryIO:
    # The folder is PostgreSQL's, and we may be root: a link that it put there must not be followed.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _tail(log: Path) -> list[str]:
    with open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
        return file.read().decode("utf-8", "replace").splitlines()[-8:]


async def _exit_code(process: subprocess.Popen[bytes], poll: float = _POLL) -> int:
    # Polled: asyncio's own subprocesses are bound to one event loop, and die with it.
    while (code := process.poll()) is None:  # noqa: ASYNC110
        await asyncio.sleep(poll)
    return code


async def _end(process: subprocess.Popen[bytes]) -> None:
    for how, patience in ESCALATION:
        for tick in range(int(patience / _POLL)):
            if process.poll() is not None:
                return
            if tick % _SIGNAL_EVERY == 0:
                # Repeated: one that comes before PostgreSQL minds it is lost where SIGINT is ignored, as
                # it is in whatever a script starts in the background.
                process.send_signal(how)
            await asyncio.sleep(_POLL)


def _check_version(cluster: Path, major: int) -> None:
    found = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    if found != str(major):
        raise Misconfigured(
            f"{cluster} was made by PostgreSQL {found}, and this is PostgreSQL {major}: dump it with the old "
            "version (pg_dumpall) and load the dump into a new folder."
        )


def _quoted(path: Path) -> str:
    """A list setting of one path: in double quotes, so that commas and spaces stay part of it."""
    return '"' + str(path).replace('"', '""') + '"'


def _environment() -> dict[str, str]:
    """Ours without PG* (they would redirect it), in a locale whose messages are English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C"}
