"""The house's own keys: one secret, from which every purpose has a key of its own.

`POSTHOUSE_SECRET_KEYS` (hexadecimal, separated by commas, newest first) or the file `secret.keys` in the data
folder, made at the first start. Whoever adds machines gives them all the same. An old secret stays in the
list for as long as mail that was sent under it may come back: links and unsubscribe addresses are forever.
"""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Final

from posthouse.domain.errors import Misconfigured

KEYS_VARIABLE: Final = "POSTHOUSE_SECRET_KEYS"
_FILE: Final = "secret.keys"
_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Keyring:
    links: bytes = field(repr=False)
    contents: bytes = field(repr=False)
    return_paths: bytes = field(repr=False)
    unsubscribe: tuple[bytes, ...] = field(repr=False)  # newest first
    webhooks: tuple[bytes, ...] = field(repr=False)  # newest first; seal the secrets of endpoints


def load_keyring(data_dir: Path, environ: Mapping[str, str]) -> Keyring:
    """Raises Misconfigured for a secret that is not one."""
    text = environ.get(KEYS_VARIABLE)
    if text is not None:
        return _derive(_parse(text.replace(",", "\n"), KEYS_VARIABLE))
    path = data_dir / _FILE
    if not path.exists():
        _make(path)
    return _derive(_parse(path.read_text(encoding="ascii"), str(path)))


def _parse(text: str, source: str) -> list[bytes]:
    try:
        found = [bytes.fromhex(line) for line in text.split()]
    except ValueError as error:
        raise Misconfigured(f"{source}: a secret is {_BYTES} bytes in hexadecimal.") from error
    if not found or any(len(secret) < _BYTES for secret in found):
        raise Misconfigured(f"{source}: at least one secret of at least {_BYTES} bytes is needed.")
    return found


def _make(path: Path) -> None:
    """Several processes may find it missing at once: one file wins, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_hex(_BYTES) + "\n", encoding="ascii")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _derive(masters: list[bytes]) -> Keyring:
    # Links and contents are found again by their digest: theirs is the oldest secret, which never changes.
    oldest = masters[-1]
    return Keyring(
        links=_key(oldest, b"links"),
        contents=_key(oldest, b"contents"),
        return_paths=_key(oldest, b"return paths"),
        unsubscribe=tuple(_key(master, b"unsubscribe") for master in masters),
        webhooks=tuple(_key(master, b"webhooks") for master in masters),
    )


def _key(master: bytes, purpose: bytes) -> bytes:
    return blake2b(purpose, digest_size=_BYTES, key=master[:64], person=b"posthouse key").digest()
