"""The plans of what webhooks do all the time, over a log of 60,000 deliveries and the jobs of 45 days."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from query_plans import astray, explained_query, read_for_nothing
from stored_jobs import make_days

from posthouse.storage.db import Database, PoolKind, open_wire
from posthouse.storage.sql import Queries

_FILL: Final = """
INSERT INTO webhook_endpoint (endpoint_id, url, event_names, event_types, from_domains, sandbox, secret,
                              created_at)
SELECT ('00000000-0000-7000-8000-00000000000' || n)::uuid, 'https://app.example/', '{email.sent}', '{sent}',
       '{}', false, '', now() - interval '30 days'
FROM generate_series(1, 3) AS n;
CREATE TEMP TABLE made AS
SELECT ('018f0000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS message_id, n
FROM generate_series(1, 20000) AS n;
INSERT INTO webhook_message SELECT message_id, '{}' FROM made;
INSERT INTO webhook_delivery (endpoint_id, message_id, name, job_id, state, due_at, attempt)
SELECT endpoint_id, message_id, 'email.sent', NULL,
       CASE WHEN n % 100 = 0 THEN 'failed' WHEN n % 100 = 1 THEN 'pending' ELSE 'delivered' END,
       now() + make_interval(secs => n - 10000), 1
FROM made, webhook_endpoint;
INSERT INTO webhook_attempt (message_id, endpoint_id, attempt, at, ms, http_status, error, response)
SELECT message_id, endpoint_id, 1, now(), 5, 200, '', '' FROM webhook_delivery;
INSERT INTO email_job (job_id, message_id, due_at, expires_at, created_at, status, stream, to_address,
                       address_key, from_address)
SELECT uuidv7(make_interval(days => -(n % 40))), gen_random_uuid(), now(), now(), now(), 'SENT', 'marketing',
       'a@b.test', 'a@b.test', 's@shop.test'
FROM generate_series(1, 4000) AS n;
INSERT INTO email_event (job_id, event_id, occurred_at, attempt, type, origin)
SELECT job_id, gen_random_uuid(), now(), 1, 'sent', 'relay' FROM email_job;
INSERT INTO webhook_event (job_id, event_id) SELECT job_id, event_id FROM email_event;
UPDATE webhook_endpoint SET redeliver_after = '018f0000-0000-7000-8000-000000001000',
                            redeliver_until = '018f0000-0000-7000-8000-000000002000'
WHERE endpoint_id = '00000000-0000-7000-8000-000000000001';
ANALYZE webhook_delivery, webhook_message, webhook_attempt, email_job, email_event, webhook_event;
"""

_ENDPOINT: Final = UUID("00000000-0000-7000-8000-000000000002")
_MESSAGE: Final = UUID("018f0000-0000-7000-8000-000000001001")
_FIRST, _LAST = UUID(int=0), UUID(int=(1 << 128) - 1)
NOW: Final = datetime.now(UTC)
#: Rows that one statement may read and throw away; `delivered_deliveries` walks over what has failed.
FOR_NOTHING: Final = 500

CASES: Final[dict[str, Sequence[object]]] = {
    "take_waiting_events": [100],
    "due_endpoints": [NOW],
    "claim_deliveries": [_ENDPOINT, 16, NOW, NOW + timedelta(minutes=1)],
    "record_attempts": [
        [_ENDPOINT], [_MESSAGE], [1], ["delivered"], [NOW], [NOW], [5], [200], ["-"], ["-"],
    ],
    "redeliver_some": [1000, NOW],
    "redeliver_one": [_ENDPOINT, _MESSAGE, NOW],
    "deliveries": [_ENDPOINT, _LAST, _FIRST, 51],
    "open_deliveries": [_ENDPOINT, _LAST, _FIRST, ["failed"], 51],
    "delivered_deliveries": [_ENDPOINT, _LAST, _FIRST, 51],
    "delivery": [_ENDPOINT, _MESSAGE],
    "delivery_attempts": [_ENDPOINT, [_MESSAGE], 10],
    "forget_notices": [_MESSAGE, 100],
    "webhook_health": [NOW],
}  # fmt: skip


async def test_what_webhooks_do_all_the_time_goes_by_its_indexes(pg_dsn: str, database: Database) -> None:
    today = NOW.date()
    await make_days(database, [today + timedelta(days=1 - n) for n in range(45)])
    filler = await open_wire(pg_dsn, Queries(()), server_settings={})
    await filler.script(_FILL)
    await filler.close()
    wrong = {}
    for name, arguments in CASES.items():
        plan = (await explained_query(pg_dsn, PoolKind.QUEUE, name, arguments)).plan
        if found := [*astray(plan), *(["reads for nothing"] if read_for_nothing(plan) > FOR_NOTHING else [])]:
            wrong[name] = found
    assert wrong == {}
