"""What the API and the command line do with endpoints: make, change, rotate, redeliver, test."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from yarl import URL

from posthouse.domain.errors import Conflict, InvalidInput, NotFound
from posthouse.domain.ids import RANDOM_BITS, EndpointId, NoticeId, first_of_moment, uuid7
from posthouse.domain.webhook import Endpoint, EndpointStatus, EventName, Interest
from posthouse.net.guard import EgressPolicy, is_public
from posthouse.outhooks.fanout import new_notice
from posthouse.outhooks.sample import sample_body
from posthouse.outhooks.signing import SecretBox, SigningSecret, new_secret
from posthouse.storage import webhook_deliveries, webhook_outbox, webhooks
from posthouse.storage.db import Database
from posthouse.storage.webhook_outbox import Notice
from posthouse.storage.webhooks import EVERYTHING, Changes, Visible

MAX_URL: Final = 2000
#: For how long the secret before a rotation signs beside the new one.
BOTH_SECRETS: Final = timedelta(hours=24)
_LAST_RANDOM: Final = (1 << RANDOM_BITS) - 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """A new endpoint as it is asked for."""

    url: str
    description: str
    interest: Interest


@dataclass(frozen=True, slots=True)
class Since:
    """Which messages are told again: those made from `since` to now."""

    since: datetime
    only_failed: bool


@dataclass(frozen=True, slots=True)
class Desk:
    """`policy`: which destinations beside the public Internet are allowed."""

    db: Database
    box: SecretBox
    policy: EgressPolicy
    random_bytes: Callable[[int], bytes]  # cryptographic
    random_bits: Callable[[int], int]

    async def create(self, wanted: Wanted, now: datetime) -> tuple[Endpoint, SigningSecret]:
        """Raises InvalidInput for a URL that cannot be one, Conflict when there are too many, NotNow."""
        check_url(wanted.url, self.policy)
        endpoint = Endpoint(
            EndpointId(uuid7(int(now.timestamp() * 1000), self.random_bits(RANDOM_BITS))),
            wanted.url,
            wanted.description,
            wanted.interest,
            now,
        )
        secret = new_secret(self.random_bytes)
        if not await webhooks.insert(self.db, endpoint, self.box.seal(endpoint.endpoint_id, secret)):
            raise Conflict(
                f"There are {webhooks.MAX_ENDPOINTS} webhooks already, and no house has more. Delete one, or "
                "let one endpoint hear of more events.",
                code="too_many_webhooks",
            )
        return endpoint, secret

    async def find(self, endpoint: EndpointId, visible: Visible = EVERYTHING) -> Endpoint:
        """Raises NotFound, NotNow."""
        found = await webhooks.find(self.db, visible, endpoint)
        if found is None:
            raise no_such_webhook()
        return found

    async def change(self, endpoint: EndpointId, changes: Changes, now: datetime, why: str) -> None:
        """`why` is kept when this disables it. Raises InvalidInput, NotFound, NotNow."""
        if changes.url is not None:
            check_url(changes.url, self.policy)
        if not await webhooks.change(self.db, endpoint, changes, now, why):
            raise no_such_webhook()

    async def delete(self, endpoint: EndpointId) -> None:
        """Raises NotFound, NotNow."""
        if not await webhooks.delete(self.db, endpoint):
            raise no_such_webhook()

    async def secret_of(self, endpoint: EndpointId, now: datetime) -> SigningSecret:
        """The newest one. Raises NotFound, Misconfigured, NotNow."""
        sealed = await webhooks.secrets_of(self.db, endpoint, now)
        if sealed is None:
            raise no_such_webhook()
        return self.box.open(endpoint, sealed.current)

    async def rotate(self, endpoint: EndpointId, now: datetime) -> tuple[SigningSecret, datetime]:
        """A new secret, and until when the one before signs too. Raises NotFound, NotNow."""
        secret, until = new_secret(self.random_bytes), now + BOTH_SECRETS
        if not await webhooks.rotate(self.db, endpoint, self.box.seal(endpoint, secret), until):
            raise no_such_webhook()
        return secret, until

    async def redeliver_one(self, endpoint: Endpoint, notice: NoticeId, now: datetime) -> None:
        """Raises NotFound, Conflict, NotNow."""
        _refuse_disabled(endpoint)
        if await webhook_deliveries.find(self.db, endpoint.endpoint_id, notice) is None:
            raise no_such_delivery()
        if not await webhook_deliveries.redeliver_one(self.db, endpoint.endpoint_id, notice, now):
            raise Conflict("This delivery is being sent right now.", code="already_sending")

    async def redeliver(self, endpoint: Endpoint, wanted: Since, now: datetime) -> None:
        """The processor does it, part by part. Raises Conflict, NotNow."""
        _refuse_disabled(endpoint)
        # An id says the millisecond that it was made in: what was made in that of `since` is told again too.
        after = UUID(int=max(0, first_of_moment(wanted.since - timedelta(milliseconds=1)).int - 1))
        until = NoticeId(uuid7(int(now.timestamp() * 1000), _LAST_RANDOM))
        if not await webhooks.begin_redelivery(
            self.db, endpoint.endpoint_id, after, until, only_failed=wanted.only_failed
        ):
            raise Conflict(
                "A redelivery to this webhook is under way. Wait until it has ended, then ask again.",
                code="redelivery_under_way",
            )

    async def test(self, endpoint: Endpoint, name: EventName, now: datetime) -> NoticeId:
        """A message about a mail that never was, for this endpoint whatever it listens to. Raises Conflict,
        NotNow."""
        _refuse_disabled(endpoint)
        notice = new_notice(now, self.random_bits)
        told = Notice(notice, name, None, sample_body(name, endpoint.interest, now), (endpoint.endpoint_id,))
        async with self.db.transaction() as tx:
            await webhook_outbox.insert(tx, [told], due_at=now)
        return notice


def check_url(text: str, policy: EgressPolicy) -> None:
    """What can be known of a URL without connecting; the rest is checked whenever one is opened, since a name
    may lead elsewhere tomorrow. Raises InvalidInput."""
    if len(text) > MAX_URL or not text.isascii() or not text.isprintable() or " " in text:
        raise _no_url(f"A webhook's URL has at most {MAX_URL} characters, all of them printable ASCII.")
    try:
        url = URL(text)
        host, port = url.host, url.port
    except ValueError as error:
        raise _no_url(f"This is no URL: {error}.") from error
    if not host or not port:
        raise _no_url("A webhook's URL is absolute: https://app.example/hooks.")
    if url.user is not None or url.password is not None:
        raise _no_url("A webhook's URL holds no user or password: the signature proves who calls.")
    if url.fragment:
        raise _no_url("A webhook's URL has no fragment (#...): it would not be sent.")
    if policy.allows(host, port):
        return
    if url.scheme != "https":
        raise _no_url("A webhook's URL begins with https://; webhooks.allow_hosts names exceptions.")
    if _is_address(host) and not is_public(host):
        raise InvalidInput(
            f"{host} is not a public address. webhooks.allow_hosts names exceptions, as host:port.",
            code="private_address",
            pointer="/endpoint",
        )


def no_such_webhook() -> NotFound:
    return NotFound("There is no such webhook; GET /v1/webhooks lists those that this key may see.")


def no_such_delivery() -> NotFound:
    return NotFound("There is no such delivery; GET /v1/webhooks/{id}/deliveries lists those there are.")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _no_url(words: str) -> InvalidInput:
    return InvalidInput(words, code="invalid_url", pointer="/endpoint")


def _refuse_disabled(endpoint: Endpoint) -> None:
    if endpoint.status is EndpointStatus.DISABLED:
        raise Conflict(
            "This webhook is disabled, so nothing would be sent. Set its status to enabled first.",
            code="webhook_disabled",
        )
