"""SendGrid's suppression lists of one account, and the API that shows them.

https://www.twilio.com/docs/sendgrid/api-reference/bounces-api and its neighbours. Mail to an address on one
of them is taken, and dropped with the list's words for its reason.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from aiohttp.web import Request, Response, RouteDef, delete, get, post

_ENCODER = msgspec.json.Encoder()
_MOST = 500
_GLOBAL = "/v3/asm/suppressions/global"


class ListName(StrEnum):
    """As in the path. In the order in which reasons are told where an address is on several."""

    BOUNCES = "bounces"
    INVALID = "invalid_emails"
    SPAM = "spam_reports"
    UNSUBSCRIBES = "unsubscribes"


#: What `dropped` says of an address that is on the list.
DROPPED: dict[ListName, str] = {
    ListName.BOUNCES: "Bounced Address",
    ListName.INVALID: "Invalid",
    ListName.SPAM: "Spam Reporting Address",
    ListName.UNSUBSCRIBES: "Unsubscribed Address",
}


@dataclass(frozen=True, slots=True)
class _Listed:
    address: str
    since: float  # Unix time; a bounce that is still to come is listed then
    reason: str


class _ToList(msgspec.Struct, frozen=True):
    recipient_emails: list[str]


_TO_LIST = msgspec.json.Decoder(_ToList)


class SuppressionLists:
    def __init__(self) -> None:
        self._lists: dict[ListName, dict[str, _Listed]] = {name: {} for name in ListName}

    def add(self, name: ListName, address: str, since: float, reason: str = "") -> None:
        """An address that is there stays as it is."""
        self._lists[name].setdefault(address.lower(), _Listed(address, since, reason))

    def remove(self, name: ListName, address: str) -> bool:
        return self._lists[name].pop(address.lower(), None) is not None

    def stops(self, address: str, now: float) -> ListName | None:
        """The list that keeps mail from this address; None: it is tried."""
        return next((name for name in ListName if self._find(name, address, now) is not None), None)

    def page(self, name: ListName, now: float, limit: int, offset: int) -> list[dict[str, str | int]]:
        """The newest first."""
        known = sorted(self._lists[name].values(), key=lambda one: (-one.since, one.address))
        return [_view(name, one) for one in known if one.since <= now][offset : offset + limit]

    def _find(self, name: ListName, address: str, now: float) -> _Listed | None:
        listed = self._lists[name].get(address.lower())
        return listed if listed is not None and listed.since <= now else None


def _view(name: ListName, listed: _Listed) -> dict[str, str | int]:
    shown: dict[str, str | int] = {"email": listed.address, "created": int(listed.since)}
    match name:
        case ListName.BOUNCES:
            return shown | {"reason": listed.reason, "status": "5.1.1"}
        case ListName.INVALID:
            return shown | {"reason": listed.reason}
        case ListName.SPAM:
            return shown | {"ip": "127.0.0.1"}
        case ListName.UNSUBSCRIBES:
            return shown


class ListsApi:
    """The routes of one account's lists. Whoever serves them has looked at the key."""

    def __init__(self, lists: SuppressionLists, now: Callable[[], float]) -> None:
        self._lists = lists
        self._now = now

    def routes(self) -> list[RouteDef]:
        named = "/v3/suppression/{list:bounces|invalid_emails|spam_reports}"
        return [
            get("/v3/suppression/{list:bounces|invalid_emails|spam_reports|unsubscribes}", self.page),
            delete(named + "/{address}", self.remove),
            post(_GLOBAL, self.unsubscribe),
            delete(_GLOBAL + "/{address}", self.resubscribe),
        ]

    async def page(self, request: Request) -> Response:
        query = request.query
        try:
            limit, offset = int(query.get("limit", _MOST)), int(query.get("offset", 0))
        except ValueError:
            return _refused("limit and offset are numbers")
        if not 0 < limit <= _MOST or offset < 0:
            return _refused(f"limit is between 1 and {_MOST}")
        return _json(self._lists.page(ListName(request.match_info["list"]), self._now(), limit, offset))

    async def remove(self, request: Request) -> Response:
        if self._lists.remove(ListName(request.match_info["list"]), request.match_info["address"]):
            return Response(status=204)
        return _json({"errors": [{"field": None, "message": "email not found"}]}, 404)

    async def unsubscribe(self, request: Request) -> Response:
        try:
            wanted = _TO_LIST.decode(await request.read()).recipient_emails
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return _refused("recipient_emails is required")
        if not wanted or not all("@" in address for address in wanted):
            return _refused("invalid email address")
        for address in wanted:
            self._lists.add(ListName.UNSUBSCRIBES, address, self._now())
        return _json({"recipient_emails": wanted}, 201)

    async def resubscribe(self, request: Request) -> Response:
        self._lists.remove(ListName.UNSUBSCRIBES, request.match_info["address"])
        return Response(status=204)


def _json(value: object, status: int = 200) -> Response:
    return Response(status=status, body=_ENCODER.encode(value), content_type="application/json")


def _refused(message: str) -> Response:
    return _json({"errors": [{"field": None, "message": message}]}, 400)
