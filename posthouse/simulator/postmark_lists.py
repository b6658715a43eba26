"""The suppression lists of a Postmark server, one for each message stream, and the API that shows them.

https://postmarkapp.com/developer/api/suppressions-api
"""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from posthouse.simulator.postmark_events import stamp
from posthouse.simulator.postmark_schema import RefusedError

_AT_ONCE = 50
_NEVER = "9999-12-31"


class Reason(StrEnum):
    HARD_BOUNCE = "HardBounce"
    SPAM_COMPLAINT = "SpamComplaint"
    MANUAL = "ManualSuppression"


class Origin(StrEnum):
    RECIPIENT = "Recipient"
    CUSTOMER = "Customer"


@dataclass(frozen=True, slots=True)
class _Entry:
    address: str
    reason: Reason
    origin: Origin
    since: float  # Unix time; a bounce that is still to come suppresses then


class _Address(msgspec.Struct, frozen=True, rename="pascal"):
    email_address: str


class _Asked(msgspec.Struct, frozen=True, rename="pascal"):
    suppressions: list[_Address]


_ASKED = msgspec.json.Decoder(_Asked)


class SuppressionLists:
    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], _Entry] = {}

    def add(self, stream: str, address: str, reason: Reason, origin: Origin, since: float) -> None:
        """A complaint stays one; all else is what came last."""
        key = (stream, address.lower())
        held = self._entries.get(key)
        if held is None or held.reason is not Reason.SPAM_COMPLAINT:
            self._entries[key] = _Entry(address, reason, origin, since)

    def has(self, stream: str, address: str, now: float) -> bool:
        entry = self._entries.get((stream, address.lower()))
        return entry is not None and entry.since <= now

    def dump(
        self, stream: str, now: float, address: str | None, first: str = "", last: str = ""
    ) -> list[dict[str, str]]:
        """`first`, `last`: only of these days and those between, as ISO dates."""
        return [
            {
                "EmailAddress": entry.address,
                "SuppressionReason": entry.reason,
                "Origin": entry.origin,
                "CreatedAt": stamp(entry.since),
            }
            for (listed_in, key), entry in self._entries.items()
            if listed_in == stream and entry.since <= now and address in (None, key)
            if first <= stamp(entry.since)[:10] <= (last or _NEVER)
        ]

    def create(self, stream: str, body: bytes, now: float) -> list[dict[str, str | None]]:
        """Raises RefusedError."""
        said = []
        for address in _addresses(body):
            if "@" not in address:
                said.append(_status(address, "Failed", "An invalid email address was provided."))
                continue
            self.add(stream, address, Reason.MANUAL, Origin.CUSTOMER, now)
            said.append(_status(address, "Suppressed", None))
        return said

    def delete(self, stream: str, body: bytes) -> list[dict[str, str | None]]:
        """What a recipient asked for itself stays. Raises RefusedError."""
        said = []
        for address in _addresses(body):
            entry = self._entries.get((stream, address.lower()))
            if entry is not None and not _may_go(entry):
                why = "You do not have the required authority to change this suppression."
                said.append(_status(address, "Failed", why))
                continue
            self._entries.pop((stream, address.lower()), None)
            said.append(_status(address, "Deleted", None))
        return said


def _may_go(entry: _Entry) -> bool:
    return entry.reason is Reason.HARD_BOUNCE or entry.origin is Origin.CUSTOMER


def _addresses(body: bytes) -> list[str]:
    try:
        asked = _ASKED.decode(body).suppressions
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(1409, "A proper request body must be provided.") from error
    if len(asked) > _AT_ONCE:
        raise RefusedError(
            1410, "You cannot provide more than the maximum number of suppressions for this request."
        )
    return [one.email_address for one in asked]


def _status(address: str, status: str, message: str | None) -> dict[str, str | None]:
    return {"EmailAddress": address, "Status": status, "Message": message}
