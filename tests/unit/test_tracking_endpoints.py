"""The endpoints for readers: GET changes nothing, links lead only to where they led, POST acts (RFC 8058)."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posthouse.clock import ManualClock
from posthouse.compose.tracking import hash_text, link_hash
from posthouse.compose.unsubscribe import Unsubscribe, UnsubscribeTokens
from posthouse.domain.errors import NotNow
from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import JobId, LinkHash, own_event_id, uuid7
from posthouse.domain.suppression import SuppressionScope
from posthouse.telemetry import Metrics
from posthouse.web.exchange import Asgi, Message, Scope
from posthouse.web.links import LinkCache
from posthouse.web.recorder import Recorder
from posthouse.web.spool import Spool
from posthouse.web.tracking import Tracking, build_tracking

START = datetime(2026, 3, 4, 12, tzinfo=UTC)
JOB = JobId(uuid7(int((START - timedelta(hours=1)).timestamp() * 1000), 99))
KEY = b"k" * 32
OLD_KEY, NEW_KEY = b"o" * 64, b"n" * 64
SHOP = "https://shop.example/sale?a=1&b=2#top"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
ONE_CLICK = b"List-Unsubscribe=One-Click"
MULTIPART = b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'
TOKENS = UnsubscribeTokens([NEW_KEY, OLD_KEY])
WISH = Unsubscribe("reader@mail.example", SuppressionScope.MARKETING, JOB)
TOKEN = TOKENS.seal(WISH)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Site:
    """The application on a database of links and suppressions that can be away."""

    folder: Path
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    urls: dict[LinkHash, str] = field(default_factory=dict)
    lookups: int = 0
    away: bool = False
    trouble: Sequence[str] = ()
    suppressed: list[Unsubscribe] = field(default_factory=list)
    recorded: list[Event] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Asgi]:
        """When it ends, everything is recorded."""
        spool = Spool(self.folder / "spool", max_bytes=1_000_000)
        recorder = Recorder(self.record, spool, clock=self.clock, metrics=self.metrics)
        links = LinkCache(self.folder / "links.jsonl", max_bytes=1_000_000)
        async with recorder.running(), links.running():
            yield build_tracking(
                Tracking(
                    find_link=self.find_link,
                    tokens=TOKENS,
                    suppress=self.suppress,
                    find_trouble=self.find_trouble,
                    links=links,
                    recorder=recorder,
                    clock=self.clock,
                    rng=random.Random(1),
                    metrics=self.metrics,
                    job_retention=timedelta(days=45),
                    link_retention=timedelta(days=400),
                )
            )

    def link_to(self, url: str, job_id: UUID = JOB) -> str:
        """The path of a link as compose writes it."""
        found = link_hash(url, KEY)
        self.urls[found] = url
        return f"/c/{job_id}/{hash_text(found)}"

    async def record(self, events: Sequence[Event]) -> None:
        self.recorded += events

    async def find_link(self, found: LinkHash, job_id: JobId) -> str | None:
        self._must_be_there()
        self.lookups += 1
        return self.urls.get(found)

    async def suppress(self, unsubscribe: Unsubscribe, now: datetime) -> None:
        self._must_be_there()
        self.suppressed.append(unsubscribe)

    async def find_trouble(self) -> Sequence[str]:
        return self.trouble

    def _must_be_there(self) -> None:
        if self.away:
            raise NotNow("away")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def ask(
    app: Asgi,
    path: str,
    method: str = "GET",
    body: Sequence[bytes] = (),
    *,
    agent: str = BROWSER,
    leaves: bool = False,
) -> Reply:
    """One request; `leaves`: the client goes before its body is whole."""
    parts = list(body) or [b""]
    incoming: list[Message] = [
        {"type": "http.request", "body": part, "more_body": leaves or n + 1 < len(parts)}
        for n, part in enumerate(parts)
    ]
    incoming.append({"type": "http.disconnect"})
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"t.example"), (b"user-agent", agent.encode())]
    scope: Scope = {"type": "http", "method": method, "path": path, "headers": headers}
    await app(scope, receive, send)
    start, end = sent
    named = {name.decode(): value.decode() for name, value in start["headers"]}
    return Reply(start["status"], named, end["body"])


def is_uncacheable(reply: Reply) -> bool:
    return reply.headers["cache-control"] == "no-store, private"


async def test_the_pixel_is_recorded_and_not_cached(site: Site) -> None:
    async with site.serving() as app:
        reply = await ask(app, f"/o/{JOB}")
    assert (reply.status, reply.headers["content-type"]) == (200, "image/gif")
    assert reply.body[:6] == b"GIF89a"
    assert reply.body[6:10] == b"\x01\x00\x01\x00"
    assert is_uncacheable(reply)
    (event,) = site.recorded
    assert (event.job_id, event.type, event.origin, event.occurred_at) == (
        JOB,
        EventType.OPENED,
        Origin.READER,
        START,
    )
    assert (event.machine, event.user_agent, event.attempt) == (False, BROWSER, 0)


@pytest.mark.parametrize(
    "path",
    [
        "/o/" + "0" * 32,
        "/o/x",
        "/o/0f0e7b7a-6a3e-4a52-9c8e-2f4f5f1f6a11",  # a version 4
        f"/o/{JOB}x",
        "/o/" + "\N{ARABIC-INDIC DIGIT ONE}" * 36,
        f"/o/{uuid7((1 << 48) - 1, 5)}",  # a day that no calendar holds
        f"/o/{uuid7(int((START - timedelta(days=46)).timestamp() * 1000), 5)}",
        f"/o/{uuid7(int((START + timedelta(days=1)).timestamp() * 1000), 5)}",
    ],
)
async def test_an_id_that_no_job_can_have_gets_the_same_answer_and_no_event(site: Site, path: str) -> None:
    async with site.serving() as app:
        known, unknown = await ask(app, f"/o/{JOB}"), await ask(app, path)
    assert unknown == known
    assert len(site.recorded) == 1


async def test_a_click_leads_to_its_link_and_is_recorded(site: Site) -> None:
    async with site.serving() as app:
        path = site.link_to(SHOP)
        replies = [await ask(app, path) for _ in range(3)]
    assert {(reply.status, reply.headers["location"], reply.body) for reply in replies} == {(302, SHOP, b"")}
    assert all(map(is_uncacheable, replies))
    assert site.lookups == 1
    assert [(e.type, e.url, e.job_id) for e in site.recorded] == [(EventType.CLICKED, SHOP, JOB)] * 3
    assert len({e.event_id for e in site.recorded}) == 3


async def test_an_old_mail_still_has_working_links_and_no_events(site: Site) -> None:
    old = uuid7(int((START - timedelta(days=300)).timestamp() * 1000), 5)
    async with site.serving() as app:
        assert (await ask(app, site.link_to(SHOP, old))).status == 302
    assert site.recorded == []


@pytest.mark.parametrize("agent", ["", "curl/8.5.0", "python-requests/2.32", "BarracudaCentral/1.0"])
async def test_machines_are_answered_like_people_and_marked(site: Site, agent: str) -> None:
    async with site.serving() as app:
        reply = await ask(app, site.link_to(SHOP), agent=agent)
    assert reply.status == 302
    (event,) = site.recorded
    assert event.machine
    assert event.reason


async def test_a_user_agent_is_cut_and_cleaned(site: Site) -> None:
    async with site.serving() as app:
        await ask(app, f"/o/{JOB}", agent="Fire\x00fox\x1b[31m" + "x" * 5000)
    agent = site.recorded[0].user_agent
    assert agent is not None
    assert agent.startswith("Firefox[31mx")
    assert len(agent) <= 500


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
async def test_to_look_does_not_count_and_changes_nothing(site: Site, method: str) -> None:
    async with site.serving() as app:
        for path in (f"/o/{JOB}", site.link_to(SHOP), f"/u/{TOKEN}"):
            for _ in range(100):
                reply = await ask(app, path, method)
                assert reply.status in (200, 204, 302)
                assert reply.body == b""
    assert site.recorded == []
    assert site.suppressed == []


async def test_head_has_the_headers_of_get(site: Site) -> None:
    async with site.serving() as app:
        for path in (f"/o/{JOB}", site.link_to(SHOP), f"/u/{TOKEN}", "/u/x", "/nothing"):
            get, head = await ask(app, path), await ask(app, path, "HEAD")
            assert (head.status, head.headers) == (get.status, get.headers)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "BREW"])
async def test_other_methods_are_refused(site: Site, method: str) -> None:
    async with site.serving() as app:
        replies = [await ask(app, path, method) for path in (f"/o/{JOB}", site.link_to(SHOP), f"/u/{TOKEN}")]
    assert [(r.status, r.headers["allow"]) for r in replies] == [
        (405, "GET, HEAD, OPTIONS"),
        (405, "GET, HEAD, OPTIONS"),
        (405, "GET, HEAD, POST, OPTIONS"),
    ]
    assert site.suppressed == []


@pytest.mark.parametrize(
    "path",
    [
        f"/c/{JOB}/" + "A" * 22,
        f"/c/{JOB}/" + "A" * 21 + "B",  # spare bits set: another spelling of a hash
        f"/c/{JOB}/x",
        f"/c/x/{'A' * 22}",
        f"/c/{JOB}/https://evil.example/",
        f"/c/{JOB}/..%2f",
        f"/c/{JOB}",
        "/c/",
        "/",
        "",
        "/o",
        "//evil.example/",
        "/robots.txt",
    ],
)
async def test_an_unknown_link_is_a_page_of_ours(site: Site, path: str) -> None:
    async with site.serving() as app:
        reply = await ask(app, path or "/x")
    assert reply.status == 404
    assert "location" not in reply.headers
    assert b"<h1>" in reply.body
    assert site.recorded == []


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "ftp://x", ""])
async def test_what_is_no_web_link_is_not_redirected_to(site: Site, url: str) -> None:
    async with site.serving() as app:
        assert (await ask(app, site.link_to(url))).status == 404


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://shop.example/a b", "https://shop.example/a%20b"),
        ("https://shop.example/\r\nSet-Cookie: a=b", "https://shop.example/%0D%0ASet-Cookie:%20a=b"),
        ("https://b\u00fccher.example/\u00fc?\u00e4=%41", "https://b%C3%BCcher.example/%C3%BC?%C3%A4=%41"),
        ("HTTPS://SHOP.example", "HTTPS://SHOP.example"),
        ("https://shop.example/?q=<\"'>[]{}|\\^`", "https://shop.example/?q=<\"'>[]{}|\\^`"),
    ],
)
async def test_a_location_is_ascii_and_one_line(site: Site, url: str, location: str) -> None:
    async with site.serving() as app:
        assert (await ask(app, site.link_to(url))).headers["location"] == location


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 21), st.sampled_from("ABCxyz019-_"), st.binary(min_size=16, max_size=16))
async def test_forged_links_lead_nowhere(site: Site, place: int, letter: str, forged: bytes) -> None:
    """T11: only links of mails are followed, whatever the hash is made into."""
    async with site.serving() as app:
        path = site.link_to(SHOP)
        mutated = path[: -22 + place] + letter + path[len(path) - 21 + place :]
        for wrong in (mutated, f"/c/{JOB}/{hash_text(LinkHash(forged))}"):
            reply = await ask(app, wrong)
            assert reply.status == (302 if wrong == path else 404)
            assert reply.headers.get("location", SHOP) == SHOP


async def test_a_link_nobody_knows_waits_for_the_database(site: Site) -> None:
    site.away = True
    async with site.serving() as app:
        reply = await ask(app, site.link_to(SHOP))
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert b'http-equiv="refresh" content="5"' in reply.body
        site.away = False
        assert (await ask(app, site.link_to(SHOP))).status == 302


async def test_a_known_link_works_while_the_database_is_away_also_after_a_restart(site: Site) -> None:
    async with site.serving() as app:
        await ask(app, site.link_to(SHOP))
    site.away = True
    async with site.serving() as app:
        assert (await ask(app, site.link_to(SHOP))).headers["location"] == SHOP
        assert (await ask(app, f"/o/{JOB}")).status == 200


async def test_the_unsubscribe_page_asks_and_changes_nothing(site: Site) -> None:
    async with site.serving() as app:
        for _ in range(1000):
            reply = await ask(app, f"/u/{TOKEN}")
    assert reply.status == 200
    assert b'<form method="post">' in reply.body
    assert b"r***@mail.example" in reply.body
    assert b"reader@" not in reply.body
    assert is_uncacheable(reply)
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert b"<script" not in reply.body
    assert b"http" not in reply.body.replace(b"http-equiv", b"")
    assert (site.suppressed, site.recorded) == ([], [])


@pytest.mark.parametrize(
    "body",
    [
        [ONE_CLICK],
        [ONE_CLICK[:5], ONE_CLICK[5:]],
        [MULTIPART],
        [],
        [b"List-Unsubscribe=Nonsense"],
        [b"\xff\x00" * 100],
        [b"x" * 70_000, b"x" * 70_000],
    ],
    ids=["form", "in pieces", "multipart", "empty", "odd", "binary", "large"],
)
async def test_a_post_unsubscribes_whatever_its_body(site: Site, body: list[bytes]) -> None:
    async with site.serving() as app:
        reply = await ask(app, f"/u/{TOKEN}", "POST", body)
    assert reply.status == 200
    assert "location" not in reply.headers
    assert "set-cookie" not in reply.headers
    assert site.suppressed == [WISH]
    (event,) = site.recorded
    assert (event.type, event.job_id) == (EventType.UNSUBSCRIBED, JOB)
    assert event.event_id == own_event_id(JOB, 0, "unsubscribed")


async def test_to_unsubscribe_again_is_the_same(site: Site) -> None:
    async with site.serving() as app:
        replies = [await ask(app, f"/u/{TOKEN}", "POST", [ONE_CLICK]) for _ in range(2)]
    assert replies[0] == replies[1]
    assert len({e.event_id for e in site.recorded}) == 1


async def test_without_the_database_nobody_is_told_that_it_is_done(site: Site) -> None:
    site.away = True
    async with site.serving() as app:
        reply = await ask(app, f"/u/{TOKEN}", "POST", [ONE_CLICK])
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        assert b'<form method="post">' in reply.body
        assert b"http-equiv" not in reply.body
    assert site.recorded == []


async def test_a_request_that_breaks_off_does_nothing(site: Site) -> None:
    async with site.serving() as app:
        await ask(app, f"/u/{TOKEN}", "POST", [b"List-"], leaves=True)
    assert site.suppressed == []


async def test_a_token_of_an_older_key_works(site: Site) -> None:
    """T15: keys are rotated, mails are kept for years."""
    old = UnsubscribeTokens([OLD_KEY]).seal(WISH)
    async with site.serving() as app:
        assert (await ask(app, f"/u/{old}", "POST", [ONE_CLICK])).status == 200
    assert site.suppressed == [WISH]


async def test_a_token_works_when_its_job_is_long_gone(site: Site) -> None:
    site.clock.advance(3 * 365 * 86_400)
    async with site.serving() as app:
        assert (await ask(app, f"/u/{TOKEN}", "POST", [ONE_CLICK])).status == 200


async def test_forged_tokens_do_nothing(site: Site) -> None:
    """S9: mutations of a genuine token, tokens of a foreign key, noise."""
    rng = random.Random(9)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    foreign = UnsubscribeTokens([b"f" * 64])
    async with site.serving() as app:
        for number in range(3_000):
            forged = mutated(TOKEN, alphabet, rng)
            if number % 3 == 1:
                forged = foreign.seal(WISH)
            elif number % 3 == 2:
                forged = "".join(rng.choices(alphabet, k=rng.randint(1, 700)))
            reply = await ask(app, f"/u/{forged}", "POST", [ONE_CLICK])
            assert reply.status == (200 if forged == TOKEN else 404)
    assert site.suppressed == [WISH] * len(site.suppressed)
    assert len(site.suppressed) < 50  # a mutation that changed nothing


def mutated(token: str, alphabet: str, rng: random.Random) -> str:
    letters = list(token)
    letters[rng.randrange(len(letters))] = rng.choice(alphabet)
    return "".join(letters)


async def test_unknown_ids_take_as_long_as_known_ones(site: Site) -> None:
    """T12: enumeration learns nothing. Medians of interleaved requests differ only if the work does."""
    took: dict[str, list[float]] = {f"/o/{JOB}": [], f"/o/{uuid7(int(START.timestamp() * 1000) - 5, 3)}": []}
    async with site.serving() as app:
        for _ in range(300):
            for path, times in took.items():
                begin = perf_counter()
                await ask(app, path)
                times.append(perf_counter() - begin)
    known, unknown = map(median, took.values())
    assert 0.5 < known / unknown < 2.0


async def test_probes_for_operators(site: Site) -> None:
    async with site.serving() as app:
        await ask(app, f"/o/{JOB}")
        assert (await ask(app, "/healthz")).status == 200
        assert (await ask(app, "/readyz")).status == 200
        site.trouble = ["the database is away"]
        assert (await ask(app, "/healthz")).status == 200
        ready = await ask(app, "/readyz")
        assert (ready.status, ready.body) == (503, b"the database is away\n")
        metrics = await ask(app, "/metrics")
    assert b'posthouse_tracking_hits_total{kind="open"} 1.0' in metrics.body


async def test_the_lifespan_is_answered(site: Site) -> None:
    incoming: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async with site.serving() as app:
        await app({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
