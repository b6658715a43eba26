"""The plan of every query of a list: ids come out of an index in their order, and no day is read in vain.

Over 45 day partitions, one of them analysed while it was empty, as the API's pool makes them.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import pytest
import pytest_asyncio
from query_plans import Plan, astray, days_looked_at, explained_query, read_for_nothing
from stored_jobs import make_days

from posthouse.domain.ids import day_of, first_of_day
from posthouse.storage.db import PoolKind, open_pool, open_wire
from posthouse.storage.listing import FIRST, LAST
from posthouse.storage.sql import Queries, Query, load_queries

DAYS: Final = 45
JOBS_A_DAY: Final = 2_000
ENDS_A_DAY: Final = 40  # of one kind
STEP: Final = 1_000
TODAY: Final = datetime.now(UTC).date()

#: Each day 40 jobs of each of five ends, 100 that wait; all have one template, half of them a tag.
_FILL: Final = """
ALTER TABLE email_job_p{today:%Y%m%d} SET (autovacuum_enabled = false);
ALTER TABLE email_term_p{today:%Y%m%d} SET (autovacuum_enabled = false);
ANALYZE email_job_p{today:%Y%m%d}, email_term_p{today:%Y%m%d};

CREATE TEMP TABLE made AS
SELECT uuidv7(make_interval(days => -day)) AS job_id, day, n,
       CASE WHEN n % 10 = 0 THEN
                (ARRAY['UNKNOWN', 'BOUNCED', 'FAILED', 'SUPPRESSED', 'EXPIRED'])[1 + n / 10 % 5]
            WHEN n % 20 = 1 THEN 'PENDING'
            WHEN day = 0 AND n % 100 = 2 THEN 'SENDING'
            ELSE 'DELIVERED' END AS status
FROM generate_series(0, {days} - 2) AS day, generate_series(1, {jobs_a_day}) AS n;

INSERT INTO email_job (job_id, message_id, due_at, expires_at, created_at, status, stream, to_address,
                       address_key, from_address, claimed_by, attempt, template_id, tags)
SELECT job_id, job_id, now() - make_interval(days => day, secs => n / 100.0), now() + interval '1 day',
       now() - make_interval(days => day), status, 'transactional', n % 500 || '@inbox.test',
       n % 500 || '@inbox.test', 's@shop.test', CASE WHEN status = 'SENDING' THEN job_id END, 1, 1,
       '[{{"name": "kind", "value": "receipt"}}]'
FROM made;

INSERT INTO email_term (term, job_id)
SELECT 'r:' || n % 500 || '@inbox.test', job_id FROM made
UNION ALL SELECT 'k:1', job_id FROM made
UNION ALL SELECT 't:kind=receipt', job_id FROM made WHERE n % 2 = 0;

INSERT INTO email_event (job_id, event_id, occurred_at, attempt, type, origin)
SELECT job_id, gen_random_uuid(), now(), 0, 'accepted', 'house' FROM made;
"""
_SAMPLE: Final = Query(
    "ids",
    "",
    f"SELECT job_id FROM email_term WHERE term = 'r:7@inbox.test' ORDER BY job_id DESC LIMIT {STEP}",
    "a test",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dsn(pg_server: str, pg_undated: str) -> AsyncIterator[str]:
    """Made once for all plans; each looks at it in a transaction that is rolled back."""
    admin = await open_wire(pg_server, Queries(()), server_settings={})
    try:
        await admin.script(f"CREATE DATABASE list_plans TEMPLATE {pg_undated} STRATEGY file_copy")
        made = urlunsplit(urlsplit(pg_server)._replace(path="/list_plans"))
        await _fill(made)
        yield made
        await admin.script("DROP DATABASE list_plans WITH (FORCE)")
    finally:
        await admin.close()


async def _fill(dsn: str) -> None:
    db = await open_pool(dsn, PoolKind.GENERAL, load_queries(), max_size=1)
    await make_days(db, [TODAY + timedelta(days=1 - n) for n in range(DAYS)])
    await db.close()
    filler = await open_wire(dsn, Queries(()), server_settings={"synchronous_commit": "off"})
    try:
        await filler.script(_FILL.format(today=TODAY, days=DAYS, jobs_a_day=JOBS_A_DAY))
    finally:
        await filler.close()


async def plan_of(dsn: str, name: str, arguments: Sequence[object]) -> Plan:
    explained = await explained_query(dsn, PoolKind.GENERAL, name, arguments, after="hold_planner")
    assert astray(explained.plan) == []
    return explained.plan


#: The arguments before the span.
SOURCES: Final[dict[str, list[object]]] = {
    "ids_by_term_older": ["k:1"],
    "ids_by_term_newer": ["k:1"],
    "ids_of_all_older": [],
    "ids_of_all_newer": [],
    "ids_by_end_older": [["BOUNCED", "FAILED"]],
    "ids_by_end_newer": [["BOUNCED", "FAILED"]],
}
IN_ORDER: Final = [name for name in SOURCES if not name.startswith("ids_by_end")]


@pytest.mark.parametrize("name", SOURCES)
async def test_ids_come_in_order_and_no_further_than_a_step(dsn: str, name: str) -> None:
    plan = await plan_of(dsn, name, [*SOURCES[name], FIRST, LAST, STEP])
    assert plan.rows == STEP
    assert len(days_looked_at(plan)) <= STEP / ENDS_A_DAY + 2
    assert read_for_nothing(plan) == 0
    sorted_rows = [node.plans[0].rows for node in plan.nodes() if "Sort" in node.node]
    assert all(rows <= 2 * STEP for rows in sorted_rows)
    if name in IN_ORDER:
        kinds = {node.node for node in plan.nodes()}
        assert kinds == {"Limit", "Append", "Index Only Scan"}
        assert len(days_looked_at(plan)) <= 2


@pytest.mark.parametrize("name", SOURCES)
async def test_a_span_of_a_day_reads_that_day(dsn: str, name: str) -> None:
    day = TODAY - timedelta(days=20)
    span = [first_of_day(day), first_of_day(day + timedelta(days=1))]
    plan = await plan_of(dsn, name, [*SOURCES[name], *span, STEP])
    assert relations_days(plan) == {f"{day:%Y%m%d}"}


def relations_days(plan: Plan) -> set[str]:
    """Of all partitions that are left in the plan, read or not."""
    return {node.relation.rpartition("_p")[2] for node in plan.nodes() if "_p" in node.relation}


@pytest.mark.parametrize("today", [True, False], ids=["analysed_empty", "other_days"])
async def test_what_nobody_was_mailed_costs_a_look_into_each_day(dsn: str, today: bool) -> None:
    first = first_of_day(TODAY) if today else FIRST
    plan = await plan_of(dsn, "ids_by_term_older", ["r:nobody@inbox.test", first, LAST, STEP])
    assert (plan.rows, read_for_nothing(plan)) == (0, 0)


async def test_what_waits_is_found_by_the_queue(dsn: str) -> None:
    for name, arguments in (("ids_waiting", ["transactional", STEP]), ("ids_in_hand", [STEP])):
        plan = await plan_of(dsn, name, arguments)
        assert plan.rows > 0
        assert read_for_nothing(plan) == 0
        assert all("Sort" not in node.node for node in plan.nodes())


FILTERS: Final[dict[str, list[object]]] = {
    "nothing": [False, ["marketing", "transactional"], *[None] * 6],
    "everything": [
        False,
        ["transactional"],
        ["BOUNCED", "DELIVERED", "PENDING"],
        "7@inbox.test",
        '[{"name": "kind", "value": "receipt"}]',
        None,
        1,
        ["shop.test"],
    ],
}


@pytest.mark.parametrize("wanted", FILTERS)
async def test_the_rest_of_a_filter_reads_what_it_is_given(dsn: str, wanted: str) -> None:
    ids = await _sample(dsn)
    days = {day_of(job_id) for job_id in ids}
    plan = await plan_of(dsn, "listed_jobs", [ids, min(ids), max(ids), *FILTERS[wanted]])
    assert read_for_nothing(plan) <= len(ids)
    assert days_looked_at(plan) <= {f"{day:%Y%m%d}" for day in days}
    assert plan.rows > 0


async def test_one_days_ids_read_one_day(dsn: str) -> None:
    (newest, *_) = await _sample(dsn)
    plan = await plan_of(dsn, "listed_jobs", [[newest], newest, newest, *FILTERS["nothing"]])
    assert relations_days(plan) == {f"{day_of(newest):%Y%m%d}"}


async def _sample(dsn: str) -> list[UUID]:
    wire = await open_wire(dsn, Queries((_SAMPLE,)), server_settings={})
    try:
        return await wire.column(UUID, "ids")
    finally:
        await wire.close()


def test_every_query_of_a_list_is_looked_at() -> None:
    named = {query.name for query in load_queries().all() if query.source == "listing.sql"}
    assert named == {*SOURCES, "ids_waiting", "ids_in_hand", "listed_jobs", "hold_planner"}
