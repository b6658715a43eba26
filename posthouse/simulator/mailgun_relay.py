"""Mailgun's API for one domain: takes raw mail, answers as Mailgun does, can be asked, tells the rest."""

import hmac
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate

import msgspec
from aiohttp.web import (
    Application,
    HTTPException,
    HTTPRequestEntityTooLarge,
    Request,
    Response,
    StreamResponse,
    delete,
    get,
    middleware,
    post,
)

from posthouse.simulator.carrier import Carrier, Posted, Told
from posthouse.simulator.course import Course, Step
from posthouse.simulator.events import EventKind
from posthouse.simulator.http_faults import Refusals, answer, refused_by
from posthouse.simulator.ledger import Outcome, Via
from posthouse.simulator.letter import Envelope, read_mail, scan_headers
from posthouse.simulator.mailgun_events import MailgunLog, MailgunStyle, Named, event_of
from posthouse.simulator.mailgun_lists import TABLE_NAMES, ListName, SuppressionLists, view
from posthouse.simulator.multipart import form_fields
from posthouse.simulator.settings import MailgunAccount
from posthouse.simulator.world import HttpSide, World

JOB_VARIABLE = "posthouse_job"
ATTEMPT_VARIABLE = "posthouse_attempt"
_OVERHEAD_BYTES = 1024 * 1024  # above the limit, so that it is ours to refuse
_RETRY_SECONDS = 2
_HOUR = 3600.0
_ADDRESS = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+\.[^\s@<>,;]+")
_ENCODER = msgspec.json.Encoder()
_NO_PATH = "Mailgun Magnificent API"
#: The list that an event of a mail puts its address on.
_LISTS = {
    EventKind.HARD: ListName.BOUNCES,
    EventKind.COMPLAINT: ListName.COMPLAINTS,
    EventKind.UNSUBSCRIBE: ListName.UNSUBSCRIBES,
}


class RefusedError(Exception):
    """A request that is not taken."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class _Form:
    """What messages.mime is asked."""

    to: tuple[str, ...]
    message: bytes
    variables: Mapping[str, str]
    test: bool


class _ToList(msgspec.Struct, frozen=True):
    address: str
    error: str = ""


_TO_LIST = msgspec.json.Decoder(list[_ToList])
_LISTED_AT_ONCE = 1000


def mailgun_side(world: World, account: MailgunAccount) -> HttpSide:
    style = MailgunStyle(account.signing_key)
    webhook = world.webhook(account.name, account.webhook_url, style, account.habits)
    carrier = Carrier(account.name, Via.MAILGUN, world, webhook)
    return HttpSide(Via.MAILGUN, MailgunRelay(account, world, carrier).app(), webhook)


class MailgunRelay:
    def __init__(self, account: MailgunAccount, world: World, carrier: Carrier) -> None:
        self._account = account
        self._authorization = f"Basic {b64encode(f'api:{account.api_key}'.encode()).decode()}"
        self._world = world
        self._carrier = carrier
        self._lists = SuppressionLists()
        self._log = MailgunLog(world.settings.index_max)
        self._hour = 0.0  # when the hour began in which mails are counted
        self._in_this_hour = 0
        self._serial = 0
        self._max_bytes = world.settings.max_message_bytes

    def app(self) -> Application:
        app = Application(
            client_max_size=self._max_bytes + _OVERHEAD_BYTES, middlewares=[self._in_mailguns_way]
        )
        lists = "/v3/{domain}/{list:bounces|unsubscribes|complaints}"
        app.add_routes(
            [
                post("/v3/{domain}/messages.mime", self.send),
                get("/v3/{domain}/events", self.events),
                get(lists, self.listed),
                post(lists, self.suppress),
                get(lists + "/{address}", self.one_listed),
                delete(lists + "/{address}", self.unlist),
            ]
        )
        return app

    async def send(self, request: Request) -> Response:
        fault = self._world.faults.take(self._account.name)
        failed = await refused_by(fault, request, self._refusals())
        if failed is not None:
            return failed
        form = await self._form(request)
        self._count(len(form.to))
        message_id = self._message_id(form)
        if not form.test:
            posts = [self._posted(form, address, message_id) for address in form.to]
            await self._carrier.take(posts, form.message)
        said = {"id": f"<{message_id}>", "message": "Queued. Thank you."}
        return await answer(fault, request, _json(said))

    async def events(self, request: Request) -> Response:
        """The pages before and after are always empty here."""
        try:
            found = self._log.find(request.query, self._now())
        except ValueError as error:
            raise RefusedError(400, f"{error}") from error
        page = str(request.url.with_query(None) / "empty")
        return _json({"items": found, "paging": {"next": page, "previous": page}})

    async def listed(self, request: Request) -> Response:
        """Up to 1,000 a page. The last page has a link to the next one as well, which is empty."""
        limit = min(int(request.query.get("limit", "100")), _LISTED_AT_ONCE)
        found = self._lists.items(_list(request), self._now(), limit, request.query.get("address", ""))
        last = found[-1]["address"] if found else request.query.get("address", "")
        links = {"next": str(request.url.with_query(page="next", address=last, limit=str(limit)))}
        return _json({"items": found, "paging": links})

    async def suppress(self, request: Request) -> Response:
        """One by a form, or up to 1,000 as JSON, of which all are taken or none."""
        name = _list(request)
        if request.content_type == "application/json":
            return await self._suppress_all(name, await request.read())
        form = await request.post()
        address = str(form.get("address", ""))
        if not _ADDRESS.fullmatch(address):
            raise RefusedError(400, "Invalid address")
        self._lists.add(name, address, self._now(), str(form.get("error", "")))
        return _json({"message": f"Address has been added to the {name} table", "address": address})

    async def _suppress_all(self, name: ListName, body: bytes) -> Response:
        try:
            asked = _TO_LIST.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RefusedError(400, "Invalid request body") from error
        if len(asked) > _LISTED_AT_ONCE:
            raise RefusedError(400, "Batch size should be less than 1000")
        if not all(_ADDRESS.fullmatch(one.address) for one in asked):
            raise RefusedError(400, "Invalid address")
        for one in asked:
            self._lists.add(name, one.address, self._now(), one.error)
        return _json({"message": f"{len(asked)} addresses have been added to the {name} table"})

    async def one_listed(self, request: Request) -> Response:
        name = _list(request)
        found = self._lists.find(name, request.match_info["address"], self._now())
        if found is None:
            raise RefusedError(404, f"Address not found in {TABLE_NAMES[name]} table")
        return _json(view(name, found))

    async def unlist(self, request: Request) -> Response:
        name, address = _list(request), request.match_info["address"]
        if not self._lists.remove(name, address):
            raise RefusedError(404, f"Address not found in {TABLE_NAMES[name]} table")
        return _json({"message": "Suppression has been removed", "address": address})

    async def _form(self, request: Request) -> _Form:
        fields = form_fields(request.headers.get("Content-Type", ""), await request.read())
        named = ",".join(field.text for field in fields if field.name == "to")
        to = [one.strip() for one in named.split(",") if one.strip()]
        if not to:
            raise RefusedError(400, "to parameter is missing")
        if not all(_ADDRESS.fullmatch(address) for address in to):
            raise RefusedError(400, "'to' parameter is not a valid address. please check documentation")
        message = next((field for field in fields if field.name == "message" and field.is_file), None)
        if message is None:
            raise RefusedError(400, "message parameter is missing")
        if len(message.value) > self._max_bytes:
            raise RefusedError(413, "Request Entity Too Large")
        variables = {field.name[2:]: field.text for field in fields if field.name.startswith("v:")}
        test = any(field.name == "o:testmode" and field.text in ("yes", "true") for field in fields)
        return _Form(tuple(to), message.value, variables, test)

    def _count(self, mails: int) -> None:
        """Raises RefusedError for what is above the hour's limit."""
        limit, now = self._account.hourly_limit, self._now()
        if limit is None:
            return
        hour = _HOUR * self._world.settings.time_scale
        if now - self._hour >= hour:
            self._hour, self._in_this_hour = now, 0
        if self._in_this_hour + mails > limit:
            when = formatdate(self._hour + hour).replace("-0000", "UTC")
            raise RefusedError(
                420,
                f"Domain {self._account.domain} is not allowed to send: recipient limit exceeded, "
                f"try again after {when}",
            )
        self._in_this_hour += mails

    def _message_id(self, form: _Form) -> str:
        """The mail's own, without its brackets; Mailgun makes one where there is none."""
        own = scan_headers(form.message).message_id.strip().strip("<>")
        self._serial += 1
        return own or f"{self._now():.6f}.{self._serial}@{self._account.domain}"

    def _posted(self, form: _Form, address: str, message_id: str) -> Posted:
        headers = scan_headers(form.message)
        attempt = form.variables.get(ATTEMPT_VARIABLE, "")
        envelope = Envelope(
            subject=headers.subject,
            message_id=message_id,
            job_id=form.variables.get(JOB_VARIABLE),
            attempt=int(attempt) if attempt.isdecimal() and len(attempt) < 10 else None,
        )
        stopped_by = self._lists.stops(address, self._now())
        named = Named(message_id, self._account.domain, headers.subject, form.variables, stopped_by)
        return Posted(
            address=address,
            sender=f"bounce@{self._account.domain}",
            envelope=envelope,
            read=lambda: read_mail(form.message),
            tell=lambda told: self._tell(told, named),
            course=None if stopped_by is None else _stopped(),
        )

    def _tell(self, told: Told, named: Named) -> bytes:
        name = _LISTS.get(told.step.kind)
        if name is not None:
            self._lists.add(name, told.mailbox.address, told.occurred_at, told.mailbox.reply)
        event = event_of(told, named)
        self._log.add(named.message_id, event)
        return _ENCODER.encode(event)

    def _refusals(self) -> Refusals:
        when = formatdate(self._now() + _RETRY_SECONDS, usegmt=True)
        return Refusals(
            throttled=_refusal(429, f"Too many requests, try again after {when}"),
            in_trouble=_refusal(503, "Service Unavailable"),
            unauthorized=_forbidden(),
        )

    def _now(self) -> float:
        return self._world.clock.now().timestamp()

    @middleware
    async def _in_mailguns_way(
        self, request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]
    ) -> StreamResponse:
        """The key and the domain first; a path that is none gets Mailgun's 200."""
        try:
            if request.match_info.http_exception is not None:
                return Response(text=_NO_PATH)
            authorization = request.headers.get("Authorization", "").encode("utf-8", "surrogatepass")
            if not hmac.compare_digest(authorization, self._authorization.encode()):
                return _forbidden()
            domain = request.match_info["domain"]
            if domain != self._account.domain:
                return _refusal(404, f"Domain not found: {domain}")
            return await handler(request)
        except RefusedError as refused:
            return _refusal(refused.status, refused.message)
        except HTTPRequestEntityTooLarge:
            return _refusal(413, "Request Entity Too Large")
        except HTTPException as error:
            return _refusal(error.status, error.reason)
        except ValueError as error:  # a form that is none
            return _refusal(400, str(error))


def _stopped() -> Course:
    """Taken, and never tried."""
    return Course(Outcome.DROPPED, (Step(EventKind.PROCESSED, 0.0), Step(EventKind.DROPPED, 0.1)), None)


def _list(request: Request) -> ListName:
    return ListName(request.match_info["list"])


def _json(value: object, status: int = 200) -> Response:
    return Response(status=status, body=_ENCODER.encode(value), content_type="application/json")


def _refusal(status: int, message: str) -> Response:
    return _json({"message": message}, status)


def _forbidden() -> Response:
    """Mailgun's one answer that is no JSON."""
    return Response(status=401, text="Forbidden")
