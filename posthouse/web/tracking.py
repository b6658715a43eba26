"""What readers reach: the pixel, links, and unsubscribing.

The reader is answered first and the event recorded after. GET and HEAD change nothing: scanners open every
address of a mail. A link leads only to where the mail that carried it led; nothing of the request is used as
an address.
"""

import asyncio
import random
import re
from binascii import a2b_base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias
from urllib.parse import quote
from uuid import UUID

from posthouse.clock import Clock
from posthouse.compose.tracking import hash_text
from posthouse.compose.unsubscribe import Unsubscribe, UnsubscribeTokens
from posthouse.domain.errors import InvalidInput, NotNow
from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import (
    RANDOM_BITS,
    EventId,
    JobId,
    LinkHash,
    own_event_id,
    unix_ms_of,
    uuid7,
)
from posthouse.ingest.machines import Act, Verdict, judge
from posthouse.telemetry import Metrics, log, redact
from posthouse.web import page
from posthouse.web.exchange import (
    NO_STORE,
    Answer,
    Asgi,
    Receive,
    Scope,
    Send,
    body_came,
    header,
    live,
    send_answer,
)
from posthouse.web.links import LinkCache
from posthouse.web.page import Page
from posthouse.web.probes import FindTrouble, probe
from posthouse.web.recorder import Recorder

_GIF: Final = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"  # 1 x 1 of two colours
    b"!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01D\x00;"  # the first is clear
)
_PIXEL: Final = Answer(200, (*NO_STORE, (b"content-type", b"image/gif")), _GIF)
_PAGE_HEADERS: Final = (
    *NO_STORE,
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", page.POLICY.encode("ascii")),
)

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_HASH: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_WEB: Final = re.compile(r"https?:", re.IGNORECASE)
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_AGENT_LIMIT: Final = 500  # characters
_FIND_TIMEOUT: Final = 2.0  # seconds; a reader waits
_SUPPRESS_TIMEOUT: Final = 10.0  # seconds
_CLOCKS_APART: Final = timedelta(minutes=10)  # how far a job's id may be ahead of our clock


FindLink: TypeAlias = Callable[[LinkHash, JobId], Awaitable[str | None]]
Suppress: TypeAlias = Callable[[Unsubscribe, datetime], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Tracking:
    """What the endpoints stand on. `recorder` and `links` must be running while they serve."""

    find_link: FindLink  # None: there is no such link; raises NotNow
    tokens: UnsubscribeTokens
    suppress: Suppress  # committed when it returns; bears being repeated; raises NotNow
    find_trouble: FindTrouble
    links: LinkCache
    recorder: Recorder
    clock: Clock
    rng: random.Random
    metrics: Metrics
    job_retention: timedelta
    link_retention: timedelta


@dataclass(frozen=True, slots=True)
class _Request:
    scope: Scope
    receive: Receive
    places: Sequence[str]  # what stands in the path after the endpoint's letter

    @property
    def method(self) -> str:
        return self.scope["method"]

    @property
    def counts(self) -> bool:
        """A person's program asks with GET; HEAD is somebody who only looks."""
        return self.method == "GET"


@dataclass(frozen=True, slots=True)
class _Hit:
    """The answer, and what is to be recorded after it was given."""

    answer: Answer
    event: Event | None = None


@dataclass(frozen=True, slots=True)
class _Endpoint:
    places: int
    methods: tuple[str, ...]
    hit: Callable[[Tracking, _Request], Awaitable[_Hit]]


def build_tracking(deps: Tracking) -> Asgi:
    """The ASGI application: `/o/{job_id}`, `/c/{job_id}/{hash}`, `/u/{token}` and the operator's probes."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(receive, send)
        elif scope["type"] == "http":
            hit = await _hit(deps, scope, receive)
            await send_answer(hit.answer, send, with_body=scope["method"] != "HEAD")
            if hit.event is not None:
                deps.recorder.offer(hit.event)

    return application


async def _hit(deps: Tracking, scope: Scope, receive: Receive) -> _Hit:
    _, kind, *places = scope["path"].split("/", maxsplit=4)
    endpoint = _ENDPOINTS.get(kind)
    if endpoint is None or len(places) != endpoint.places:
        answer = await probe(scope["path"], deps.metrics.registry, deps.find_trouble)
        return _Hit(answer or _page(404, page.NOT_FOUND))
    if scope["method"] not in endpoint.methods:
        return _Hit(_other_method(scope["method"], endpoint.methods))
    return await endpoint.hit(deps, _Request(scope, receive, places))


def _other_method(method: str, allowed: Sequence[str]) -> Answer:
    allow = (b"allow", ", ".join((*allowed, "OPTIONS")).encode("ascii"))
    return Answer(204 if method == "OPTIONS" else 405, (*NO_STORE, allow), b"")


async def _opened(deps: Tracking, request: _Request) -> _Hit:
    """The pixel, whether or not there is such a job: nobody learns which ids exist."""
    deps.metrics.tracking.labels("open").inc()
    job_id = _job_id(request.places[0])
    if job_id is None or not request.counts:
        return _Hit(_PIXEL)
    return _Hit(_PIXEL, _reader_event(deps, request, job_id, EventType.OPENED, Act.OPEN, None))


async def _clicked(deps: Tracking, request: _Request) -> _Hit:
    deps.metrics.tracking.labels("click").inc()
    job_id, link_hash = _job_id(request.places[0]), _link_hash(request.places[1])
    if job_id is None or link_hash is None:
        return _Hit(_page(404, page.UNKNOWN_LINK))
    try:
        url = await _url(deps, link_hash, job_id)
    except (NotNow, TimeoutError):
        return _Hit(_page(503, page.LINK_AWAY))
    if url is None or not _WEB.match(url):
        return _Hit(_page(404, page.UNKNOWN_LINK))
    if not request.counts:
        return _Hit(_redirect(url))
    return _Hit(_redirect(url), _reader_event(deps, request, job_id, EventType.CLICKED, Act.CLICK, url))


async def _unsubscribing(deps: Tracking, request: _Request) -> _Hit:
    """GET shows a page that posts; POST acts, whatever its body says (RFC 8058 section 3.2)."""
    try:
        token = deps.tokens.open(request.places[0])
    except InvalidInput:
        return _Hit(_page(404, page.UNKNOWN_LINK))
    if request.method != "POST":
        deps.metrics.tracking.labels("unsubscribe_page").inc()
        return _Hit(_page(200, page.confirm(redact(token.address))))
    if not await body_came(request.receive):
        return _Hit(_page(400, page.NOT_YET))
    return await _unsubscribed(deps, request, token)


async def _unsubscribed(deps: Tracking, request: _Request, token: Unsubscribe) -> _Hit:
    """Suppressed, committed, and only then answered. With 503 the mailbox provider posts again."""
    now = deps.clock.now()
    try:
        async with asyncio.timeout(_SUPPRESS_TIMEOUT):
            await deps.suppress(token, now)
    except (NotNow, TimeoutError) as error:
        log.warning("unsubscribe_refused", job_id=str(token.job_id), error=str(error))
        return _Hit(_page(503, page.NOT_YET))
    deps.metrics.tracking.labels("unsubscribe").inc()
    event = Event(
        job_id=token.job_id,
        event_id=own_event_id(token.job_id, 0, EventType.UNSUBSCRIBED),
        attempt=0,
        type=EventType.UNSUBSCRIBED,
        origin=Origin.READER,
        occurred_at=now,
        user_agent=_agent(request),
    )
    return _Hit(_page(200, page.UNSUBSCRIBED), event)


_ENDPOINTS: Final[Mapping[str, _Endpoint]] = {
    "o": _Endpoint(1, ("GET", "HEAD"), _opened),
    "c": _Endpoint(2, ("GET", "HEAD"), _clicked),
    "u": _Endpoint(1, ("GET", "HEAD", "POST"), _unsubscribing),
}


async def _url(deps: Tracking, link_hash: LinkHash, job_id: JobId) -> str | None:
    url = deps.links.get(link_hash)
    if url is not None or not _is_within(deps, job_id, deps.link_retention):
        return url
    async with asyncio.timeout(_FIND_TIMEOUT):
        url = await deps.find_link(link_hash, job_id)
    if url is not None:
        deps.links.put(link_hash, url)
    return url


def _reader_event(
    deps: Tracking, request: _Request, job_id: JobId, kind: EventType, act: Act, url: str | None
) -> Event | None:
    """The event of a hit; None for an id that no job can have. Its own id is made here, once."""
    if not _is_within(deps, job_id, deps.job_retention):
        return None
    now, agent = deps.clock.now(), _agent(request)
    # A mail is sent after it was accepted, so this is at least the time since it was sent.
    since_accepted = now.timestamp() - unix_ms_of(job_id) / 1000
    judgement = judge(
        act,
        user_agent=agent,
        referrer=header(request.scope, b"referer"),
        seconds_since_sent=max(0.0, since_accepted),
    )
    return Event(
        job_id=job_id,
        event_id=EventId(uuid7(int(now.timestamp() * 1000), deps.rng.getrandbits(RANDOM_BITS))),
        attempt=0,  # the address does not say, and it does not matter
        type=kind,
        origin=Origin.READER,
        occurred_at=now,
        reason="" if judgement.verdict is Verdict.NO else judgement.reason,
        url=url,
        user_agent=agent,
        machine=judgement.is_machine,
    )


def _is_within(deps: Tracking, job_id: JobId, retention: timedelta) -> bool:
    """Whether a job of this id can exist: stored events of others would be noise that anybody can make."""
    now = deps.clock.now().timestamp()
    made = unix_ms_of(job_id) / 1000
    return now - retention.total_seconds() <= made <= now + _CLOCKS_APART.total_seconds()


def _job_id(text: str) -> JobId | None:
    if not _UUID.fullmatch(text):
        return None
    value = UUID(text)
    return JobId(value) if value.version == 7 else None


def _link_hash(text: str) -> LinkHash | None:
    """None for what is no hash, or is one written in another way."""
    if not _HASH.fullmatch(text):
        return None
    value = LinkHash(a2b_base64(text.replace("-", "+").replace("_", "/") + "=="))
    return value if hash_text(value) == text else None


def _agent(request: _Request) -> str:
    agent = header(request.scope, b"user-agent") or ""
    return "".join(filter(str.isprintable, agent[:_AGENT_LIMIT]))


def _redirect(url: str) -> Answer:
    # Printable ASCII stays as it was written; the rest is what a browser would encode it to.
    location = quote(url, safe=_PRINTABLE, errors="replace").encode("ascii")
    return Answer(302, (*NO_STORE, (b"location", location)), b"")


def _page(status: int, content: Page) -> Answer:
    retry = ((b"retry-after", b"%d" % page.RETRY_AFTER),) if status == 503 else ()
    return Answer(status, (*_PAGE_HEADERS, *retry), page.html(content))
