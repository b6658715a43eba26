"""SendGrid accounts."""

import base64
import random
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from posthouse.app.vendors import keys
from posthouse.app.vendors.base import Relief, SimulatedAccount
from posthouse.app.vendors.http import http_client, port_of
from posthouse.clock import Clock
from posthouse.config import SendGridAccountSettings, secret
from posthouse.domain.ids import RelayAccount
from posthouse.relays.base import (
    CallbackReader,
    CallbackSource,
    Capabilities,
    Inquirer,
    Relay,
    SuppressionList,
)
from posthouse.relays.lists import PAGE_BYTES
from posthouse.relays.sendgrid import callbacks, sender, suppressions
from posthouse.simulator.settings import SendGridAccount as SimulatedSendGrid


@dataclass(frozen=True, slots=True)
class SendGridVendor:
    name: RelayAccount
    table: SendGridAccountSettings

    @property
    def kind(self) -> str:
        return "sendgrid"

    @property
    def capabilities(self) -> Capabilities:
        return sender.CAPABILITIES

    @property
    def server(self) -> str:
        return self.table.base_url

    def relay(self, clock: Clock, rng: random.Random, relief: Relief = Relief.NONE) -> Relay:
        client = http_client(self.table.base_url, simulated=self.table.simulator)
        return sender.SendGridRelay(self._account(), client, clock)

    def reader(self, clock: Clock) -> CallbackReader | None:
        key = secret(self.table.webhook_key, "", self.table.webhook_key_file)
        return callbacks.SendGridCallbacks(self.name, key, clock)

    def inquirer(self, clock: Clock) -> Inquirer | None:
        """Its Email Activity API is a paid extra: no account can be counted on to have it."""
        return None

    def source(self, clock: Clock) -> CallbackSource | None:
        return None

    def suppression_list(self, clock: Clock) -> SuppressionList | None:
        client = http_client(self.table.base_url, simulated=self.table.simulator, reply_bytes=PAGE_BYTES)
        return suppressions.SendGridSuppressions(self._account(), client, clock)

    def simulated(self, hook_url: str) -> SimulatedAccount:
        return SimulatedSendGrid(
            name=self.name,
            api_key=self._api_key(),
            key_path=signing_key_path(self.table),
            webhook_url=hook_url,
            port=port_of(self.table.base_url),
        )

    def make_simulator_keys(self) -> None:
        keys.make_secret(Path(self.table.api_key_file), "SG.")
        _make_signing_key(Path(self.table.webhook_key_file), signing_key_path(self.table))

    def lacks_simulator_keys(self) -> bool:
        return keys.to_come(self.table.simulator, self.table.api_key_file)

    def _account(self) -> sender.SendGridAccount:
        """Raises Misconfigured."""
        return sender.SendGridAccount(
            account=self.name,
            api_key=self._api_key(),
            base_url=self.table.base_url,
            max_concurrency=self.table.max_concurrency,
        )

    def _api_key(self) -> str:
        return secret("", self.table.api_key_env, self.table.api_key_file)


def signing_key_path(table: SendGridAccountSettings) -> Path:
    """A simulated account's private key lies beside its public one. Only the simulator reads it."""
    return Path(table.webhook_key_file).with_suffix(".pem")


def _make_signing_key(public: Path, private: Path) -> None:
    if public.exists() and private.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    keys.write_secret(
        private,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    shown = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    keys.write_secret(public, base64.b64encode(shown) + b"\n")
