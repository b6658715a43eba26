"""Postmark accounts."""

import random
from dataclasses import dataclass
from pathlib import Path

from posthouse.app.vendors import keys
from posthouse.app.vendors.base import Relief, SimulatedAccount
from posthouse.app.vendors.http import http_client, port_of
from posthouse.clock import Clock
from posthouse.config import PostmarkAccountSettings, secret
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
from posthouse.relays.postmark import (
    PostmarkAccount,
    PostmarkCallbacks,
    PostmarkInquirer,
    PostmarkRelay,
    PostmarkSecrets,
)
from posthouse.relays.postmark.sender import CAPABILITIES, REPLY_BYTES
from posthouse.relays.postmark.suppressions import PostmarkSuppressions
from posthouse.simulator.settings import PostmarkAccount as SimulatedPostmark


@dataclass(frozen=True, slots=True)
class PostmarkVendor:
    name: RelayAccount
    table: PostmarkAccountSettings

    @property
    def kind(self) -> str:
        return "postmark"

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    @property
    def server(self) -> str:
        return self.table.base_url

    def relay(self, clock: Clock, rng: random.Random, relief: Relief = Relief.NONE) -> Relay:
        client = http_client(self.table.base_url, simulated=self.table.simulator, reply_bytes=REPLY_BYTES)
        return PostmarkRelay(self._account(), client, clock)

    def reader(self, clock: Clock) -> CallbackReader | None:
        table = self.table
        secrets = PostmarkSecrets(
            user=table.webhook_user,
            password=secret("", table.webhook_password_env, table.webhook_password_file),
            header_name=table.webhook_header,
            header_value=secret("", table.webhook_secret_env, table.webhook_secret_file),
        )
        return PostmarkCallbacks(self.name, secrets, clock)

    def inquirer(self, clock: Clock) -> Inquirer | None:
        client = http_client(self.table.base_url, simulated=self.table.simulator)
        return PostmarkInquirer(self._account(), client, clock)

    def source(self, clock: Clock) -> CallbackSource | None:
        return None

    def suppression_list(self, clock: Clock) -> SuppressionList | None:
        client = http_client(self.table.base_url, simulated=self.table.simulator, reply_bytes=PAGE_BYTES)
        return PostmarkSuppressions(self._account(), client, clock)

    def simulated(self, hook_url: str) -> SimulatedAccount:
        table = self.table
        return SimulatedPostmark(
            name=self.name,
            server_token=self._token(),
            webhook_url=hook_url,
            webhook_user=table.webhook_user,
            webhook_password=secret("", table.webhook_password_env, table.webhook_password_file),
            webhook_header=table.webhook_header,
            webhook_secret=secret("", table.webhook_secret_env, table.webhook_secret_file),
            streams=tuple({"outbound", "broadcast", table.message_stream}),
            port=port_of(table.base_url),
        )

    def make_simulator_keys(self) -> None:
        for path in self._files():
            keys.make_secret(Path(path))

    def lacks_simulator_keys(self) -> bool:
        return any(keys.to_come(self.table.simulator, path) for path in self._files())

    def _files(self) -> list[str]:
        table = self.table
        named = (table.server_token_file, table.webhook_password_file, table.webhook_secret_file)
        return [path for path in named if path]

    def _account(self) -> PostmarkAccount:
        """Raises Misconfigured."""
        table = self.table
        return PostmarkAccount(
            account=self.name,
            server_token=self._token(),
            message_stream=table.message_stream,
            base_url=table.base_url,
            max_batch=table.max_batch,
            max_concurrency=table.max_concurrency,
        )

    def _token(self) -> str:
        return secret("", self.table.server_token_env, self.table.server_token_file)
