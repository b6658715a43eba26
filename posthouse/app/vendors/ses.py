"""Amazon SES accounts."""

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from posthouse.app.vendors import keys
from posthouse.app.vendors.base import Relief, SimulatedAccount
from posthouse.app.vendors.http import http_client, port_of
from posthouse.clock import Clock
from posthouse.config import SesAccountSettings, secret
from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.net.client import ClientLimits, HttpClient
from posthouse.net.guard import EgressPolicy
from posthouse.relays.base import (
    CallbackReader,
    CallbackSource,
    Capabilities,
    Inquirer,
    Relay,
    SuppressionList,
)
from posthouse.relays.lists import PAGE_BYTES
from posthouse.relays.ses import sender
from posthouse.relays.ses.api import AwsApi, CredentialSource, Endpoint, endpoint
from posthouse.relays.ses.callbacks import SesCallbacks
from posthouse.relays.ses.quota import AccountState, NoState, ask_account
from posthouse.relays.ses.sigv4 import Credentials, Scope
from posthouse.relays.ses.sns import topic_of
from posthouse.relays.ses.sns_web import AllowedTopic, SnsHttp
from posthouse.relays.ses.sqs import FETCH_BYTES, FETCH_WITHIN, SqsQueue
from posthouse.relays.ses.suppressions import SesSuppressions
from posthouse.simulator.settings import SesAccount as SimulatedSes

#: How long credentials that were read are good for: a role's are written anew some time before they end.
_READ_AGAIN: Final = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class SesVendor:
    name: RelayAccount
    table: SesAccountSettings

    @property
    def kind(self) -> str:
        return "ses"

    @property
    def capabilities(self) -> Capabilities:
        return sender.capabilities(hears_events=bool(self.table.topic_arns or self.table.queue_url))

    @property
    def server(self) -> str:
        return self.table.base_url or f"https://email.{self.table.region}.amazonaws.com"

    def relay(self, clock: Clock, rng: random.Random, relief: Relief = Relief.NONE) -> Relay:
        account = sender.SesAccount(
            account=self.name,
            endpoint=self._endpoint(self.server, "ses", "base_url"),
            configuration_set=self.table.configuration_set,
            capabilities=self.capabilities,
            max_concurrency=self.table.max_concurrency,
        )
        return sender.SesRelay(account, self._api(clock), clock)

    async def state(self, clock: Clock) -> AccountState | NoState:
        """What SES says of the account now: the one question that mails nobody. Raises Misconfigured."""
        api = self._api(clock)
        try:
            return await ask_account(api, self._endpoint(self.server, "ses", "base_url"))
        finally:
            await api.close()

    def reader(self, clock: Clock) -> CallbackReader | None:
        if self.table.queue_url:  # the other way in: what is wrong with it is said as early
            self._endpoint(self.table.queue_url, "sqs", "queue_url")
        topics = [topic_of(arn, f"relays.{self.name}.topic_arns") for arn in self.table.topic_arns]
        allowed = [
            AllowedTopic(topic, self.server if self.table.simulator else f"https://{topic.host}")
            for topic in topics
        ]
        web = SnsHttp(http_client(self.server, simulated=self.table.simulator))
        return SesCallbacks(self.name, allowed, web, clock)

    def inquirer(self, clock: Clock) -> Inquirer | None:
        """It can be asked only by its own id of a mail, which one in doubt has not got."""
        return None

    def source(self, clock: Clock) -> CallbackSource | None:
        """The queue that its events are pulled from, if there is one. Raises Misconfigured."""
        url = self.table.queue_url
        if not url:
            return None
        where = self._endpoint(url, "sqs", "queue_url")
        origin = Endpoint(where.url.origin() / "", where.scope)
        allowed = frozenset({f"{origin.url.host}:{origin.url.port}"}) if self.table.simulator else frozenset()
        limits = ClientLimits(total=FETCH_WITHIN, reply_bytes=FETCH_BYTES)
        client = HttpClient(EgressPolicy(allowed), limits)
        return SqsQueue(self.name, origin, url, AwsApi(client, self._credentials(), clock))

    def suppression_list(self, clock: Clock) -> SuppressionList | None:
        client = http_client(self.server, simulated=self.table.simulator, reply_bytes=PAGE_BYTES)
        api = AwsApi(client, self._credentials(), clock)
        where = self._endpoint(self.server, "ses", "base_url")
        return SesSuppressions(self.name, where, api, clock)

    def simulated(self, hook_url: str) -> SimulatedAccount:
        credentials = self._credentials()()
        table = self.table
        return SimulatedSes(
            name=self.name,
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
            key_path=Path(table.secret_access_key_file).with_suffix(".pem"),
            port=port_of(self.server),
            configuration_set=table.configuration_set,
            topic_arn=next(iter(table.topic_arns), f"arn:aws:sns:{table.region}:123456789012:{self.name}"),
            webhook_url=hook_url if table.topic_arns else None,
            queue=bool(table.queue_url),
        )

    def make_simulator_keys(self) -> None:
        keys.make_secret(Path(self.table.secret_access_key_file))

    def lacks_simulator_keys(self) -> bool:
        return keys.to_come(self.table.simulator, self.table.secret_access_key_file)

    def _api(self, clock: Clock) -> AwsApi:
        client = http_client(self.server, simulated=self.table.simulator)
        return AwsApi(client, self._credentials(), clock)

    def _endpoint(self, url: str, service: str, setting: str) -> Endpoint:
        return endpoint(url, Scope(self.table.region, service), f"relays.{self.name}.{setting}")

    def _credentials(self) -> CredentialSource:
        """Raises Misconfigured at once for what is missing now, and later for what goes missing."""
        source = _ReadAgain(self)
        source()
        return source

    def read_credentials(self) -> Credentials:
        """From where the configuration says they are, as they are now. Raises Misconfigured."""
        table = self.table
        found = Credentials(
            secret(table.access_key_id, table.access_key_id_env, table.access_key_id_file),
            secret("", table.secret_access_key_env, table.secret_access_key_file),
            secret("", table.session_token_env, table.session_token_file),
        )
        if not found.access_key_id or not found.secret_access_key:
            raise Misconfigured(
                f"relays.{self.name}: SES needs access_key_id and secret_access_key: name where each is, "
                "in the environment or in a file."
            )
        return found


class _ReadAgain:
    """Credentials, read anew every so often: files that a role's agent writes, a mounted secret."""

    def __init__(self, vendor: SesVendor) -> None:
        self._vendor = vendor
        self._found: Credentials | None = None
        self._read_at = 0.0

    def __call__(self) -> Credentials:
        now = time.monotonic()
        if self._found is None or now - self._read_at > _READ_AGAIN:
            self._found, self._read_at = self._vendor.read_credentials(), now
        return self._found
