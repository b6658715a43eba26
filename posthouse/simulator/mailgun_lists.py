"""Mailgun's suppression lists of one domain: bounces, unsubscribes, complaints."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from enum import StrEnum
from itertools import islice


class ListName(StrEnum):
    """In the order in which Mailgun's reasons are told where an address is on several."""

    BOUNCES = "bounces"
    UNSUBSCRIBES = "unsubscribes"
    COMPLAINTS = "complaints"


#: What each list calls itself where an address is not on it.
TABLE_NAMES: Mapping[ListName, str] = {
    ListName.BOUNCES: "bounces",
    ListName.UNSUBSCRIBES: "unsubscribers",
    ListName.COMPLAINTS: "spam complaints",
}


@dataclass(frozen=True, slots=True)
class Listed:
    address: str
    since: float  # Unix time in seconds
    error: str = ""


class SuppressionLists:
    """What is put on a list for later counts from then on."""

    def __init__(self) -> None:
        self._lists: dict[ListName, dict[str, Listed]] = {name: {} for name in ListName}

    def add(self, name: ListName, address: str, since: float, error: str = "") -> None:
        """An address that is there stays as it is."""
        self._lists[name].setdefault(address.lower(), Listed(address, since, error))

    def remove(self, name: ListName, address: str) -> bool:
        return self._lists[name].pop(address.lower(), None) is not None

    def stops(self, address: str, now: float) -> ListName | None:
        """The list that keeps mail from this address; None: it is tried."""
        return next((name for name in ListName if self.find(name, address, now) is not None), None)

    def find(self, name: ListName, address: str, now: float) -> Listed | None:
        listed = self._lists[name].get(address.lower())
        return listed if listed is not None and listed.since <= now else None

    def items(self, name: ListName, now: float, limit: int, after: str = "") -> list[dict[str, str]]:
        """In alphabetical order, as the API has them; `after`: the last address of the page before."""
        known = sorted(self._lists[name].items())
        behind = (listed for key, listed in known if key > after.lower() and listed.since <= now)
        return [view(name, listed) for listed in islice(behind, limit)]


def view(name: ListName, listed: Listed) -> dict[str, str]:
    shown = {"address": listed.address, "created_at": formatdate(listed.since, usegmt=True)}
    match name:
        case ListName.BOUNCES:
            return shown | {"code": "550", "error": listed.error}
        case ListName.UNSUBSCRIBES:
            return shown | {"tag": "*"}
        case ListName.COMPLAINTS:
            return shown
