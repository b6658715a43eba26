"""What the planner went astray on when it was let (docs/adr/0001), as a database for looking at plans.

Over 45 day partitions, the fullest of them analysed while it was empty, 200,000 suppressions and a backlog of
25,000 jobs.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import pytest_asyncio
from stored_jobs import make_days

from posthouse.storage.db import PoolKind, open_pool, open_wire
from posthouse.storage.sql import Queries, Query, load_queries

DAYS: Final = 45
SUPPRESSIONS: Final = 200_000
BACKLOG_TODAY: Final = 20_000
JOBS_A_DAY: Final = 600
EVENTS_A_DAY: Final = 600


@dataclass(frozen=True, slots=True)
class Stock:
    """A database with a backlog in it, and some of what it holds."""

    dsn: str
    pending: list[UUID]  # of today
    sending: list[UUID]  # of today, claimed by `worker`
    doubts: list[UUID]  # of today
    queued: list[UUID]  # of today
    dispatches: list[UUID]  # of 10 queued jobs each
    old: list[UUID]  # sent, of three days
    contents: list[UUID]
    attachments: list[UUID]
    worker: UUID


_FILL = """
ALTER TABLE email_job_p{today:%Y%m%d} SET (autovacuum_enabled = false);
ANALYZE email_job_p{today:%Y%m%d};

INSERT INTO email_suppression (address_key, scope, reason, source)
SELECT 'gone-' || n || '@inbox.test', 'all', 'BOUNCE', 'event' FROM generate_series(1, {suppressions}) AS n;

CREATE TEMP TABLE made AS
SELECT uuidv7(make_interval(days => -day)) AS job_id, day, n,
       CASE WHEN day > 0 THEN CASE WHEN n <= 100 THEN 'PENDING' ELSE 'SENT' END
            WHEN n <= {backlog} THEN 'PENDING'
            WHEN n <= {backlog} + 100 THEN 'SENDING'
            WHEN n <= {backlog} + 200 THEN 'UNKNOWN'
            WHEN n <= {backlog} + 700 THEN 'QUEUED'
            ELSE 'SENT' END AS status
FROM generate_series(0, {days} - 2) AS day,
     generate_series(1, CASE WHEN day = 0 THEN {backlog} + 1000 ELSE {jobs_a_day} END) AS n;

INSERT INTO email_job (job_id, message_id, due_at, expires_at, created_at, status, stream, to_address,
                       address_key, from_address, claimed_by, attempt)
SELECT job_id, job_id, now() - make_interval(secs => n / 100.0), now() + interval '1 day',
       now() - make_interval(days => day), status, 'marketing', a.address, a.address, 's@shop.test',
       CASE WHEN status = 'SENDING' THEN '{worker}'::uuid
            WHEN status = 'QUEUED' THEN md5((n / 10)::text)::uuid END, 1
FROM made, LATERAL (
    SELECT CASE WHEN n % 100 = 0 THEN 'gone-' || n || '@inbox.test' ELSE n || '@inbox.test' END AS address
) AS a;

INSERT INTO email_event (job_id, event_id, occurred_at, attempt, type, origin, bounce_class)
SELECT job_id, gen_random_uuid(), now(), 1, 'bounced', 'relay', 'soft' FROM made WHERE n <= {events_a_day};

INSERT INTO dispatch (dispatch_id, stream, job_ids, queued_at, topic_id, partitions, last_offsets)
SELECT md5((n / 10)::text)::uuid, 'marketing', array_agg(job_id ORDER BY job_id), now() - interval '1 minute',
       CASE WHEN n / 10 % 2 = 0 THEN 'topic' END, '{{0,1}}', '{{1,2}}'
FROM made WHERE status = 'QUEUED' GROUP BY n / 10;

INSERT INTO email_content (content_id, html)
SELECT uuidv7(make_interval(days => -day)), 'text' FROM made WHERE n <= 50;
INSERT INTO email_attachment (attachment_id, content)
SELECT uuidv7(make_interval(days => -day)), 'file' FROM made WHERE n <= 50;

CREATE TABLE link_p1 PARTITION OF link FOR VALUES FROM ('{month}') TO ('{month}'::date + interval '1 month');
INSERT INTO link SELECT sha256(int4send(n)), '{month}', 'https://shop.test/' || n
FROM generate_series(1, 20000) AS n;
INSERT INTO relay_inbox (relay, account, headers, body)
SELECT 'sendgrid', 'news', '{{}}', '' FROM generate_series(1, 20000);
INSERT INTO worker (instance_id, role, host, pid) SELECT gen_random_uuid(), 'worker', 'h', 1
FROM generate_series(1, 20);

ANALYZE email_suppression, link, relay_inbox;
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stock(pg_server: str, pg_undated: str) -> AsyncIterator[Stock]:
    """Made once for all plans; each looks at it in a transaction that is rolled back."""
    admin = await open_wire(pg_server, Queries(()), server_settings={})
    try:
        await admin.script(f"CREATE DATABASE plans TEMPLATE {pg_undated} STRATEGY file_copy")
        dsn = urlunsplit(urlsplit(pg_server)._replace(path="/plans"))
        yield await _filled(dsn)
        await admin.script("DROP DATABASE plans WITH (FORCE)")
    finally:
        await admin.close()


async def _filled(dsn: str) -> Stock:
    today, worker = datetime.now(UTC).date(), UUID(int=7)
    db = await open_pool(dsn, PoolKind.GENERAL, load_queries(), max_size=1)
    await make_days(db, [today + timedelta(days=1 - n) for n in range(DAYS)])
    await db.close()
    filler = await open_wire(dsn, _SAMPLES, server_settings={"synchronous_commit": "off"})
    try:
        await filler.script(
            _FILL.format(
                today=today,
                suppressions=SUPPRESSIONS,
                backlog=BACKLOG_TODAY,
                days=DAYS,
                jobs_a_day=JOBS_A_DAY,
                events_a_day=EVENTS_A_DAY,
                worker=worker,
                month=today.replace(day=1),
            )
        )
        pending, sending, doubts, queued, dispatches, old, contents, attachments = [
            await filler.column(UUID, q.name) for q in _SAMPLES.all()
        ]
    finally:
        await filler.close()
    return Stock(dsn, pending, sending, doubts, queued, dispatches, old, contents, attachments, worker)


_SAMPLES: Final = Queries(
    tuple(
        Query(name, "", f"SELECT {column} {where} LIMIT 100", "a test")
        for name, column, where in (
            ("pending", "job_id", "FROM email_job WHERE status = 'PENDING' AND job_id > uuidv7('-1 hour')"),
            ("sending", "job_id", "FROM email_job WHERE status = 'SENDING'"),
            ("doubts", "job_id", "FROM email_job WHERE status = 'UNKNOWN'"),
            ("queued", "job_id", "FROM email_job WHERE status = 'QUEUED' AND job_id > uuidv7('-1 hour')"),
            ("dispatches", "dispatch_id", "FROM dispatch"),
            ("old", "job_id", "FROM made WHERE status = 'SENT' AND day BETWEEN 10 AND 12 AND n % 15 = 0"),
            ("contents", "content_id", "FROM email_content WHERE content_id < uuidv7('-40 days')"),
            (
                "attachments",
                "attachment_id",
                "FROM email_attachment WHERE attachment_id < uuidv7('-40 days')",
            ),
        )
    )
)
