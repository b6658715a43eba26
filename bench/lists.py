"""lists: GET /v1/emails by each filter, and GET /v1/emails/{id}, over a month of mails.

POSTHOUSE_BENCH_JOBS of them (default ten million), over 30 days: nine of ten delivered, the others ended
otherwise or waiting; a twentieth marketing; some 20 mails to each recipient; a tag on every tenth mail,
another on every thousandth. Requests go one after the other over one connection.
"""

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

import aiohttp
import msgspec

from bench.house import BY_SMTP, PORTS, BenchHouse, bench_house, make_key, ports
from bench.latency import until_ready
from bench.seed import make_template
from posthouse.domain.ids import first_of_day, uuid7
from posthouse.storage.db import Wire, open_wire
from posthouse.storage.sql import Queries

JOBS: Final = int(os.environ.get("POSTHOUSE_BENCH_JOBS", "10000000"))
DAYS: Final = 30
REQUESTS: Final = 300  # of each kind
RECIPIENTS: Final = max(1, JOBS // 20)

#: A day's mails, evenly over its 86,400,000 ms. Ids have the form of UUIDv7; their randomness is a digest.
_FILL_DAY: Final = """
CREATE TEMP TABLE made ON COMMIT DROP AS
SELECT (lpad(to_hex({first_ms} + n * 86400000 / {a_day}), 12, '0') || '7' || substr(digest, 1, 3) || '8'
        || substr(digest, 4, 15))::uuid AS job_id,
       to_timestamp(({first_ms} + n * 86400000 / {a_day}) / 1000.0) AS at, {day} * {a_day} + n AS n,
       format('reader%s@inbox.example.org', abs(hashint8({day} * {a_day} + n)::bigint) % {recipients})
           AS address,
       CASE WHEN n % 1000 < 900 THEN 'DELIVERED' WHEN n % 1000 < 940 THEN 'BOUNCED'
            WHEN n % 1000 < 950 THEN 'SUPPRESSED' WHEN n % 1000 < 955 THEN 'FAILED'
            WHEN n % 1000 < 957 THEN 'EXPIRED' WHEN n % 1000 < 958 THEN 'CANCELLED'
            WHEN n % 1000 < 959 THEN 'PENDING' ELSE 'SENT' END AS status,
       CASE WHEN n % 1000 = 7
            THEN '[{{"name": "kind", "value": "receipt"}}, {{"name": "rare", "value": "1"}}]'
            WHEN n % 10 = 7 THEN '[{{"name": "kind", "value": "receipt"}}]' END::jsonb AS tags
FROM (SELECT n, md5({day} || '-' || n) AS digest
      FROM generate_series(0::bigint, {a_day} - 1) AS n) AS numbers;

INSERT INTO email_job (job_id, message_id, template_id, due_at, expires_at, created_at, sent_at, attempt,
                       status, stream, to_address, address_key, from_address, relay, provider_message_id,
                       template_vars, tags)
SELECT job_id, job_id, 1, CASE WHEN status = 'PENDING' THEN now() + interval '1 day' ELSE at END,
       now() + interval '3 days', at, CASE WHEN status <> 'PENDING' THEN at + interval '1 second' END, 1,
       status, CASE WHEN n % 20 = 0 THEN 'marketing' ELSE 'transactional' END, address, address,
       'Shop <orders@shop.example>', 'tx', md5(job_id::text),
       jsonb_build_object('name', 'Reader', 'total', n, 'note', repeat('x', 100)), tags
FROM made;

INSERT INTO email_term (term, job_id)
SELECT 'r:' || address, job_id FROM made
UNION ALL SELECT 'k:1', job_id FROM made
UNION ALL SELECT 't:' || (tag ->> 'name') || '=' || (tag ->> 'value'), job_id
          FROM made, LATERAL jsonb_array_elements(tags) AS tag;

INSERT INTO email_event (job_id, event_id, occurred_at, attempt, type, origin)
SELECT job_id, gen_random_uuid(), at, attempt, type, 'house'
FROM made, (VALUES (0, 'accepted'), (1, 'sent')) AS told (attempt, type);
"""


class _Entry(msgspec.Struct):
    id: str


class _Page(msgspec.Struct):
    data: list[_Entry]


async def bench() -> list[dict[str, object]]:
    async with bench_house(BY_SMTP, ports(*PORTS)) as house:
        await make_template(house.db)
        await _fill(house)
        key = await make_key(house.db)
        headers = {"Authorization": f"Bearer {key}"}
        async with house.roles(("api",)), aiohttp.ClientSession(headers=headers) as session:
            url = f"http://{house.settings.house.host}:{house.settings.house.api_port}"
            await until_ready(session, url)
            asked_for = {**_asked_for(), "get": await _some_mails(session, url)}
            found = {kind: await _timed(session, url, paths) for kind, paths in asked_for.items()}
    return [{"bench": "lists", "jobs": JOBS, "requests": REQUESTS, **found}]


async def _fill(house: BenchHouse) -> None:
    wire = await open_wire(house.dsn, Queries(()), server_settings={"synchronous_commit": "off"})
    try:
        for n in range(DAYS):
            await _fill_day(wire, n, _day(n))
        for table in ("email_job", "email_term", "email_event"):
            await wire.script(f"VACUUM (ANALYZE) {table}")  # what autovacuum does within the day
    finally:
        await wire.close()


async def _fill_day(wire: Wire, number: int, day: date) -> None:
    async with wire.transaction() as tx:
        await tx.script(
            _FILL_DAY.format(
                first_ms=first_of_day(day).int >> 80, day=number, a_day=JOBS // DAYS, recipients=RECIPIENTS
            )
        )


def _day(number: int) -> date:
    """The days before today, newest first."""
    return datetime.now(UTC).date() - timedelta(days=1 + number)


def _asked_for() -> dict[str, list[str]]:
    """Paths by kind of request."""
    rng = random.Random(1)

    def some(make: Callable[[random.Random], Mapping[str, object]]) -> list[str]:
        queries = (make(rng) for _ in range(REQUESTS))
        return [f"/v1/emails?{urlencode(query, doseq=True)}" for query in queries]

    return {
        "newest": some(lambda _: {}),
        "from_anywhere": some(_place),
        "back_from_anywhere": some(lambda rng: {"before": _place(rng)["after"]}),
        "hundred": some(lambda rng: {"limit": 100, **_place(rng)}),
        "of_a_day": some(_half_a_day),
        "recipient": some(_recipient),
        "recipient_and_status": some(lambda rng: {"status": "bounced", **_recipient(rng)}),
        "unknown_recipient": some(lambda rng: {"recipient": f"{rng.random()}@inbox.example.org"}),
        "wide_tag": some(lambda rng: {"tag": "kind:receipt", **_place(rng)}),
        "rare_tag": some(lambda rng: {"tag": "rare:1", **_place(rng)}),
        "two_tags": some(lambda rng: {"tag": ["kind:receipt", "rare:1"], **_place(rng)}),
        "tag_and_rare_status": some(
            lambda rng: {"tag": "kind:receipt", "status": "cancelled", **_place(rng)}
        ),
        "tag_without_a_match": some(
            lambda rng: {"tag": "kind:receipt", "stream": "marketing", **_place(rng)}
        ),
        "template": some(lambda rng: {"template": "bench", **_place(rng)}),
        "stream": some(lambda rng: {"stream": "marketing", **_place(rng)}),
        "delivered": some(lambda rng: {"status": "delivered", **_place(rng)}),
        "bounced": some(lambda rng: {"status": "bounced", **_place(rng)}),
        "all_ends": some(
            lambda rng: {"status": "bounced,failed,suppressed,expired,cancelled", **_place(rng)}
        ),
        "pending": some(lambda rng: {"status": "pending", **_place(rng)}),
        "sending": some(lambda _: {"status": "sending"}),
        "nothing_matches": some(lambda rng: {"status": "queued", **_place(rng)}),
    }


def _place(rng: random.Random) -> dict[str, object]:
    """The middle of a long walk."""
    return {"after": uuid7(int(time.time() * 1000) - rng.randrange(DAYS * 86_400_000), 0)}


def _recipient(rng: random.Random) -> dict[str, object]:
    return {"recipient": f"reader{rng.randrange(RECIPIENTS)}@inbox.example.org"}


def _half_a_day(rng: random.Random) -> dict[str, object]:
    day = _day(rng.randrange(DAYS))
    return {"since": f"{day}T00:00:00Z", "until": f"{day}T12:00:00Z"}


async def _some_mails(session: aiohttp.ClientSession, url: str) -> list[str]:
    """Paths of mails of all days."""
    rng, paths = random.Random(2), list[str]()
    while len(paths) < REQUESTS:
        query = urlencode({"limit": 1, **_place(rng)})
        page = msgspec.json.decode(await _answer(session, f"{url}/v1/emails?{query}"), type=_Page)
        paths += [f"/v1/emails/{entry.id}" for entry in page.data]
    return paths


async def _timed(session: aiohttp.ClientSession, url: str, paths: Sequence[str]) -> dict[str, float]:
    took: list[float] = []
    for path in paths:
        began = time.perf_counter()
        await _answer(session, url + path)
        took.append((time.perf_counter() - began) * 1000)
    took.sort()
    return {
        "p50_ms": round(took[len(took) // 2], 1),
        "p99_ms": round(took[len(took) * 99 // 100], 1),
        "max_ms": round(took[-1], 1),
    }


async def _answer(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url) as response:
        body = await response.read()
        if response.status != 200:
            raise RuntimeError(f"GET {url} was answered {response.status}: {body[:500]!r}")
        return body
