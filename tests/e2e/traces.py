"""What a house leaves behind on the machine: processes and files."""

from collections.abc import Iterator
from pathlib import Path


def processes_of(folder: Path) -> dict[int, str]:
    """Command lines, by pid, of everything that runs in a folder's name: it is told to, or its environment
    says so. Zombies are gone."""
    return {pid: words for pid, words, environment in _processes() if str(folder) in words + environment}


def process_of(folder: Path, words: str) -> int:
    """The one process of a folder that was started with these words."""
    (pid,) = (pid for pid, line in processes_of(folder).items() if words in line)
    return pid


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _processes() -> Iterator[tuple[int, str, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            words, environment = _read(entry / "cmdline"), _read(entry / "environ")
            if words:
                yield int(entry.name), words, environment


def _read(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:  # it has ended meanwhile, or is not ours
        return ""
