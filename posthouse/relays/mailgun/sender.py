"""Hand-over to Mailgun: one messages.mime for each mail, many at a time, every answer an outcome.

Mailgun has no idempotency key. What left whole and got no readable answer may have been taken: its `accepted`
event, which carries our ids, settles the doubt, or its Events API, which is asked by our Message-ID.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from posthouse.clock import Clock
from posthouse.domain.ids import RelayAccount
from posthouse.domain.message import RawMail, Rendered
from posthouse.failpoints import failpoint
from posthouse.net.client import HttpClient, Reply
from posthouse.relays.base import Capabilities, Gate, NotBegun, Outcome, RejectedMessage, Tell, tell_nobody
from posthouse.relays.http import NoSlot, Slots, each, without_reply
from posthouse.relays.mailgun.replies import outcome_of
from posthouse.relays.mailgun.request import (
    MAX_MESSAGE_BYTES,
    CannotExpress,
    Credentials,
    api_url,
    form_of,
)

US: Final = "https://api.mailgun.net"
EU: Final = "https://api.eu.mailgun.net"

_CAPABILITIES: Final = Capabilities(
    takes_raw=True,
    max_message_bytes=MAX_MESSAGE_BYTES,
    batch=1,
    shows_other_recipients=True,
    keeps_message_id=True,
    reports_acceptance=True,
    can_be_asked=True,
    own_return_path=False,
)


def capabilities(*, hears_acceptance: bool) -> Capabilities:
    """`hears_acceptance`: the domain's webhook for `accepted` is set up. Without it Mailgun tells of nothing
    before delivery, and its silence means nothing."""
    return replace(_CAPABILITIES, reports_acceptance=hears_acceptance)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailgunAccount:
    """How to send by one domain of an account. `slot_wait` (seconds): how long a claimed mail may wait for a
    free slot."""

    account: RelayAccount
    domain: str
    capabilities: Capabilities
    api_key: str = field(repr=False)
    base_url: str = US
    max_concurrency: int = 64
    slot_wait: float = 1.0


class MailgunRelay:
    """One domain of a Mailgun account. Owns its client: closing the relay closes it."""

    def __init__(self, settings: MailgunAccount, client: HttpClient, clock: Clock) -> None:
        """Raises Misconfigured."""
        self.account = settings.account
        self.capabilities = settings.capabilities
        self._client = client
        self._clock = clock
        self._credentials = Credentials(settings.api_key, settings.account)
        self._url = api_url(settings.base_url, settings.domain, settings.account) / "messages.mime"
        self._headers = {"Authorization": self._credentials.header, "User-Agent": "posthouse"}
        self._slots = Slots(settings.max_concurrency, wait=settings.slot_wait)

    async def send_many(
        self, mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell = tell_nobody
    ) -> list[Outcome]:
        """Hand over each mail by a request of its own; answers in order."""
        return await each(mails, partial(self._hand_over, gate=gate), tell)

    async def close(self) -> None:
        await self._client.close()

    async def _hand_over(self, mail: Rendered | RawMail, gate: Gate) -> Outcome:
        if isinstance(mail, Rendered):
            return RejectedMessage("Mailgun is given raw mail")
        try:
            async with self._slots.one():
                return await self._request(mail, gate)
        except NoSlot:
            return NotBegun("all connections to Mailgun are busy", slow_relay=True)
        except CannotExpress as error:
            return RejectedMessage(str(error))

    async def _request(self, mail: RawMail, gate: Gate) -> Outcome:
        content_type, body = form_of(mail)
        headers = {**self._headers, "Content-Type": content_type}
        answer = await self._client.post(self._url, headers, body, partial(_begin, gate))
        if not isinstance(answer, Reply):
            return without_reply(answer)
        if answer.status == 200:
            failpoint("relay.mailgun.accepted")
        return outcome_of(answer, self._clock.now(), self._credentials)


def _begin(gate: Gate) -> bool:
    if not gate():
        return False
    failpoint("relay.mailgun.mid_body")
    return True
