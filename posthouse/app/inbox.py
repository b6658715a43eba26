"""Who reads what is in the inbox."""

from posthouse.app.adapters import build_readers
from posthouse.clock import Clock
from posthouse.config import Settings
from posthouse.domain.ids import RelayAccount
from posthouse.ingest.bounce_reader import BounceMails
from posthouse.keyring import Keyring
from posthouse.relays.base import CallbackReader
from posthouse.relays.sandbox import SandboxCallbacks


def build_inbox_readers(
    settings: Settings, keyring: Keyring, clock: Clock
) -> dict[tuple[str, RelayAccount], CallbackReader]:
    """Who reads what is in the inbox. The sandbox and the inbound role write there themselves; they are none
    of `build_readers`, so that nobody can post in their names."""
    ours: tuple[CallbackReader, ...] = (SandboxCallbacks(), BounceMails(keyring.return_paths, clock))
    return {**build_readers(settings, clock), **{(one.relay, one.account): one for one in ours}}
