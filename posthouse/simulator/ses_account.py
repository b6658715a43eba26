"""What an SES account keeps of its own: how much it may send, and whom it refuses to mail."""

from collections import OrderedDict
from typing import Final

from posthouse.simulator.ses_schema import SesError
from posthouse.simulator.settings import SesAccount

_REMEMBERED: Final = 200_000
_BURST: Final = 1.0  # seconds of the rate that may come at once


class Quota:
    """The account's rate and day. Times are of a monotonic clock."""

    def __init__(self, account: SesAccount) -> None:
        self._rate = account.max_send_rate
        self._day = account.max_24_hour_send
        self._next = 0.0
        self.sent = 0

    def take(self, mails: int, now: float) -> None:
        """Raises SesError, as a 429."""
        if self._day is not None and self.sent + mails > self._day:
            raise SesError(429, "TooManyRequestsException", "Daily message quota exceeded.")
        if self._rate is not None:
            start = max(self._next, now - _BURST)
            if start > now:
                raise SesError(429, "TooManyRequestsException", "Maximum sending rate exceeded.")
            self._next = start + mails / self._rate
        self.sent += mails

    def shown(self) -> dict[str, object]:
        """GetAccount."""
        return {
            "SendQuota": {
                "Max24HourSend": -1.0 if self._day is None else float(self._day),
                "MaxSendRate": -1.0 if self._rate is None else self._rate,
                "SentLast24Hours": float(self.sent),
            },
            "SendingEnabled": True,
            "ProductionAccessEnabled": True,
            "EnforcementStatus": "HEALTHY",
        }


class SuppressionList:
    """The account's own: who bounced hard or complained is not mailed again. Forgets the oldest."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def add(self, address: str, reason: str, since: float) -> None:
        """`since`: Unix time. One reason for each address: the last."""
        self._entries[address.lower()] = (reason, since)
        if len(self._entries) > _REMEMBERED:
            self._entries.popitem(last=False)

    def has(self, address: str) -> bool:
        return address.lower() in self._entries

    def remove(self, address: str) -> None:
        """Raises SesError, as a 404."""
        self.reason(address)
        del self._entries[address.lower()]

    def reason(self, address: str) -> str:
        """Raises SesError, as a 404."""
        found = self._entries.get(address.lower())
        if found is None:
            raise SesError(404, "NotFoundException", f"Email address {address} does not exist on the list.")
        return found[0]

    def page(self, size: int, token: str) -> dict[str, object]:
        """ListSuppressedDestinations. The token is the last address of the page before."""
        behind = sorted(address for address in self._entries if address > token)
        shown = [
            {"EmailAddress": address, "Reason": reason, "LastUpdateTime": since}
            for address in behind[:size]
            for reason, since in [self._entries[address]]
        ]
        return {
            "SuppressedDestinationSummaries": shown,
            "NextToken": behind[size - 1] if len(behind) > size else None,
        }
