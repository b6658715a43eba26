"""The simulator's own HTTP interface: what it got, what it decided, and faults to order."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from aiohttp.web import (
    Application,
    HTTPBadRequest,
    HTTPException,
    HTTPNotFound,
    Request,
    Response,
    StreamResponse,
    delete,
    get,
    middleware,
    post,
)

from posthouse.simulator.events import EventLog
from posthouse.simulator.faults import FaultBoard
from posthouse.simulator.ledger import Ledger, LedgerEntry, Via
from posthouse.simulator.loopback import LoopbackBrowser
from posthouse.simulator.people import Agenda
from posthouse.simulator.postman import Postman
from posthouse.simulator.settings import BadSettingsError, FaultSpec, check_fault
from posthouse.simulator.store import MessageStore
from posthouse.simulator.views import MessageView, mime_view
from posthouse.simulator.webhooks import Outbox

_PAGE = 100
_PAGE_MOST = 1000
_ENCODER = msgspec.json.Encoder()


class AccountInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An account as a sender needs to know it. `public_key`: base64 DER SubjectPublicKeyInfo."""

    name: str
    kind: Via
    host: str
    port: int
    url: str
    public_key: str | None = None
    webhook_url: str | None = None
    security: str | None = None
    certificate_path: str | None = None


#: How a mail that came in by this way is shown; one that is not named came as MIME.
Views = Mapping[Via, Callable[[LedgerEntry, bytes], MessageView]]


class Control:
    def __init__(
        self,
        *,
        accounts: Sequence[AccountInfo],
        ledger: Ledger,
        store: MessageStore,
        events: EventLog,
        agenda: Agenda,
        browser: LoopbackBrowser,
        outboxes: Mapping[str, Outbox],
        postmen: Mapping[str, Postman],
        faults: FaultBoard,
        views: Views,
    ) -> None:
        self._accounts = accounts
        self._ledger = ledger
        self._store = store
        self._events = events
        self._agenda = agenda
        self._browser = browser
        self._outboxes = outboxes
        self._postmen = postmen
        self._faults = faults
        self._views = views

    def app(self) -> Application:
        app = Application(middlewares=[_plain_errors])
        app.add_routes(
            [
                get("/sim/accounts", self.accounts),
                get("/sim/messages", self.messages),
                get(r"/sim/messages/{n:\d{1,18}}", self.message),
                get("/sim/ledger/summary", self.ledger_summary),
                get("/sim/events/summary", self.events_summary),
                get("/sim/faults", self.faults),
                post("/sim/faults", self.set_fault),
                delete("/sim/faults", self.clear_faults),
                get("/sim/idle", self.idle),
            ]
        )
        return app

    async def accounts(self, request: Request) -> Response:
        return _json(self._accounts)

    async def messages(self, request: Request) -> Response:
        """?to= (an address), ?after= (an n), ?limit= (at most 1,000): ledger entries, oldest first."""
        limit = min(_number(request, "limit", _PAGE), _PAGE_MOST)
        after = _number(request, "after", 0)
        return _json(self._store.find(to=request.query.get("to"), after=after, limit=limit))

    async def message(self, request: Request) -> Response:
        n = int(request.match_info["n"])
        entry, body = self._store.entry(n), self._store.body(n)
        if entry is None:
            raise HTTPNotFound(text=f"No message {n} in the index")
        if body is None:
            raise HTTPNotFound(text="Bodies are not kept")
        return _json(self._views.get(entry.via, mime_view)(entry, body))

    async def ledger_summary(self, request: Request) -> Response:
        return _json(self._ledger.summary() | {"not_indexed": self._store.not_indexed})

    async def events_summary(self, request: Request) -> Response:
        """?account= for one account's counts."""
        webhooks = {
            name: {"undelivered": outbox.pending, "counts": outbox.counts}
            for name, outbox in self._outboxes.items()
        }
        return _json(
            {
                **self._events.summary(request.query.get("account")),
                "webhooks": webhooks,
                "undelivered": sum(outbox.pending for outbox in self._outboxes.values()),
                "people": {
                    "pending": self._agenda.pending,
                    "left_undone": self._agenda.left_undone,
                    "looks_failed": self._agenda.looks_failed,
                    "refused_off_machine": self._browser.refused,
                },
            }
        )

    async def faults(self, request: Request) -> Response:
        return _json([{"fault": f.spec, "left": f.left, "hits": f.hits} for f in self._faults.listed()])

    async def set_fault(self, request: Request) -> Response:
        try:
            spec = msgspec.json.decode(await request.read(), type=FaultSpec)
            check_fault(spec, frozenset(account.name for account in self._accounts))
        except (msgspec.DecodeError, UnicodeDecodeError, BadSettingsError) as error:
            raise HTTPBadRequest(text=str(error)) from error
        await self._faults.set(spec)
        return _json({"fault": spec}, status=201)

    async def clear_faults(self, request: Request) -> Response:
        """?account= for the faults set for one account only."""
        await self._faults.clear(request.query.get("account"))
        return Response(status=204)

    async def idle(self, request: Request) -> Response:
        people = self._agenda.pending
        events = sum(outbox.pending for outbox in self._outboxes.values())
        reports = sum(postman.pending for postman in self._postmen.values())
        return _json(
            {
                "idle": people + events + reports == 0,
                "people": people,
                "webhook_events": events,
                "mailed_reports": reports,
            }
        )


def _number(request: Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or len(text) > 18:
        raise HTTPBadRequest(text=f"{name} must be a number")
    return int(text)


def _json(value: object, status: int = 200) -> Response:
    return Response(status=status, body=_ENCODER.encode(value), content_type="application/json")


@middleware
async def _plain_errors(
    request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]
) -> StreamResponse:
    try:
        return await handler(request)
    except HTTPException as error:
        return _json({"error": error.text or error.reason}, error.status)
