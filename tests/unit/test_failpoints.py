"""Failpoints: a process does what it was armed for, when it was armed for, and says so first."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PASSES = """
import sys
from posthouse.failpoints import FailpointError, failpoint, failpoint_at
for place in sys.argv[1:]:
    name, at, key = place.partition("@")
    try:
        failpoint_at(name, key) if at else failpoint(name)
        print("passed", place, flush=True)
    except FailpointError as error:
        print("raised", error, flush=True)
"""


def run(armed: str, log: Path, *places: str) -> tuple[int, list[str]]:
    ended = subprocess.run(
        [sys.executable, "-c", PASSES, *places],
        env={**os.environ, "POSTHOUSE_FAILPOINTS": armed, "POSTHOUSE_FAILPOINT_LOG": str(log)},
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout.splitlines()


@pytest.mark.parametrize(
    ("armed", "said"),
    [
        ("", ["passed a", "passed a", "passed b@ann", "passed b@bob"]),
        ("a=raise", ["raised a", "passed a", "passed b@ann", "passed b@bob"]),
        ("a=raise:2", ["passed a", "raised a", "passed b@ann", "passed b@bob"]),
        ("a=raise:always", ["raised a", "raised a", "passed b@ann", "passed b@bob"]),
        ("b=raise:always", ["passed a", "passed a", "passed b@ann", "passed b@bob"]),
        ("b@bob=raise, a=raise:3", ["passed a", "passed a", "passed b@ann", "raised b@bob"]),
    ],
)
def test_a_point_acts_when_it_is_armed_for(tmp_path: Path, armed: str, said: list[str]) -> None:
    log = tmp_path / "hits"
    assert run(armed, log, "a", "a", "b@ann", "b@bob") == (0, said)
    hits = [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []
    assert hits == [line.removeprefix("raised ") for line in said if line.startswith("raised ")]


def test_a_killed_process_has_said_where(tmp_path: Path) -> None:
    log = tmp_path / "hits"
    assert run("b@ann@inbox.test=kill", log, "a", "b@ann@inbox.test", "a") == (-signal.SIGKILL, ["passed a"])
    assert log.read_text().startswith("b@ann@inbox.test ")
