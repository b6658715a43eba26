"""Keys that simulated accounts need: made once, readable by nobody else."""

import secrets
from pathlib import Path


def make_secret(path: Path, prefix: str = "") -> None:
    if not path.exists():
        write_secret(path, f"{prefix}{secrets.token_urlsafe(32)}\n".encode())


def write_secret(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(data)


def to_come(simulator: bool, file: str) -> bool:
    """Whether a simulated account's key file is named and not there yet."""
    return simulator and file != "" and not Path(file).exists()
