"""Where what the broker needs is kept between runs, for every project and every test process of one user."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def cache_folder(environ: Mapping[str, str]) -> Path:
    """By the XDG base directory specification."""
    base = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "posthouse"


def made_once(folder: Path, complete: Callable[[Path], bool], make: Callable[[Path], None]) -> Path:
    """`folder`, made first if it is not complete; processes that want it at once make it once.

    It is made beside its place and then renamed: a process killed halfway leaves nothing that looks whole.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if complete(folder):
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as place:
            made = Path(place) / "made"
            made.mkdir()
            make(made)
            made.rename(folder)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)  # which unlocks
