"""Becomes a PostgreSQL program: takes an identity, enters the data folder, dies with its parent, executes.

Run as a script of its own, so that none of it happens between fork and exec of a process with threads:

    python -I -S pg_launch.py PARENT_PID IDENTITY FOLDER PROGRAM [ARGUMENT ...]

IDENTITY is `same`, `drop:UID:GID` (needs root) or `userns:UID`: a user namespace in which our own files,
root's, belong to UID. PostgreSQL refuses to run as user 0, and there it is not user 0, while folders that
only root may enter (a project cloned under /root) stay within reach. It has no privilege outside it.
"""

import ctypes
import os
import signal
import sys

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
CANNOT_LAUNCH = 126


def main(arguments: list[str]) -> None:
    parent, identity, folder, *command = arguments
    try:
        _become(identity)
        os.umask(0o077)
        os.chdir(folder)
        _die_with(int(parent))
        os.execv(command[0], command)  # noqa: S606  # becoming that program is what this is for
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]} in {folder} as {identity}: {error}\n")
        sys.exit(CANNOT_LAUNCH)


def _become(identity: str) -> None:
    kind, *ids = identity.split(":")
    if kind == "drop":
        uid, gid = int(ids[0]), int(ids[1])
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    elif kind == "userns":
        _enter_user_namespace(int(ids[0]))


def _enter_user_namespace(inside: int) -> None:
    uid, gid = os.geteuid(), os.getegid()
    _checked(_libc().unshare(_CLONE_NEWUSER), "unshare(CLONE_NEWUSER)")
    _write("/proc/self/setgroups", "deny")  # without it the kernel refuses the map of groups
    _write("/proc/self/uid_map", f"{inside} {uid} 1")
    _write("/proc/self/gid_map", f"{inside} {gid} 1")


def _die_with(parent: int) -> None:
    """SIGINT, PostgreSQL's fast shutdown, when the thread that started us ends. Linux only: elsewhere the
    next start finds and stops what was left running."""
    if sys.platform != "linux":
        return
    _checked(_libc().prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the line above
        sys.exit(CANNOT_LAUNCH)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
