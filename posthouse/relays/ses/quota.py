"""What an account may send, as GetAccount says it, and what of that an operator should know.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetAccount.html
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from posthouse.net.client import Reply
from posthouse.relays.ses.api import AwsApi, Endpoint
from posthouse.relays.ses.replies import failure

#: Of the 24 hours' allowance: from here on the operator is told.
NEARLY_OUT: Final = 0.9


class SendQuota(msgspec.Struct, frozen=True, rename="pascal"):
    """Of the running 24 hours, in this region. -1: without limit."""

    max24_hour_send: float = msgspec.field(name="Max24HourSend", default=-1.0)
    max_send_rate: float = -1.0  # mails a second
    sent_last24_hours: float = msgspec.field(name="SentLast24Hours", default=0.0)

    @property
    def words(self) -> str:
        """For people."""
        rate = "any number" if self.max_send_rate < 0 else f"{self.max_send_rate:g}"
        day = "no limit" if self.max24_hour_send < 0 else f"{self.max24_hour_send:.0f}"
        return f"{rate} mails a second, {self.sent_last24_hours:.0f} sent in 24 hours (limit: {day})"


class AccountState(msgspec.Struct, frozen=True, rename="pascal"):
    """An account in one region."""

    send_quota: SendQuota = SendQuota()
    sending_enabled: bool = True
    production_access_enabled: bool = True
    enforcement_status: str = "HEALTHY"  # PROBATION, SHUTDOWN

    def concerns(self) -> list[str]:
        """What the operator should see, in words; [] when all is well."""
        found: list[str] = []
        quota = self.send_quota
        if not self.sending_enabled:
            found.append("SES has stopped this account's sending")
        if self.enforcement_status != "HEALTHY":
            found.append(f"SES has this account under review: {self.enforcement_status[:40]}")
        if not self.production_access_enabled:
            found.append("the account is in the SES sandbox: only verified addresses can be mailed")
        if quota.max24_hour_send > 0 and quota.sent_last24_hours >= NEARLY_OUT * quota.max24_hour_send:
            found.append(
                f"{quota.sent_last24_hours:.0f} of the {quota.max24_hour_send:.0f} mails of 24 hours are sent"
            )
        return found


@dataclass(frozen=True, slots=True)
class NoState:
    """SES did not say. `status` None: it did not answer at all."""

    status: int | None
    reason: str


_DECODER = msgspec.json.Decoder(AccountState)


def account_state(body: bytes) -> AccountState | None:
    """None when the body is not GetAccount's."""
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


async def ask_account(api: AwsApi, where: Endpoint) -> AccountState | NoState:
    """GetAccount. Raises Misconfigured when there are no credentials."""
    answer = await api.get(where, where.url / "v2/email/account")
    if not isinstance(answer, Reply):
        return NoState(None, f"no answer: {type(answer).__name__}")
    if answer.status != 200:
        said = failure(answer)
        return NoState(answer.status, f"{answer.status} {said.error} {said.message}".strip())
    return account_state(answer.body) or NoState(200, "the answer is not GetAccount's")
