"""Mailgun accounts."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from posthouse.app.vendors import keys
from posthouse.app.vendors.base import Relief, SimulatedAccount
from posthouse.app.vendors.http import http_client, port_of
from posthouse.clock import Clock
from posthouse.config import MailgunAccountSettings, secret
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
from posthouse.relays.mailgun import callbacks, inquiry, sender, suppressions
from posthouse.simulator.settings import MailgunAccount as SimulatedMailgun

#: A question waits for its slot as long again: all are answered, or given up, within 5 seconds.
_QUESTION_WITHIN: Final = 2.5  # seconds


@dataclass(frozen=True, slots=True)
class MailgunVendor:
    name: RelayAccount
    table: MailgunAccountSettings

    @property
    def kind(self) -> str:
        return "mailgun"

    @property
    def capabilities(self) -> Capabilities:
        return sender.capabilities(hears_acceptance=self.table.accepted_webhook)

    @property
    def server(self) -> str:
        return self.table.base_url

    def relay(self, clock: Clock, rng: random.Random, relief: Relief = Relief.NONE) -> Relay:
        table = self.table
        account = sender.MailgunAccount(
            account=self.name,
            domain=table.domain,
            capabilities=self.capabilities,
            api_key=self._api_key(),
            base_url=table.base_url,
            max_concurrency=table.max_concurrency,
        )
        return sender.MailgunRelay(account, http_client(table.base_url, simulated=table.simulator), clock)

    def reader(self, clock: Clock) -> CallbackReader | None:
        return callbacks.MailgunCallbacks(self.name, self._signing_key(), clock)

    def inquirer(self, clock: Clock) -> Inquirer | None:
        table = self.table
        questions = inquiry.MailgunQuestions(
            account=self.name, domain=table.domain, api_key=self._api_key(), base_url=table.base_url
        )
        client = http_client(
            table.base_url,
            simulated=table.simulator,
            reply_bytes=inquiry.REPLY_BYTES,
            total=_QUESTION_WITHIN,
        )
        return inquiry.MailgunInquirer(questions, client, clock)

    def source(self, clock: Clock) -> CallbackSource | None:
        return None

    def suppression_list(self, clock: Clock) -> SuppressionList | None:
        table = self.table
        lists = suppressions.MailgunLists(
            account=self.name, domain=table.domain, api_key=self._api_key(), base_url=table.base_url
        )
        client = http_client(table.base_url, simulated=table.simulator, reply_bytes=PAGE_BYTES)
        return suppressions.MailgunSuppressions(lists, client, clock)

    def simulated(self, hook_url: str) -> SimulatedAccount:
        return SimulatedMailgun(
            name=self.name,
            domain=self.table.domain,
            api_key=self._api_key(),
            signing_key=self._signing_key(),
            webhook_url=hook_url,
            port=port_of(self.table.base_url),
        )

    def make_simulator_keys(self) -> None:
        keys.make_secret(Path(self.table.api_key_file), "key-")
        keys.make_secret(Path(self.table.webhook_signing_key_file))

    def lacks_simulator_keys(self) -> bool:
        return keys.to_come(self.table.simulator, self.table.api_key_file)

    def _api_key(self) -> str:
        return secret("", self.table.api_key_env, self.table.api_key_file)

    def _signing_key(self) -> str:
        return secret("", self.table.webhook_signing_key_env, self.table.webhook_signing_key_file)
