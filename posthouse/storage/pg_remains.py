"""What an earlier PostgreSQL of the same folder may have left: processes, and lock files that lie."""

import asyncio
import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from posthouse.domain.errors import Misconfigured

_HAS_PROC = os.path.isdir("/proc/self")
_POLL = 0.02  # seconds
SOCKET_LOCK = ".s.PGSQL.5432.lock"
#: How each is asked to end, and for how long (seconds) that is waited for. SIGINT is PostgreSQL's fast
#: shutdown (with a checkpoint), SIGQUIT its immediate one; both leave nothing to fear, nor does SIGKILL.
ESCALATION = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))


def cluster_name(cluster: Path) -> str:
    """What PostgreSQL calls itself in the titles of its processes: it tells whose they are."""
    return f"posthouse-{hashlib.sha256(os.fsencode(cluster)).hexdigest()[:12]}"


async def clear_remains(cluster: Path, sockets: Path) -> None:
    """Return when no process of an earlier PostgreSQL works on `cluster`, and no lock file says so.

    A PostgreSQL whose supervisor was killed is already stopping by itself; one that is not is stopped. To be
    called by whoever holds the folder. Raises Misconfigured when it will not end.
    """
    pid_file = cluster / "postmaster.pid"
    locks = [lock for lock in (pid_file, sockets / SOCKET_LOCK) if lock.exists()]
    if not locks:
        return
    await _end(cluster, _recorded(pid_file))
    # PostgreSQL takes any process with the recorded number for itself and will not start: after a reboot, or
    # in a new container, that is a stranger, and where nobody reaps orphans it is its own zombie.
    if _HAS_PROC:
        for lock in locks:
            lock.unlink(missing_ok=True)


async def _end(cluster: Path, postmaster: int | None) -> None:
    for how, patience in ESCALATION:
        left = _workers(cluster, postmaster)
        if not left:
            return
        for pid in [postmaster] if postmaster in left else left:
            _signal(pid, how)
        if await _gone(cluster, postmaster, patience):
            return
    left = _workers(cluster, postmaster)
    if left:
        raise Misconfigured(
            f"PostgreSQL processes {left} still work on {cluster}: end them, then start again."
        )


async def _gone(cluster: Path, postmaster: int | None, patience: float) -> bool:
    for _ in range(int(patience / _POLL)):
        if not _workers(cluster, postmaster):
            return True
        await asyncio.sleep(_POLL)
    return False


def _workers(cluster: Path, postmaster: int | None) -> list[int]:
    """Live processes of the cluster. All of them, and only they, have it as their working directory."""
    return [pid for pid in _pids() if _works_on(pid, cluster, postmaster)]


def _pids() -> Iterator[int]:
    if _HAS_PROC:
        yield from (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _works_on(pid: int, cluster: Path, postmaster: int | None) -> bool:
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", cluster)
    except PermissionError:
        # Root without CAP_SYS_PTRACE (a container) may not look; the command line is everybody's to read.
        line = _command_line(pid)
        return cluster_name(cluster) in line or (pid == postmaster and str(cluster) in line)
    except OSError:  # it is gone, or a zombie
        return False


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def _recorded(pid_file: Path) -> int | None:
    try:
        first = pid_file.read_text(encoding="ascii", errors="replace").split("\n", 1)[0]
    except FileNotFoundError:
        return None
    return int(first) if first.strip().isdecimal() else None


def _signal(pid: int | None, how: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, how)
