"""What an account may send, as GetAccount says it, and what of that an operator should know.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_GetAccount.html
"""

from typing import Final

import msgspec

#: Of the 24 hours' allowance: from here on the operator is told.
NEARLY_OUT: Final = 0.9


class SendQuota(msgspec.Struct, frozen=True, rename="pascal"):
    """Of the running 24 hours, in this region. -1: without limit."""

    max24_hour_send: float = msgspec.field(name="Max24HourSend", default=-1.0)
    max_send_rate: float = -1.0  # mails a second
    sent_last24_hours: float = msgspec.field(name="SentLast24Hours", default=0.0)


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


_DECODER = msgspec.json.Decoder(AccountState)


def account_state(body: bytes) -> AccountState | None:
    """None when the body is not GetAccount's."""
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
