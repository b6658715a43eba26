"""What a house without a configuration file needs to run: keys for the relays it pretends to have."""

import base64
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from posthouse.config import SendGridAccountSettings, Settings


def make_simulator_keys(settings: Settings) -> None:
    """An API key and a webhook signing key for each simulated SendGrid account, once."""
    for table in settings.relays.values():
        if isinstance(table, SendGridAccountSettings) and table.simulator:
            _make_api_key(Path(table.api_key_file))
            _make_signing_key(Path(table.webhook_key_file))


def signing_key_path(webhook_key_file: Path) -> Path:
    """Where the private half lies: beside the public one. Only the simulator reads it."""
    return webhook_key_file.with_suffix(".pem")


def _make_api_key(path: Path) -> None:
    if not path.exists():
        _write(path, f"SG.{secrets.token_urlsafe(32)}\n".encode())


def _make_signing_key(path: Path) -> None:
    if path.exists() and signing_key_path(path).exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    _write(
        signing_key_path(path),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _write(path, base64.b64encode(public) + b"\n")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(data)
