"""The embedded server, against everything that can happen to it and to whoever started it."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.domain.errors import Misconfigured, NotNow
from posthouse.storage.db import open_wire
from posthouse.storage.embedded import Durability, EmbeddedPostgres
from posthouse.storage.pg_host import (
    Binaries,
    FolderInUse,
    Identity,
    choose_identity,
    find_binaries,
    launch_line,
    major_of,
)
from posthouse.storage.sql import Queries, parse

_QUERIES = Queries(tuple(parse("-- name: count\nSELECT count(*) FROM kept;", "own.sql")))
_ROOT = os.geteuid() == 0
_OURSELVES = Identity("same")
# A user namespace makes an ordinary user of root, who may still read this checkout.
_ORDINARY = Identity("userns:65534") if _ROOT else _OURSELVES
_SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from posthouse.storage.embedded import Durability, EmbeddedPostgres

async def main():
    async with EmbeddedPostgres(Path(sys.argv[1]), durability=Durability.NONE) as server:
        print(server.pid, server.dsn, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def private_folder() -> Iterator[Path]:
    """A folder inside one that only we may enter, as a project under /root is."""
    with tempfile.TemporaryDirectory(prefix="posthouse-test-") as parent:
        yield Path(parent) / "pg"


def _server(folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder, durability=Durability.NONE)


async def _put(dsn: str) -> None:
    wire = await open_wire(dsn, _QUERIES, server_settings={"synchronous_commit": "on"})
    await wire.script("CREATE TABLE IF NOT EXISTS kept (n int); INSERT INTO kept VALUES (1)")
    await wire.close()


async def _kept(dsn: str) -> int:
    wire = await open_wire(dsn, _QUERIES, server_settings={})
    count = await wire.value(int, "count")
    await wire.close()
    return count


def _pid(server: EmbeddedPostgres) -> int:
    assert server.pid is not None
    return server.pid


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and not _status(pid)["State"].startswith("Z")


def _runs_as(pid: int) -> int:
    return int(_status(pid)["Uid"].split()[0])


def _owner(path: Path) -> int:
    return path.stat().st_uid


def _is_private(path: Path) -> bool:
    return path.stat().st_mode & 0o077 == 0


async def test_data_stays_over_a_restart(fresh_folder: Path) -> None:
    server = _server(fresh_folder)
    for n in range(2):
        async with server:
            await _put(server.dsn)
            assert await _kept(server.dsn) == n + 1
        assert server.pid is None


async def test_it_is_made_for_one_machine_and_many_rows(server_folder: Path) -> None:
    async with EmbeddedPostgres(server_folder) as server:
        wire = await open_wire(server.dsn, Queries(tuple(parse(_SETTING, "own.sql"))), server_settings={})
        found = {name: await wire.value(str, "setting", name) for name in _EXPECTED}
        await wire.close()
        assert found == _EXPECTED
        assert os.getpgid(_pid(server)) != os.getpgid(0)  # Ctrl-C in our terminal is not for it


_SETTING = "-- name: setting\nSELECT current_setting($1);"
_EXPECTED = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "listen_addresses": "",
    "server_encoding": "UTF8",
    "TimeZone": "UTC",
    "max_connections": "100",
    "jit": "off",
}


async def test_where_others_may_enter_root_hands_it_to_an_account_without_rights(fresh_folder: Path) -> None:
    async with _server(fresh_folder) as server:
        await _put(server.dsn)
        assert _runs_as(_pid(server)) != 0
        assert _owner(fresh_folder) == _runs_as(_pid(server))
        assert _is_private(fresh_folder)
    async with _server(fresh_folder) as server:
        assert await _kept(server.dsn) == 1


async def test_where_only_we_may_enter_it_runs_as_us_without_privileges(private_folder: Path) -> None:
    async with _server(private_folder) as server:
        assert _runs_as(_pid(server)) == os.geteuid()
        assert _owner(private_folder) == os.geteuid()
        assert int(_status(_pid(server))["CapEff"], 16) == 0
        in_a_namespace = os.readlink(f"/proc/{server.pid}/ns/user") != os.readlink("/proc/self/ns/user")
        assert in_a_namespace is _ROOT


async def test_an_ordinary_user_needs_nothing_of_this(private_folder: Path) -> None:
    with _Supervisor(private_folder, identity=_ORDINARY) as supervisor:
        await _put(supervisor.dsn)
        assert await _kept(supervisor.dsn) == 1


async def test_root_of_a_namespace_that_knows_no_other_account_can_run_it_too(private_folder: Path) -> None:
    with _Supervisor(private_folder, identity=Identity("userns:0")) as supervisor:
        await _put(supervisor.dsn)
        assert _runs_as(supervisor.postmaster) == os.geteuid()


def test_a_folder_of_somebody_else_is_refused_in_words(tmp_path: Path) -> None:
    if not _ROOT:
        with pytest.raises(Misconfigured, match="belongs to root, and Posthouse runs as"):
            choose_identity(find_binaries(), Path("/"))
        return
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    folder = closed / "pg"
    folder.mkdir()
    os.chown(folder, 65534, 65534)  # it belongs to somebody who cannot get there
    with pytest.raises(Misconfigured, match=r"PostgreSQL cannot run in .*closed/pg.* DATABASE_URL"):
        choose_identity(find_binaries(), folder)


async def test_a_path_too_long_for_a_socket_is_no_obstacle(fresh_folder: Path) -> None:
    folder = fresh_folder / ("long" * 30)
    server = _server(folder)
    for n in range(2):
        async with server:
            await _put(server.dsn)
            assert await _kept(server.dsn) == n + 1
            short = (folder / "run").readlink()
            assert _is_private(short)
        assert not short.exists()


async def test_a_link_to_a_folder_that_is_not_ours_alone_is_not_followed(fresh_folder: Path) -> None:
    folder = fresh_folder / ("long" * 30)
    async with _server(folder):
        pass
    trap = fresh_folder / "trap"
    trap.mkdir(mode=0o777)
    (folder / "run").symlink_to(trap)
    async with _server(folder) as server:
        assert (folder / "run").readlink() != trap
        await _put(server.dsn)


async def test_a_second_one_is_refused_and_told_who_has_the_folder(server_folder: Path) -> None:
    async with _server(server_folder) as first:
        with pytest.raises(FolderInUse, match=f"in use by process {os.getpid()}"):
            await _server(server_folder).start()
        await _put(first.dsn)
    async with _server(server_folder) as second:
        assert await _kept(second.dsn) == 1


async def test_it_stops_with_its_supervisor_and_the_next_takes_over_at_once(server_folder: Path) -> None:
    with _Supervisor(server_folder) as supervisor:
        await _put(supervisor.dsn)
        os.kill(supervisor.process.pid, signal.SIGKILL)
        supervisor.process.wait()
    async with _server(server_folder) as server:
        assert await _kept(server.dsn) == 1
        assert server.pid != supervisor.postmaster
        assert not _runs(supervisor.postmaster)


async def test_it_is_not_tied_to_a_thread_that_ends_early(fresh_folder: Path) -> None:
    with pytest.raises(RuntimeError, match="main thread"):
        await asyncio.to_thread(asyncio.run, _server(fresh_folder).start())


async def test_killed_itself_it_recovers(server_folder: Path) -> None:
    server = _server(server_folder)
    await server.start()
    await _put(server.dsn)
    os.kill(_pid(server), signal.SIGKILL)
    assert await server.ended() == -signal.SIGKILL
    await server.stop()
    async with server:
        assert await _kept(server.dsn) == 1


async def test_supervisor_and_server_killed_together(server_folder: Path) -> None:
    with _Supervisor(server_folder) as supervisor:
        await _put(supervisor.dsn)
        os.kill(supervisor.postmaster, signal.SIGKILL)
        os.kill(supervisor.process.pid, signal.SIGKILL)
        supervisor.process.wait()
    async with _server(server_folder) as server:
        assert await _kept(server.dsn) == 1


@pytest.mark.parametrize("folder_name", ["server_folder", "private_folder"])
async def test_a_server_that_outlived_its_supervisor_is_stopped_first(
    request: pytest.FixtureRequest, folder_name: str
) -> None:
    folder: Path = request.getfixturevalue(folder_name)
    async with _server(folder) as server:
        await _put(server.dsn)
    orphan = _orphan(folder)
    async with _server(folder) as server:
        assert orphan.wait() == 0
        assert await _kept(server.dsn) == 1


def _orphan(folder: Path) -> subprocess.Popen[bytes]:
    binaries = find_binaries()
    identity, _ = choose_identity(binaries, folder)
    command = [binaries.path("postgres"), "-D", str(folder / "cluster"), "-c", "listen_addresses="]
    command += ["-c", f"unix_socket_directories={folder / 'run'}"]
    process = subprocess.Popen(launch_line(identity, folder, command), stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if b"ready to accept connections" in line:
            break
    process.stderr.close()
    return process


async def test_a_pid_file_that_names_a_stranger_does_not_stop_the_start(server_folder: Path) -> None:
    async with _server(server_folder) as server:
        await _put(server.dsn)
    (server_folder / "cluster" / "postmaster.pid").write_text(f"{os.getpid()}\n{server_folder}/cluster\n")
    async with _server(server_folder) as server:
        assert await _kept(server.dsn) == 1


async def test_nor_does_one_without_sense(server_folder: Path) -> None:
    server = _server(server_folder)
    async with server:
        await _put(server.dsn)
    for left in ("", "nonsense\n", "999999999\n"):
        (server_folder / "cluster" / "postmaster.pid").write_text(left)
        async with server:
            assert await _kept(server.dsn) == 1


async def test_a_cluster_that_was_half_made_is_made_anew(fresh_folder: Path) -> None:
    half = fresh_folder / "cluster.new" / "base"
    half.mkdir(parents=True)
    (half / "1").write_bytes(b"half")
    async with _server(fresh_folder) as server:
        await _put(server.dsn)
    assert not half.exists()


async def test_a_cluster_of_another_version_is_refused_with_the_way_out(server_folder: Path) -> None:
    async with _server(server_folder):
        pass
    (server_folder / "cluster" / "PG_VERSION").write_text("14\n")
    server = _server(server_folder)
    with pytest.raises(Misconfigured, match=r"made by PostgreSQL 14, and this is PostgreSQL .*pg_dumpall"):
        await server.start()


async def test_a_start_that_fails_says_why_and_lets_go_of_the_folder(server_folder: Path) -> None:
    async with _server(server_folder):
        pass
    control = server_folder / "cluster" / "global" / "pg_control"
    kept = control.read_bytes()
    control.unlink()
    server = _server(server_folder)
    with pytest.raises(Misconfigured, match=r"did not start: .*pg_control"):
        await server.start()
    control.write_bytes(kept)
    shutil.chown(control, control.parent.stat().st_uid, control.parent.stat().st_gid)
    await server.start()
    await server.stop()


async def test_links_left_in_its_folder_lead_nowhere(server_folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    owner = _owner(tmp_path)
    (server_folder / "startup.log").unlink()
    (server_folder / "startup.log").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        await _server(server_folder).start()
    assert victim.read_text() == "precious"
    (server_folder / "startup.log").unlink()
    shutil.rmtree(server_folder / "run")
    (server_folder / "run").symlink_to(tmp_path)
    async with _server(server_folder) as server:
        await _put(server.dsn)
        assert not (server_folder / "run").is_symlink()
    assert _owner(tmp_path) == owner


async def test_a_start_that_takes_too_long_is_not_now(server_folder: Path) -> None:
    server = _server(server_folder)
    with pytest.raises(NotNow, match="not ready after 0 s"):
        await server.start(timeout=0)
    async with server:
        await _put(server.dsn)


async def test_a_start_is_ended_soon_where_sigint_is_ignored(server_folder: Path) -> None:
    """As in a script's background: a SIGINT that comes before the server has its handlers is lost."""
    async with _server(server_folder) as made:
        await _put(made.dsn)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        async with asyncio.timeout(30):
            with pytest.raises(NotNow, match="not ready after 0 s"):
                await _server(server_folder).start(timeout=0)
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_the_wheel_the_one_on_path_is_taken(tmp_path: Path) -> None:
    program = tmp_path / "postgres"
    program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9 (Debian 14.9-1)'\n")
    program.chmod(0o755)
    assert find_binaries("no_such_package", str(tmp_path)) == Binaries(tmp_path)
    with pytest.raises(Misconfigured, match=r"14\.9 .*is too old"):
        choose_identity(Binaries(tmp_path), tmp_path)
    with pytest.raises(Misconfigured, match="There is no PostgreSQL to start"):
        find_binaries("no_such_package", "/nowhere")


@pytest.mark.parametrize(
    ("words", "major"),
    [
        ("postgres (PostgreSQL) 18.6\n", 18),
        ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n", 15),
        ("postgres (PostgreSQL) 19beta1\n", 19),
    ],
)
def test_the_version_is_read_from_what_postgres_says(words: str, major: int) -> None:
    assert major_of(words) == major


@pytest.mark.parametrize(
    "words", ["", "postgres", "postgres (PostgreSQL) devel", "postgres (PostgreSQL) 14.2"]
)
def test_a_version_too_old_or_not_understood_is_refused(words: str) -> None:
    with pytest.raises(Misconfigured, match="too old"):
        major_of(words)


class _Supervisor:
    """Another process that holds a server."""

    def __init__(self, folder: Path, *, identity: Identity = _OURSELVES) -> None:
        command = launch_line(identity, Path.cwd(), [sys.executable, "-c", _SUPERVISOR, str(folder)])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        pid, self.dsn = self.process.stdout.readline().split()
        self.postmaster = int(pid)

    def __enter__(self) -> "_Supervisor":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()
