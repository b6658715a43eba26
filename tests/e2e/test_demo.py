"""`posthouse demo` as a new user runs it: the verdict in its last line, and nothing left of it afterwards."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from traces import files_in, processes_of

TWO_MINUTES = 120.0


class LastLine(msgspec.Struct, forbid_unknown_fields=True):
    """What scripts read."""

    accepted: int
    by_status: dict[str, int]
    events: dict[str, int]
    suppressed_by_reason: dict[str, int]
    residual: int
    sink_messages: int
    unexplained_duplicates: int
    tx_p99_ms: float
    tx_max_ms: float
    pids: dict[str, int]
    seconds: float


@pytest.fixture
def short_path() -> Iterator[Path]:
    """PostgreSQL's socket lies in the house, and a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="ph-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_the_demo_proves_itself_and_leaves_nothing(short_path: Path) -> None:
    home, temporary, here = (short_path / name for name in ("home", "tmp", "here"))
    for folder in (home, temporary, here):
        folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSTHOUSE_")}
    kept.pop("DATABASE_URL", None)

    ended = subprocess.run(
        [sys.executable, "-m", "posthouse", "demo", "--data-dir", "house"],
        cwd=here,
        env={**kept, "HOME": str(home), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=TWO_MINUTES,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    said = msgspec.json.decode(ended.stdout.splitlines()[-1], type=LastLine)
    assert said.accepted == sum(said.by_status.values()) == 10_000
    assert (said.residual, said.unexplained_duplicates) == (0, 0)
    assert not {"PENDING", "QUEUED", "SENDING", "UNKNOWN"} & said.by_status.keys()
    assert said.tx_max_ms < 30_000
    assert {"postgres", "api", "worker-transactional", "worker-marketing"} <= said.pids.keys()
    assert {"processor", "track", "simulator"} <= said.pids.keys()
    assert processes_of(here) == {}
    assert files_in(here) == files_in(home) == files_in(temporary) == []
