"""Hand-over to SES: one SendEmail for each mail, many at a time, at the account's own pace.

SES has no idempotency key. What left whole and got no readable answer may have been taken: its Send event,
which carries our tags, settles the doubt.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from posthouse.clock import Clock
from posthouse.domain.errors import Misconfigured
from posthouse.domain.ids import RelayAccount
from posthouse.domain.message import RawMail, Rendered
from posthouse.failpoints import failpoint
from posthouse.net.client import Reply
from posthouse.relays.base import (
    AccountTrouble,
    Capabilities,
    Gate,
    NotBegun,
    Outcome,
    RejectedMessage,
    Tell,
    TryLater,
    tell_nobody,
)
from posthouse.relays.http import NoSlot, Slots, each, without_reply
from posthouse.relays.ses.api import AwsApi, Endpoint
from posthouse.relays.ses.pace import MOST_WAIT, Pace
from posthouse.relays.ses.quota import NoState, ask_account
from posthouse.relays.ses.replies import Failure, accepted, failure, outcome_of
from posthouse.relays.ses.request import MAX_MESSAGE_BYTES, CannotExpress, request_body
from posthouse.telemetry import log

#: How often the account's rate and allowance are asked for.
QUOTA_EVERY: Final = 300.0  # seconds
_JSON: Final = {"Content-Type": "application/json"}

#: `reports_acceptance` holds where events come back at all: see `capabilities`.
_CAPABILITIES: Final = Capabilities(
    takes_raw=True,
    max_message_bytes=MAX_MESSAGE_BYTES,
    batch=1,
    shows_other_recipients=True,
    keeps_message_id=False,
    reports_acceptance=True,
    # GetMessageInsights asks by SES's own id, which a mail in doubt has not got.
    can_be_asked=False,
    own_return_path=False,
)


def capabilities(*, hears_events: bool) -> Capabilities:
    """`hears_events`: the account's configuration set publishes to a topic or a queue that we read. Without
    one SES reports nothing, and its silence means nothing."""
    return replace(_CAPABILITIES, reports_acceptance=hears_events)


@dataclass(frozen=True, slots=True, kw_only=True)
class SesAccount:
    """How to send by one account in one region. `slot_wait` (seconds): how long a claimed mail may wait for
    a free slot, beside its wait for its turn."""

    account: RelayAccount
    endpoint: Endpoint
    configuration_set: str
    capabilities: Capabilities
    max_concurrency: int = 64
    slot_wait: float = 1.0 - MOST_WAIT


class SesRelay:
    """One account. Owns its client: closing the relay closes it."""

    def __init__(self, settings: SesAccount, api: AwsApi, clock: Clock) -> None:
        self.account = settings.account
        self.capabilities = settings.capabilities
        self._settings = settings
        self._api = api
        self._clock = clock
        self._send_url = settings.endpoint.url / "v2/email/outbound-emails"
        self._slots = Slots(settings.max_concurrency, wait=settings.slot_wait)
        self._pace = Pace()
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def send_many(
        self, mails: Sequence[Rendered | RawMail], gate: Gate, tell: Tell = tell_nobody
    ) -> list[Outcome]:
        """Hand over each mail by a request of its own; answers in order."""
        if mails:
            self._ask_for_quota()
        return await each(mails, partial(self._hand_over, gate=gate), tell)

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        await self._api.close()

    async def _hand_over(self, mail: Rendered | RawMail, gate: Gate) -> Outcome:
        if isinstance(mail, Rendered):
            return RejectedMessage("SES is given raw mail")
        wait = self._pace.turn(self._clock.monotonic())
        if wait > MOST_WAIT:
            return NotBegun("the account's sending rate is used up", resumes_in=wait)
        if wait > 0:
            await asyncio.sleep(wait)
        try:
            async with self._slots.one():
                return await self._request(mail, gate)
        except NoSlot:
            return NotBegun("all connections to SES are busy", slow_relay=True)
        except CannotExpress as error:
            return RejectedMessage(str(error))
        except Misconfigured as error:
            return AccountTrouble(error.message)

    async def _request(self, mail: RawMail, gate: Gate) -> Outcome:
        body = request_body(mail, self._settings.configuration_set)
        answer = await self._api.post(
            self._settings.endpoint, self._send_url, _JSON, body, partial(_begin, gate)
        )
        if not isinstance(answer, Reply):
            return without_reply(answer)
        if answer.status == 200:
            failpoint("relay.ses.accepted")
            self._pace.took()
            return accepted(answer)
        error = failure(answer)
        said = Failure(error.error, self._api.without_secrets(error.message))
        outcome = outcome_of(answer, said, mail.recipient, self._clock.now())
        if isinstance(outcome, TryLater) and outcome.slow_relay:
            self._pace.refused(self._clock.monotonic())
        return outcome

    def _ask_for_quota(self) -> None:
        """Beside the mails, never before them: an account whose key may not ask still sends."""
        now = self._clock.monotonic()
        if now - self._asked_at >= QUOTA_EVERY and (self._asking is None or self._asking.done()):
            self._asked_at = now
            self._asking = asyncio.create_task(self._learn_quota())

    async def _learn_quota(self) -> None:
        try:
            state = await ask_account(self._api, self._settings.endpoint)
        except Misconfigured:
            return  # the mails say so
        if isinstance(state, NoState):
            log.warning(
                "SES does not say what the account may send", relay=self.account, reason=state.reason[:300]
            )
            return
        self._pace.allow(state.send_quota.max_send_rate)
        for concern in state.concerns():
            log.warning("SES account", relay=self.account, reason=concern)


def _begin(gate: Gate) -> bool:
    if not gate():
        return False
    failpoint("relay.ses.mid_body")
    return True
