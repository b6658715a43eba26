"""SendGrid's send API for one account: takes mail, answers as SendGrid does, tells the rest by webhook."""

import asyncio
import hmac
import random
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

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

from posthouse.clock import Clock
from posthouse.simulator.events import EventKind, MailRef, Stage
from posthouse.simulator.faults import Fault, FaultBoard
from posthouse.simulator.http_listener import cut
from posthouse.simulator.ledger import Via
from posthouse.simulator.letter import Envelope, read_html
from posthouse.simulator.people import (
    FollowLink,
    Intent,
    LoadImages,
    LookAtPage,
    OneClick,
    PressButton,
    ReportSpam,
)
from posthouse.simulator.postoffice import PostOffice, Taken
from posthouse.simulator.providers import Mailbox
from posthouse.simulator.sendgrid_events import Course, Named, Step, course_of, event_id, payload
from posthouse.simulator.sendgrid_schema import (
    ApiError,
    ApiErrors,
    BadRequestError,
    MailSend,
    Personalization,
    TrackingSettings,
    parse_mail_send,
)
from posthouse.simulator.settings import FaultKind, SendGridAccount
from posthouse.simulator.webhooks import Webhook, WebhookEvent

JOB_ARGUMENT = "posthouse_job"
ATTEMPT_ARGUMENT = "posthouse_attempt"
_OVERHEAD_BYTES = 1024 * 1024  # above the limit, so that it is ours to refuse
_ENCODER = msgspec.json.Encoder()
_UNAUTHORIZED = ApiError("The provided authorization grant is invalid, expired, or revoked")
_RETRY_SECONDS = 2


@dataclass(frozen=True, slots=True)
class _Planned:
    """One recipient of one request."""

    mail: Taken
    course: Course
    personalization: Personalization


class SendGridRelay:
    def __init__(
        self,
        account: SendGridAccount,
        *,
        office: PostOffice,
        faults: FaultBoard,
        webhook: Webhook | None,
        clock: Clock,
        rng: random.Random,
        seed: int,
        time_scale: float,
        max_message_bytes: int,
    ) -> None:
        self.account = account.name
        self._key = account.api_key.encode()
        self._office = office
        self._faults = faults
        self._webhook = webhook
        self._clock = clock
        self._rng = rng
        self._seed = seed
        self._scale = time_scale
        self._max_bytes = max_message_bytes

    def app(self) -> Application:
        app = Application(client_max_size=self._max_bytes + _OVERHEAD_BYTES, middlewares=[_in_sendgrid_shape])
        app.add_routes([post("/v3/mail/send", self.send)])
        return app

    # --- one request ---

    async def send(self, request: Request) -> Response:
        fault = self._faults.take(self.account)
        failed = await self._fails(request, fault)
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
        message_id = await self._take(mail, body)
        return await self._accepted(request, fault, message_id)

    async def _fails(self, request: Request, fault: Fault | None) -> Response | None:
        """The answer of a fault that keeps a mail from being taken."""
        match fault.spec.kind if fault is not None else None:
            case FaultKind.HANG if fault is not None:
                await request.read()
                await asyncio.shield(fault.over)
                cut(request)
                return Response(status=500)
            case FaultKind.CUT_MID_BODY:
                await request.content.readany()
                cut(request)
                return Response(status=500)
            case FaultKind.THROTTLE:
                reset = str(int(self._clock.now().timestamp()) + _RETRY_SECONDS)
                limits = {
                    "X-RateLimit-Limit": "600",
                    "X-RateLimit-Remaining": "0",
                    "X-RateLimit-Reset": reset,
                }
                return _refusal(429, ApiError("too many requests"), headers=limits)
            case FaultKind.SERVER_ERROR:
                return _refusal(503, ApiError("Service Unavailable"))
            case FaultKind.UNAUTHORIZED:
                return _refusal(401, _UNAUTHORIZED)
            case _:
                return None

    async def _accepted(self, request: Request, fault: Fault | None, message_id: str) -> Response:
        if fault is not None and fault.spec.kind is FaultKind.CUT_AFTER_BODY:
            cut(request)
        if fault is not None and fault.spec.kind is FaultKind.SLOW:
            await asyncio.sleep(fault.spec.delay_ms / 1000)
        return Response(status=202, headers={"X-Message-Id": message_id})

    def _authorized(self, request: Request) -> bool:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(key.strip().encode(), self._key)

    # --- one mail ---

    async def _take(self, mail: MailSend, body: bytes) -> str:
        """Takes the mail for all its recipients; returns when the ledger is durable."""
        message_id = urlsafe_b64encode(self._rng.randbytes(16)).decode().rstrip("=")
        planned = [
            self._planned(mail, personalization, address.email, message_id)
            for personalization in mail.personalizations
            for _, _, address in personalization.everybody()
        ]
        durable: asyncio.Future[Sequence[MailRef]] = asyncio.get_running_loop().create_future()
        self._office.take([one.mail for one in planned], body, durable.set_result)
        for ref, one in zip(await durable, planned, strict=True):
            self._go(ref, mail, one)
        return message_id

    def _planned(
        self, mail: MailSend, personalization: Personalization, address: str, message_id: str
    ) -> _Planned:
        arguments = {**mail.custom_args, **personalization.custom_args}
        attempt = arguments.get(ATTEMPT_ARGUMENT, "")
        envelope = Envelope(
            subject=personalization.subject or mail.subject or "",
            message_id=message_id,
            job_id=arguments.get(JOB_ARGUMENT),
            attempt=int(attempt) if attempt.isdecimal() and len(attempt) < 10 else None,
        )
        mailbox = self._office.providers.mailbox(address)
        tries_key = f"{address.lower()}\x1f{envelope.job_id or envelope.subject}"
        course = course_of(
            mailbox,
            self._office.providers.delays,
            self._seed,
            envelope.subject,
            lambda tries: self._office.tries.fails(tries_key, tries),
        )
        sender = mail.sender.email if mail.sender is not None else ""
        taken = Taken(self.account, Via.SENDGRID, mailbox, sender, envelope, course.outcome)
        return _Planned(taken, course, personalization)

    def _go(self, ref: MailRef, mail: MailSend, one: _Planned) -> None:
        """Everything that follows the 202: events, and readers where it arrives."""
        now = asyncio.get_running_loop().time()
        arguments = {**mail.custom_args, **one.personalization.custom_args}
        named = Named(one.mail.envelope.message_id, arguments, mail.categories)
        steps = list(one.course.steps)
        if one.course.arrives is not None:
            arrives = one.course.arrives
            plan = self._plan(mail, one)
            complaints = self._office.deliver(ref, plan, now + arrives * self._scale)
            steps += [Step(EventKind.COMPLAINT, (at - now) / self._scale) for at in complaints]
            steps += [step for intent in plan for step in _tracked(intent, arrives, mail.tracking_settings)]
        for step in steps:
            self._tell(ref, one.mail.mailbox, named, step, now)

    def _plan(self, mail: MailSend, one: _Planned) -> list[Intent]:
        headers = mail.all_headers(one.personalization)
        unsubscribe = headers.get("list-unsubscribe", "")
        one_click = headers.get("list-unsubscribe-post", "")
        return self._office.intents(
            one.mail.mailbox, one.mail.envelope, lambda: read_html(mail.html(), unsubscribe, one_click)
        )

    def _tell(self, ref: MailRef, mailbox: Mailbox, named: Named, step: Step, now: float) -> None:
        if self._webhook is None:
            self._office.events.record(step.kind, Stage.DECIDED, ref)
            return
        occurred = self._clock.now().timestamp() + step.after * self._scale
        name = event_id(named.message_id, mailbox.address, step)
        event = WebhookEvent(step.kind, ref, payload(step, mailbox, named, occurred, name))
        self._webhook.send(event, now + step.after * self._scale)


def _tracked(intent: Intent, arrives: float, tracking: TrackingSettings) -> list[Step]:
    """What SendGrid itself would report of a reader's deed, with its tracking switched on."""
    at = arrives + intent.after
    match intent.action:
        case LoadImages(kind=kind, agent=agent) if tracking.open_tracking.enable:
            return [Step(kind, at, agent=agent)]
        case FollowLink(kind=kind, url=url, agent=agent) if tracking.click_tracking.enable:
            return [Step(kind, at, url=url, agent=agent)]
        case OneClick() | PressButton() if tracking.subscription_tracking.enable:
            return [Step(EventKind.UNSUBSCRIBE, at)]
        case LoadImages() | FollowLink() | LookAtPage() | OneClick() | PressButton() | ReportSpam():
            return []


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
