"""Postmark's API for one server: takes mail, answers as Postmark does, can be asked, tells the rest."""

import asyncio
import hmac
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import msgspec
from aiohttp.web import (
    Application,
    HTTPException,
    HTTPRequestEntityTooLarge,
    Request,
    Response,
    StreamResponse,
    get,
    middleware,
    post,
)

from posthouse.simulator.carrier import Carrier, Posted, Told, Tracking
from posthouse.simulator.events import EventKind
from posthouse.simulator.http_faults import Refusals, answer, refused_by
from posthouse.simulator.ledger import LedgerEntry, Via
from posthouse.simulator.letter import Envelope, read_html
from posthouse.simulator.postmark_events import Named, PostmarkStyle, record, stamp, subscription_change
from posthouse.simulator.postmark_lists import Origin, Reason, SuppressionLists
from posthouse.simulator.postmark_schema import (
    MAX_BATCH_BYTES,
    MAX_MAIL_BYTES,
    Mail,
    RefusedError,
    addresses,
    parse_batch,
    parse_mail,
)
from posthouse.simulator.postmark_search import OutboundSearch, Sent
from posthouse.simulator.settings import PostmarkAccount
from posthouse.simulator.views import MessageView, unreadable
from posthouse.simulator.webhooks import Webhook, WebhookEvent
from posthouse.simulator.world import HttpSide, World

TEST_TOKEN = "POSTMARK_API_TEST"  # noqa: S105  # anybody's: checks a mail and sends nothing
JOB_KEY = "posthouse_job"
ATTEMPT_KEY = "posthouse_attempt"
_OVERHEAD_BYTES = 1024 * 1024  # above the limit, so that it is ours to refuse
_SEARCH_LAG = 1.0  # seconds of the simulated world
_ENCODER = msgspec.json.Encoder()
_UNAUTHORIZED = "Request does not contain a valid Server token."
_LISTED = {EventKind.HARD: Reason.HARD_BOUNCE, EventKind.COMPLAINT: Reason.SPAM_COMPLAINT}


def postmark_side(world: World, account: PostmarkAccount) -> HttpSide:
    webhook = world.webhook(account.name, account.webhook_url, PostmarkStyle(account), account.habits)
    carrier = Carrier(account.name, Via.POSTMARK, world, webhook)
    return HttpSide(Via.POSTMARK, PostmarkRelay(account, world, carrier, webhook).app(), webhook)


class PostmarkRelay:
    def __init__(
        self, account: PostmarkAccount, world: World, carrier: Carrier, webhook: Webhook | None
    ) -> None:
        self._account = account
        self._world = world
        self._carrier = carrier
        self._webhook = webhook
        self._lists = SuppressionLists()
        self._search = OutboundSearch(world.settings.index_max)
        self._credits = account.credits
        self._rng = random.Random(os.urandom(16))  # noqa: S311  # ids that differ between runs on one ledger

    def app(self) -> Application:
        app = Application(
            client_max_size=MAX_BATCH_BYTES + _OVERHEAD_BYTES, middlewares=[self._in_postmarks_way]
        )
        stream = "/message-streams/{stream}/suppressions"
        app.add_routes(
            [
                post("/email", self.send),
                post("/email/batch", self.send_batch),
                get("/messages/outbound", self.search),
                get(f"{stream}/dump", self.dump),
                post(stream, self.suppress),
                post(f"{stream}/delete", self.reactivate),
            ]
        )
        return app

    async def send(self, request: Request) -> Response:
        fault = self._world.faults.take(self._account.name)
        failed = await refused_by(fault, request, _refusals())
        if failed is not None:
            return failed
        said = await self._take(await self._body(request, MAX_MAIL_BYTES), self._is_test(request))
        if isinstance(said, RefusedError):
            return _refusal(said)
        return await answer(fault, request, _json(said))

    async def send_batch(self, request: Request) -> Response:
        """200 for any batch that can be read; what is wrong with a mail is said in its place."""
        fault = self._world.faults.take(self._account.name)
        failed = await refused_by(fault, request, _refusals())
        if failed is not None:
            return failed
        items = parse_batch(await self._body(request, MAX_BATCH_BYTES))
        test = self._is_test(request)
        said = await asyncio.gather(*(self._take(item, test) for item in items))
        return await answer(fault, request, _json([_item(one) for one in said]))

    async def search(self, request: Request) -> Response:
        return _json(self._search.find(request.query, self._now()))

    async def dump(self, request: Request) -> Response:
        address = request.query.get("EmailAddress") or request.query.get("emailaddress")
        found = self._lists.dump(
            self._stream(request),
            self._now(),
            address.lower() if address else None,
            request.query.get("fromdate", ""),
            request.query.get("todate", ""),
        )
        return _json({"Suppressions": found})

    async def suppress(self, request: Request) -> Response:
        said = self._lists.create(self._stream(request), await request.read(), self._now())
        return _json({"Suppressions": said})

    async def reactivate(self, request: Request) -> Response:
        return _json({"Suppressions": self._lists.delete(self._stream(request), await request.read())})

    async def _body(self, request: Request, most: int) -> bytes:
        if request.content_type != "application/json":
            raise RefusedError(0, "Unsupported Media Type", 415)
        body = await request.read()
        if len(body) > most:
            raise HTTPRequestEntityTooLarge(most, len(body))
        return body

    async def _take(self, body: bytes, test: bool) -> dict[str, object] | RefusedError:
        """One mail, alone or of a batch."""
        try:
            mail = parse_mail(body, self._account.streams)
            self._refuse_suppressed(mail)
            self._pay()
        except RefusedError as refused:
            return refused
        now = self._now()
        message_id = str(UUID(bytes=self._rng.randbytes(16), version=4))
        if not test:
            await self._carrier.take(self._posts(mail, message_id), body)
            self._search.add(self._sent(mail, message_id, now))
        return {
            "To": mail.to,
            "SubmittedAt": stamp(now),
            "MessageID": message_id,
            "ErrorCode": 0,
            "Message": "Test job accepted" if test else "OK",
        }

    def _refuse_suppressed(self, mail: Mail) -> None:
        listed = [one for one in mail.everybody() if self._lists.has(mail.message_stream, one, self._now())]
        if listed:
            raise RefusedError(
                406,
                "You tried to send to recipient(s) that have been marked as inactive. Found inactive "
                f"addresses: {', '.join(listed)}. Inactive recipients are ones that have generated a hard "
                "bounce, a spam complaint, or a manual suppression.",
            )

    def _pay(self) -> None:
        if self._credits is None:
            return
        if self._credits == 0:
            raise RefusedError(405, "Not allowed to send: you ran out of credits.")
        self._credits -= 1

    def _posts(self, mail: Mail, message_id: str) -> list[Posted]:
        attempt = mail.metadata.get(ATTEMPT_KEY, "")
        envelope = Envelope(
            subject=mail.subject,
            message_id=message_id,
            job_id=mail.metadata.get(JOB_KEY),
            attempt=int(attempt) if attempt.isdecimal() and len(attempt) < 10 else None,
        )
        [sender] = addresses("From", mail.sender)
        named = Named(message_id, mail.message_stream, sender, mail.subject, mail.tag, mail.metadata)
        html = mail.html_body or ""
        unsubscribe, one_click = mail.header("list-unsubscribe"), mail.header("list-unsubscribe-post")
        return [
            Posted(
                address=address,
                sender=sender,
                envelope=envelope,
                read=lambda: read_html(html, unsubscribe, one_click),
                tell=lambda told: self._tell(told, named),
                tracking=Tracking(opens=mail.track_opens, clicks=mail.track_links != "None"),
            )
            for address in mail.everybody()
        ]

    def _tell(self, told: Told, named: Named) -> bytes | None:
        """A bounce or a complaint also puts the address on its stream's list, which is told as well."""
        reason = _LISTED.get(told.step.kind)
        if reason is not None:
            address = told.mailbox.address
            self._lists.add(named.stream, address, reason, Origin.RECIPIENT, told.occurred_at)
            self._tell_of_list(told, subscription_change(told, named, reason))
        return record(told, named)

    def _tell_of_list(self, told: Told, payload: bytes) -> None:
        if self._webhook is not None:
            at = asyncio.get_running_loop().time() + told.occurred_at - self._now()
            self._webhook.send(WebhookEvent(told.step.kind, told.ref, payload, repeat=True), at)

    def _sent(self, mail: Mail, message_id: str, now: float) -> Sent:
        return Sent(
            message_id=message_id,
            stream=mail.message_stream,
            sender=mail.sender,
            subject=mail.subject,
            recipients=tuple(mail.everybody()),
            metadata=mail.metadata,
            sent_at=now,
            shown_at=now + _SEARCH_LAG * self._world.settings.time_scale,
        )

    def _stream(self, request: Request) -> str:
        """Raises RefusedError."""
        stream = request.match_info["stream"]
        if stream not in self._account.streams:
            raise RefusedError(1226, "The message stream for the provided 'ID' was not found.")
        return stream

    def _now(self) -> float:
        return self._world.clock.now().timestamp()

    def _is_test(self, request: Request) -> bool:
        return request.headers.get("X-Postmark-Server-Token", "") == TEST_TOKEN

    def _is_authorized(self, request: Request) -> bool:
        token = request.headers.get("X-Postmark-Server-Token", "").strip().lower()
        known = hmac.compare_digest(token.encode(), self._account.server_token.lower().encode())
        return known or token == TEST_TOKEN.lower()

    @middleware
    async def _in_postmarks_way(
        self, request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]
    ) -> StreamResponse:
        """The token first, and every refusal in Postmark's words."""
        if not self._is_authorized(request):
            return _refusal(RefusedError(10, _UNAUTHORIZED, 401))
        try:
            return await handler(request)
        except RefusedError as refused:
            return _refusal(refused)
        except HTTPRequestEntityTooLarge:
            return Response(status=413)
        except HTTPException as error:
            return _json({"ErrorCode": 0, "Message": error.reason}, error.status)


def _refusals() -> Refusals:
    return Refusals(
        throttled=_refusal(RefusedError(429, "Rate limit exceeded.", 429)),
        in_trouble=_refusal(RefusedError(100, "The Postmark API is offline for maintenance.", 503)),
        unauthorized=_refusal(RefusedError(10, _UNAUTHORIZED, 401)),
    )


def _item(said: dict[str, object] | RefusedError) -> dict[str, object]:
    if isinstance(said, RefusedError):
        return {"ErrorCode": said.code, "Message": said.message}
    return said


def _json(value: object, status: int = 200) -> Response:
    return Response(status=status, body=_ENCODER.encode(value), content_type="application/json")


def _refusal(refused: RefusedError) -> Response:
    response = _json({"ErrorCode": refused.code, "Message": refused.message}, refused.status)
    response.headers["X-PM-ApiErrorCode"] = str(refused.code)
    return response


def postmark_view(entry: LedgerEntry, body: bytes) -> MessageView:
    """A mail of /email; its headers are those of the request."""
    try:
        mail = msgspec.json.decode(body, type=Mail)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return unreadable(entry, body)
    headers: Sequence[tuple[str, str]] = [
        ("From", mail.sender),
        ("To", mail.to),
        ("Subject", mail.subject),
        *((header.name, header.value) for header in mail.headers),
    ]
    raw = body.decode("utf-8", "replace")
    return MessageView(entry, list(headers), mail.text_body or "", mail.html_body or "", raw)
