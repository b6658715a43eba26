"""Amazon SES for one account: SendEmail and what surrounds it, with SNS and SQS at the same address."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgspec
from aiohttp.web import (
    Application,
    HTTPException,
    HTTPNotFound,
    Request,
    Response,
    StreamResponse,
    delete,
    get,
    middleware,
    post,
    put,
)

from posthouse.simulator.aws_auth import Arrived, AuthError, Key, check_signature
from posthouse.simulator.carrier import Carrier, Posted, Told
from posthouse.simulator.course import Course, Step
from posthouse.simulator.events import EventKind
from posthouse.simulator.http_faults import Refusals, answer, refused_by
from posthouse.simulator.ledger import Outcome, Via
from posthouse.simulator.letter import Envelope, read_mail, scan_headers
from posthouse.simulator.ses_account import Quota, SuppressionList
from posthouse.simulator.ses_events import Named, head_lines, payload
from posthouse.simulator.ses_schema import SendEmail, SesError, parse_send_email
from posthouse.simulator.settings import SesAccount
from posthouse.simulator.sns_topic import SnsStyle, Subscription, Topic, load_key, make_certificate
from posthouse.simulator.sqs_queue import BadQueueRequestError, SqsQueue
from posthouse.simulator.webhooks import WebhookEvent
from posthouse.simulator.world import HttpSide, World

JOB_TAG: Final = "posthouse_job"
ATTEMPT_TAG: Final = "posthouse_attempt"
_REQUEST_BYTES: Final = 60 * 1024 * 1024  # 40 MB in base64
_LISTED_AT_ONCE: Final = 1000
_ENCODER = msgspec.json.Encoder()


def ses_side(world: World, account: SesAccount) -> HttpSide:
    """Raises BadSettingsError for a key that is none."""
    key = load_key(account.key_path)
    topic = Topic(account.topic_arn, account.signature_version, key, make_certificate(key, world.clock.now()))
    base_url = f"http://{world.settings.host}:{account.port}"
    if account.queue or account.webhook_url is None:
        relay = SesRelay(account, world, Carrier(account.name, Via.SES, world, None), None)
        return HttpSide(Via.SES, relay.app(), None, queue=relay.queue if account.queue else None)
    token = blake2b(os.urandom(16), digest_size=32).hexdigest()
    subscription = Subscription(topic, base_url, account.webhook_url, token, world.clock)
    webhook = world.webhook(
        account.name,
        account.webhook_url,
        SnsStyle(topic, base_url),
        account.habits,
        ready=subscription.confirmed,
    )
    relay = SesRelay(
        account, world, Carrier(account.name, Via.SES, world, webhook), Published(topic, subscription)
    )
    return HttpSide(Via.SES, relay.app(), webhook)


@dataclass(frozen=True, slots=True)
class Published:
    """Where events go that are posted."""

    topic: Topic
    subscription: Subscription


class SesRelay:
    def __init__(
        self, account: SesAccount, world: World, carrier: Carrier, published: Published | None
    ) -> None:
        self.account = account.name
        self.queue = SqsQueue(world.events)
        self._settings = account
        self._world = world
        self._carrier = carrier
        self._published = published
        self._key = Key(account.access_key_id, account.secret_access_key)
        self._quota = Quota(account)
        self._suppressed = SuppressionList()
        self._rng = random.Random(os.urandom(16))  # noqa: S311  # ids that differ between runs on one ledger

    def app(self) -> Application:
        app = Application(client_max_size=_REQUEST_BYTES, middlewares=[_in_ses_shape])
        listed = "/v2/email/suppression/addresses"
        app.add_routes(
            [
                post("/v2/email/outbound-emails", self.send),
                get("/v2/email/account", self.show_account),
                get(listed, self.show_suppressed),
                put(listed, self.suppress),
                get(listed + "/{address}", self.show_one_suppressed),
                delete(listed + "/{address}", self.release),
                post("/", self.call_queue),
                get("/", self.call_topic),
                get(r"/{file:SimpleNotificationService-[0-9a-f]+\.pem}", self.show_certificate),
            ]
        )
        if self._published is not None:
            app.cleanup_ctx.append(_offering(self._published.subscription))
        return app

    async def send(self, request: Request) -> Response:
        fault = self._world.faults.take(self.account)
        failed = await refused_by(fault, request, _refusals())
        if failed is not None:
            return failed
        body = await self._let_in(request, "ses")
        asked, mail = parse_send_email(body)
        if asked.configuration_set_name not in (None, self._settings.configuration_set):
            raise SesError(
                404,
                "NotFoundException",
                f"Configuration set <{asked.configuration_set_name}> does not exist.",
            )
        everybody = asked.destination.everybody
        self._quota.take(len(everybody), asyncio.get_running_loop().time())
        message_id = f"0100{self._rng.getrandbits(48):012x}-{self._rng.getrandbits(96):024x}-000000"
        await self._carrier.take([self._posted(asked, mail, to, message_id) for to in everybody], mail)
        return await answer(fault, request, _json({"MessageId": message_id}))

    async def show_account(self, request: Request) -> Response:
        await self._let_in(request, "ses")
        return _json(self._quota.shown())

    async def show_suppressed(self, request: Request) -> Response:
        await self._let_in(request, "ses")
        try:
            size = int(request.query.get("PageSize", "1000"))
        except ValueError as error:
            raise SesError(400, "BadRequestException", "PageSize is a number.") from error
        if not 1 <= size <= _LISTED_AT_ONCE:
            raise SesError(400, "BadRequestException", f"PageSize is between 1 and {_LISTED_AT_ONCE}.")
        return _json(self._suppressed.page(size, request.query.get("NextToken", "")))

    async def suppress(self, request: Request) -> Response:
        asked = msgspec.json.decode(await self._let_in(request, "ses"), type=dict[str, str])
        address, reason = asked.get("EmailAddress", ""), asked.get("Reason", "")
        if "@" not in address or reason not in ("BOUNCE", "COMPLAINT"):
            raise SesError(400, "BadRequestException", "Email address or reason is not valid.")
        self._suppressed.add(address, reason, self._world.clock.now().timestamp())
        return _json({})

    async def show_one_suppressed(self, request: Request) -> Response:
        await self._let_in(request, "ses")
        address = request.match_info["address"]
        shown = {"EmailAddress": address, "Reason": self._suppressed.reason(address)}
        return _json({"SuppressedDestination": shown})

    async def release(self, request: Request) -> Response:
        await self._let_in(request, "ses")
        self._suppressed.remove(request.match_info["address"])
        return _json({})

    async def call_queue(self, request: Request) -> Response:
        body = await self._let_in(request, "sqs")
        try:
            said = await self.queue.call(request.headers.get("X-Amz-Target", ""), body)
        except BadQueueRequestError as error:
            raise SesError(400, error.name, error.message) from error
        return _json(said, content_type="application/x-amz-json-1.0")

    async def call_topic(self, request: Request) -> Response:
        """ConfirmSubscription, which needs no signature."""
        asked = request.query
        if self._published is None or asked.get("Action") != "ConfirmSubscription":
            raise SesError(400, "InvalidAction", "Only ConfirmSubscription is simulated.")
        arn = asked.get("TopicArn", "")
        if not self._published.subscription.confirm(arn, asked.get("Token", "")):
            raise SesError(400, "InvalidParameter", "Invalid token")
        text = f"<ConfirmSubscriptionResponse><SubscriptionArn>{arn}:1</SubscriptionArn>"
        return Response(text=f"{text}</ConfirmSubscriptionResponse>", content_type="text/xml")

    async def show_certificate(self, request: Request) -> Response:
        if self._published is None or request.path != self._published.topic.certificate_path:
            raise HTTPNotFound
        return Response(body=self._published.topic.certificate, content_type="application/x-pem-file")

    async def _let_in(self, request: Request, service: str) -> bytes:
        """The body of a request that is signed as it should be. Raises SesError."""
        body = await request.read()
        path, _, query = request.raw_path.partition("?")
        headers = {name.lower(): value for name, value in request.headers.items()}
        arrived = Arrived(request.method, path, query, headers, body)
        try:
            check_signature(arrived, self._key, service, self._world.clock.now())
        except AuthError as error:
            raise SesError(403, error.name, error.message) from error
        return body

    def _posted(self, asked: SendEmail, mail: bytes, to: str, message_id: str) -> Posted:
        tags = {tag.name: tag.value for tag in asked.email_tags}
        attempt = tags.get(ATTEMPT_TAG, "")
        seen = scan_headers(mail)
        sender = asked.from_email_address or ""
        named = Named(
            message_id=message_id,
            sender=sender,
            sent_at=self._world.clock.now().timestamp(),
            tags=tags,
            headers=head_lines(mail),
            subject=seen.subject,
        )
        return Posted(
            address=to,
            sender=sender,
            envelope=Envelope(
                subject=seen.subject,
                message_id=message_id,
                job_id=tags.get(JOB_TAG, seen.job_id),
                attempt=int(attempt) if attempt.isdecimal() and len(attempt) < 10 else seen.attempt,
            ),
            read=lambda: read_mail(mail),
            tell=lambda told: self._tell(told, named),
            course=_REFUSED if self._suppressed.has(to) else None,
        )

    def _tell(self, told: Told, named: Named) -> bytes | None:
        """The event; what SES remembers of it; into the queue, where there is one."""
        if told.step.kind is EventKind.HARD:
            self._suppressed.add(told.mailbox.address, "BOUNCE", told.occurred_at)
        if told.step.kind is EventKind.COMPLAINT:
            self._suppressed.add(told.mailbox.address, "COMPLAINT", told.occurred_at)
        event = payload(told, named)
        if event is None or not self._settings.queue:
            return event
        after = max(0.0, told.occurred_at - self._world.clock.now().timestamp())
        self.queue.put(WebhookEvent(told.step.kind, told.ref, event), after)
        return None


#: Taken, and not tried: the address is on the account's own list.
_REFUSED: Final = Course(
    Outcome.DROPPED, (Step(EventKind.PROCESSED, 0.1), Step(EventKind.DROPPED, 0.2)), None
)


def _offering(subscription: Subscription) -> Callable[[Application], AsyncIterator[None]]:
    async def offer(_app: Application) -> AsyncIterator[None]:
        offered = asyncio.create_task(subscription.offer())
        yield
        offered.cancel()
        await asyncio.gather(offered, return_exceptions=True)

    return offer


def _refusals() -> Refusals:
    return Refusals(
        throttled=_error(SesError(429, "TooManyRequestsException", "Maximum sending rate exceeded.")),
        in_trouble=_error(SesError(503, "ServiceUnavailableException", "Service is unavailable")),
        unauthorized=_error(
            SesError(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
        ),
    )


def _json(value: object, status: int = 200, content_type: str = "application/json") -> Response:
    return Response(status=status, body=_ENCODER.encode(value), content_type=content_type)


def _error(error: SesError) -> Response:
    response = _json({"message": error.message}, error.status)
    response.headers["x-amzn-ErrorType"] = f"{error.name}:http://internal.simulator.test/"
    return response


@middleware
async def _in_ses_shape(
    request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]
) -> StreamResponse:
    """Errors, ours and aiohttp's, in AWS's words."""
    try:
        return await handler(request)
    except SesError as error:
        return _error(error)
    except HTTPException as error:
        return _error(SesError(error.status, "UnknownOperationException", error.reason))
