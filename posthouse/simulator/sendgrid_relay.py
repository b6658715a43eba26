"""SendGrid's send API for one account: takes mail, answers as SendGrid does, tells the rest by webhook."""

import hmac
import os
import random
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp.web import (
    Application,
    HTTPException,
    HTTPRequestEntityTooLarge,
    Request,
    Response,
    StreamResponse,
    middleware,
    post,
)

from posthouse.simulator.carrier import Carrier, Posted, Told, Tracking
from posthouse.simulator.course import Course, Step
from posthouse.simulator.events import EventKind
from posthouse.simulator.http_faults import Refusals, answer, refused_by
from posthouse.simulator.ledger import LedgerEntry, Outcome, Via
from posthouse.simulator.letter import Envelope, read_html
from posthouse.simulator.sendgrid_events import Named, event_id, payload
from posthouse.simulator.sendgrid_lists import DROPPED, ListName, ListsApi, SuppressionLists
from posthouse.simulator.sendgrid_schema import (
    ApiError,
    ApiErrors,
    BadRequestError,
    MailSend,
    Personalization,
    parse_mail_send,
)
from posthouse.simulator.sendgrid_signing import SendGridStyle, load_signer
from posthouse.simulator.settings import SendGridAccount
from posthouse.simulator.views import MessageView, unreadable
from posthouse.simulator.world import HttpSide, World

JOB_ARGUMENT = "posthouse_job"
ATTEMPT_ARGUMENT = "posthouse_attempt"
_OVERHEAD_BYTES = 1024 * 1024  # above the limit, so that it is ours to refuse
_ENCODER = msgspec.json.Encoder()
_UNAUTHORIZED = ApiError("The provided authorization grant is invalid, expired, or revoked")
_RETRY_SECONDS = 2
_SEND = "/v3/mail/send"
#: The list that an event of a mail puts its address on.
_LISTS = {
    EventKind.HARD: ListName.BOUNCES,
    EventKind.COMPLAINT: ListName.SPAM,
    EventKind.UNSUBSCRIBE: ListName.UNSUBSCRIBES,
}


def sendgrid_side(world: World, account: SendGridAccount) -> HttpSide:
    """Raises BadSettingsError for a key that is none."""
    signer = load_signer(account.key_path)
    webhook = world.webhook(account.name, account.webhook_url, SendGridStyle(signer), account.habits)
    carrier = Carrier(account.name, Via.SENDGRID, world, webhook)
    relay = SendGridRelay(account, world, carrier)
    return HttpSide(Via.SENDGRID, relay.app(), webhook, signer.public_key)


class SendGridRelay:
    def __init__(self, account: SendGridAccount, world: World, carrier: Carrier) -> None:
        self.account = account.name
        self._key = account.api_key.encode()
        self._world = world
        self._carrier = carrier
        self._rng = random.Random(os.urandom(16))  # noqa: S311  # ids that differ between runs on one ledger
        self._max_bytes = world.settings.max_message_bytes
        self._lists = SuppressionLists()

    def app(self) -> Application:
        middlewares = [_in_sendgrid_shape, self._with_key]
        app = Application(client_max_size=self._max_bytes + _OVERHEAD_BYTES, middlewares=middlewares)
        app.add_routes([post(_SEND, self.send), *ListsApi(self._lists, self._now).routes()])
        return app

    async def send(self, request: Request) -> Response:
        fault = self._world.faults.take(self.account)
        failed = await refused_by(fault, request, self._refusals())
        if failed is not None:
            return failed
        if not self._authorized(request):
            return _refusal(401, _UNAUTHORIZED)
        if request.content_type != "application/json":
            return _refusal(415, ApiError("Content-Type should be application/json."))
        body = await request.read()
        if len(body) > self._max_bytes:
            return _refusal(413, ApiError("The request payload is too large."))
        try:
            mail = parse_mail_send(body)
        except BadRequestError as error:
            return _refusal(400, *error.errors)
        if mail.mail_settings.sandbox_mode.enable:
            return Response(status=200)
        message_id = urlsafe_b64encode(self._rng.randbytes(16)).decode().rstrip("=")
        await self._carrier.take(self._posts(mail, message_id), body)
        return await answer(fault, request, Response(status=202, headers={"X-Message-Id": message_id}))

    def _posts(self, mail: MailSend, message_id: str) -> list[Posted]:
        return [
            self._posted(mail, personalization, address.email, message_id)
            for personalization in mail.personalizations
            for _, _, address in personalization.everybody()
        ]

    def _posted(
        self, mail: MailSend, personalization: Personalization, address: str, message_id: str
    ) -> Posted:
        arguments = {**mail.custom_args, **personalization.custom_args}
        named = Named(message_id, arguments, mail.categories)
        stopped_by = self._lists.stops(address, self._now())
        return _posted(
            mail,
            personalization,
            address,
            named,
            tell=lambda told: self._tell(told, named, stopped_by),
            course=None if stopped_by is None else _stopped(),
        )

    def _tell(self, told: Told, named: Named, stopped_by: ListName | None) -> bytes:
        name = _LISTS.get(told.step.kind)
        if name is not None:
            self._lists.add(name, told.mailbox.address, told.occurred_at, told.mailbox.reply)
        event = event_id(named.message_id, told.mailbox.address, told.step)
        dropped = None if stopped_by is None else DROPPED[stopped_by]
        return payload(told.step, told.mailbox, named, told.occurred_at, event, dropped)

    def _now(self) -> float:
        return self._world.clock.now().timestamp()

    @middleware
    async def _with_key(
        self, request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]
    ) -> StreamResponse:
        """The lists; what is sent has its faults looked at before its key."""
        if request.path != _SEND and not self._authorized(request):
            return _refusal(401, _UNAUTHORIZED)
        return await handler(request)

    def _refusals(self) -> Refusals:
        reset = str(int(self._now()) + _RETRY_SECONDS)
        limits = {"X-RateLimit-Limit": "600", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
        return Refusals(
            throttled=_refusal(429, ApiError("too many requests"), headers=limits),
            in_trouble=_refusal(503, ApiError("Service Unavailable")),
            unauthorized=_refusal(401, _UNAUTHORIZED),
        )

    def _authorized(self, request: Request) -> bool:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(key.strip().encode(), self._key)


def _posted(
    mail: MailSend,
    personalization: Personalization,
    address: str,
    named: Named,
    *,
    tell: Callable[[Told], bytes],
    course: Course | None,
) -> Posted:
    arguments = named.custom_args
    attempt = arguments.get(ATTEMPT_ARGUMENT, "")
    envelope = Envelope(
        subject=personalization.subject or mail.subject or "",
        message_id=named.message_id,
        job_id=arguments.get(JOB_ARGUMENT),
        attempt=int(attempt) if attempt.isdecimal() and len(attempt) < 10 else None,
    )
    headers = mail.all_headers(personalization)
    unsubscribe = headers.get("list-unsubscribe", "")
    one_click = headers.get("list-unsubscribe-post", "")
    tracking = mail.tracking_settings
    return Posted(
        address=address,
        sender=mail.sender.email if mail.sender is not None else "",
        envelope=envelope,
        read=lambda: read_html(mail.html(), unsubscribe, one_click),
        tell=tell,
        course=course,
        tracking=Tracking(
            opens=tracking.open_tracking.enable,
            clicks=tracking.click_tracking.enable,
            unsubscribes=tracking.subscription_tracking.enable,
        ),
    )


def _stopped() -> Course:
    """Taken, and never tried."""
    return Course(Outcome.DROPPED, (Step(EventKind.DROPPED, 0.1),), None)


def sendgrid_view(entry: LedgerEntry, body: bytes) -> MessageView:
    """A mail of mail/send; its headers are those of the request."""
    try:
        mail = parse_mail_send(body)
    except BadRequestError:
        return unreadable(entry, body)
    mine = next(
        (p for p in mail.personalizations if any(a.email == entry.to for _, _, a in p.everybody())),
        Personalization(),
    )
    headers = {**mail.headers, **mine.headers}
    raw = body.decode("utf-8", "replace")
    return MessageView(entry, list(headers.items()), mail.text(), mail.html(), raw)


def _refusal(status: int, *errors: ApiError, headers: dict[str, str] | None = None) -> Response:
    body = _ENCODER.encode(ApiErrors(errors))
    return Response(status=status, body=body, content_type="application/json", headers=headers)


@middleware
async def _in_sendgrid_shape(
    request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]
) -> StreamResponse:
    """Errors that aiohttp finds, in SendGrid's words."""
    try:
        return await handler(request)
    except HTTPRequestEntityTooLarge:
        return _refusal(413, ApiError("The request payload is too large."))
    except HTTPException as error:
        return _refusal(error.status, ApiError(error.reason.lower()))
