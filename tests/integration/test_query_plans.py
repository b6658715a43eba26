"""The plan of every hot query, as its pool makes it: by its indexes, and only in the days it is about."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import pytest
from plan_stock import Stock, stock
from query_plans import (
    Explained,
    Plan,
    astray,
    days_found_in,
    days_looked_at,
    explained_query,
    read_for_nothing,
)

from posthouse.domain.ids import day_of
from posthouse.storage import timeline
from posthouse.storage.db import PoolKind
from posthouse.storage.spans import EVERYTHING, spans_of
from posthouse.storage.sql import load_queries

__all__ = ["stock"]  # a fixture: tests take it by its name

#: Rows a statement may read for nothing: those of one millisecond of the stock, never those of a day.
AT_MOST_FOR_NOTHING: Final = 1_000


# -- the cases ----------------------------------------------------------------------------------------------


def _lowest_and_highest(ids: Sequence[UUID]) -> tuple[UUID, UUID]:
    return min(ids), max(ids)


def _events(stock: Stock) -> list[object]:
    ids = stock.old
    n = len(ids)
    texts: list[object] = [[None] * n for _ in range(8)]
    now = [datetime.now(UTC)] * n
    ones, words = [1] * n, ["sent"] * n
    return [ids, ids, ones, words, words, now, *texts[:4], ones, *texts[4:], [False] * n, ones, [b"x"] * n]


def _moves(stock: Stock) -> list[object]:
    ids = stock.sending
    n = len(ids)
    nothing: list[object] = [None] * n
    yes, no = [True] * n, [False] * n
    return [ids, ["SENT"] * n, no, nothing, nothing, nothing, nothing, yes, *spans_of(ids)]


Arguments = Callable[[Stock], list[object]]

#: Everything in the stock was added before it, at one time.
_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _claim(stock: Stock) -> list[object]:
    return ["marketing", stock.worker, *EVERYTHING, _LONG_AGO]


def _by_ids(ids: Callable[[Stock], list[UUID]]) -> Arguments:
    return lambda stock: [ids(stock), *_lowest_and_highest(ids(stock))]


QUEUE_CASES: Final[dict[str, Arguments]] = {
    **{f"claim_{limit}": _claim for limit in (1, 10, 32, 100, 500)},
    "claim_quarantined": lambda s: ["marketing", s.worker, *EVERYTHING],
    "quarantine_waiting": lambda s: ["marketing"],
    "claim_queued": lambda s: [
        "marketing",
        s.worker,
        *spans_of(s.queued),
        "QUEUED",
        s.queued,
        [1] * len(s.queued),
    ],
    "standing_of": _by_ids(lambda s: s.queued),
    **{
        f"queue_{limit}": lambda s: ["marketing", uuid4(), *EVERYTHING, _LONG_AGO]
        for limit in (1, 10, 100, 1000)
    },
    "place_dispatch": lambda s: [s.dispatches[0], "topic", [0, 1], [17, 4]],
    "unplaced_dispatches": lambda s: ["marketing", 10.0],
    "placed_dispatches": lambda s: ["marketing"],
    "close_dispatches": lambda s: [s.dispatches[:10]],
    "unqueue_jobs": lambda s: [s.queued, s.dispatches[:1] * len(s.queued), "QUEUED"],
    "queue_flow": lambda s: ["marketing"],
    "release_jobs": lambda s: [
        s.sending,
        [1] * len(s.sending),
        s.worker,
        None,
        "SENDING",
    ],
    "claimed_by": lambda s: [s.worker],
    "contents": _by_ids(lambda s: s.contents),
    "load_attachments": _by_ids(lambda s: s.attachments),
    "lock_jobs": _by_ids(lambda s: s.old),
    "insert_events": _events,
    "soft_bounces": _by_ids(lambda s: s.old),
    "move_jobs": _moves,
    "record_sent": lambda s: [
        s.sending,
        [uuid4() for _ in s.sending],
        [1] * len(s.sending),
        [datetime.now(UTC)] * len(s.sending),
        *[["mail"] * len(s.sending)] * 3,
        [1] * len(s.sending),
        "SENDING",
        *spans_of(s.sending),
    ],
    "outgoing_events": lambda s: [s.sending, s.sending, *spans_of(s.sending)],
    "take_outgoing_events": lambda s: [],
    "oldest_outgoing_event": lambda s: [],
    "mark_jobs": lambda s: [
        s.old,
        *[[datetime.now(UTC)] * len(s.old)] * 4,
        *spans_of(s.old),
    ],
    "suppress": lambda s: [
        [f"gone-{n}@inbox.test" for n in range(50)],
        ["all"] * 50,
        ["SPAM"] * 50,
        [datetime.now(UTC)] * 50,
        s.old[:50],
        ["note"] * 50,
    ],
    "held_by": lambda s: [[s.worker, UUID(int=8)]],
    "count_deaths": _by_ids(lambda s: s.sending),
    "doubts_due": lambda s: [["marketing"]],
    "doubts_to_ask": lambda s: [["transactional", "marketing"]],
    "lock_doubts": lambda s: [s.doubts, *_lowest_and_highest(s.doubts), "UNKNOWN"],
    "hold_doubts": lambda s: [
        s.doubts,
        *_lowest_and_highest(s.doubts),
        datetime.now(UTC),
        "UNKNOWN",
    ],
    "store_links": lambda s: [
        [bytes([n]) * 32 for n in range(50)],
        ["https://shop.test/"] * 50,
        datetime.now(UTC).date().replace(day=1),
    ],
    "reschedule_jobs": lambda s: [
        s.pending,
        *_lowest_and_highest(s.pending),
        datetime.now(UTC),
        datetime.now(UTC),
    ],
    "forbid_repeat": _by_ids(lambda s: s.doubts),
    "find_link": lambda s: [b"\x01" * 32, [datetime.now(UTC).date().replace(day=1)]],
    "read_callbacks": lambda s: [50],
    "drop_callbacks": lambda s: [list(range(1, 50))],
    "postpone_callback": lambda s: [17, datetime.now(UTC)],
}

#: What runs on the general pool, whose planner is free.
GENERAL_CASES: Final[dict[str, Arguments]] = {
    "suppression_page": lambda s: [_LATEST, "", "", "", None, 50],
    "suppression_page_of_reason": lambda s: [_LATEST, "", "", None, "SPAM", 50],
    "suppression_page_of_address": lambda s: [_LATEST, "", "", "", "gone-7@inbox.test", None, None, 50],
    "suppressions_of": lambda s: ["gone-7@inbox.test"],
    "suppression_causes": lambda s: [
        s.old[:8],
        [timeline.bounds(one)[0] for one in s.old[:8]],
        [timeline.bounds(one)[1] for one in s.old[:8]],
        ["bounced"] * 8,
        [datetime.now(UTC)] * 8,
        ["BOUNCE"] * 8,
    ],
    "lock_suppressions": lambda s: ["gone-7@inbox.test"],
    "remove_suppressions": lambda s: ["gone-7@inbox.test", datetime.now(UTC), None, "asked"],
    "as_claimed": lambda s: [s.pending[0]],
    "known_attachments": _by_ids(lambda s: s.attachments),
    "mail_jobs": lambda s: [s.pending[0], *timeline.bounds(s.pending[0])],
    "mail_events": lambda s: [
        [s.pending[0]],
        *timeline.bounds(s.pending[0]),
        *[_LONG_AGO] * 2,
        *[UUID(int=0)] * 2,
        1000,
    ],
    "read_callbacks": lambda s: [50],
    "drop_callbacks": lambda s: [list(range(1, 50))],
    "find_link": lambda s: [b"\x01" * 32, [datetime.now(UTC).date().replace(day=1)]],
}

#: They insert without looking, or read tables of a few rows.
COLD: Final = frozenset(
    {
        "add_suppression",
        "import_suppressions",
        "suppression_removals",
        "template_versions",
        "book",
        "enlist_worker",
        "beat",
        "retire_worker",
        "living_workers",
        "ended_workers",
        "bury_worker",
        "forget_workers",
        "insert_attachments",
        "append_callbacks",
        "keep_callbacks",
        "bury_callback",
        "all_dispatches",
        "put_events_by",
        "events_are_put_by",
    }
)

#: Statements that know their ids and must look at no other day than theirs.
ID_DRIVEN: Final = (
    "release_jobs",
    "claim_queued",
    "standing_of",
    "unqueue_jobs",
    "contents",
    "load_attachments",
    "lock_jobs",
    "soft_bounces",
    "move_jobs",
    "record_sent",
    "mark_jobs",
    "outgoing_events",
    "count_deaths",
    "lock_doubts",
    "hold_doubts",
    "reschedule_jobs",
    "forbid_repeat",
)


# -- the plans ----------------------------------------------------------------------------------------------


async def explain(stock: Stock, kind: PoolKind, name: str, arguments: Arguments) -> Explained:
    return await explained_query(stock.dsn, kind, name, arguments(stock))


@pytest.mark.parametrize("name", QUEUE_CASES)
async def test_the_queue_pool_goes_by_its_indexes(stock: Stock, name: str) -> None:
    explained = await explain(stock, PoolKind.QUEUE, name, QUEUE_CASES[name])
    assert astray(explained.plan) == []
    assert read_for_nothing(explained.plan) <= AT_MOST_FOR_NOTHING


@pytest.mark.parametrize("name", GENERAL_CASES)
async def test_the_general_pool_goes_by_its_indexes(stock: Stock, name: str) -> None:
    explained = await explain(stock, PoolKind.GENERAL, name, GENERAL_CASES[name])
    assert astray(explained.plan) == []
    assert read_for_nothing(explained.plan) <= AT_MOST_FOR_NOTHING


@pytest.mark.parametrize("name", ID_DRIVEN)
async def test_statements_that_know_their_ids_look_at_their_days_only(stock: Stock, name: str) -> None:
    arguments = QUEUE_CASES[name](stock)
    ids = next(argument for argument in arguments if isinstance(argument, list))
    days = [day_of(one) for one in ids if isinstance(one, UUID)]
    allowed = {min(days) + timedelta(days=n) for n in range((max(days) - min(days)).days + 1)}
    explained = await explain(stock, PoolKind.QUEUE, name, QUEUE_CASES[name])
    looked_at = days_looked_at(explained.plan)
    assert looked_at
    assert looked_at <= {f"{day:%Y%m%d}" for day in allowed}


#: How many days' jobs a statement may open: today's, when it says that it is about today.
TODAYS_ONLY: Final[dict[str, Arguments]] = {
    **{f"claim_{limit}": lambda s: _today(s, _claim(s)) for limit in (1, 10, 32, 100, 500)},
    **{
        f"queue_{limit}": lambda s: _today(s, ["marketing", uuid4(), *EVERYTHING, _LONG_AGO])
        for limit in (1, 1000)
    },
    **{name: QUEUE_CASES[name] for name in ("record_sent", "move_jobs", "claim_queued", "outgoing_events")},
}


def _today(stock: Stock, arguments: list[object]) -> list[object]:
    """With the spans of today's pending jobs in the place of everything."""
    return [*arguments[:2], *spans_of(stock.pending), *arguments[6:]]


@pytest.mark.parametrize("name", TODAYS_ONLY)
async def test_only_days_that_a_statement_is_about_are_opened(stock: Stock, name: str) -> None:
    """Forty-four others cost as much as the work. PostgreSQL before 18 opens what an UPDATE may write."""
    explained = await explain(stock, PoolKind.QUEUE, name, TODAYS_ONLY[name])
    opened = [node.relation for node in explained.plan.nodes() if node.relation.startswith("email_job_p")]
    assert 1 <= len(set(opened)) <= 2  # an hour ago may have been yesterday


@pytest.mark.parametrize("look", ["at today", "at everything"])
async def test_a_claim_finds_what_it_picked_only_where_that_is(stock: Stock, look: str) -> None:
    """One at today reads no other day. One at everything asks the others by their ids, and reads no row."""
    today = look == "at today"
    arguments = TODAYS_ONLY["claim_100"] if today else _claim
    explained = await explain(stock, PoolKind.QUEUE, "claim_100", arguments)
    (claimed,) = [node for node in explained.plan.nodes() if node.relation == "email_job"]
    assert claimed.node == "ModifyTable"
    assert read_for_nothing(claimed) == 0
    assert 1 <= len(days_found_in(claimed)) <= 2
    assert not today or len(days_looked_at(claimed)) <= 2


#: They find their rows locked by `lock_jobs`, a statement before.
LOCKED_BEFORE: Final = frozenset({"move_jobs", "mark_jobs"})


def test_who_locks_within_spans_names_its_rows_by_any() -> None:
    """Joined, rows are lost when another transaction changes one of them meanwhile (storage/spans.py)."""
    spanned = [q for q in load_queries().all() if "BETWEEN $" in q.sql and "UPDATE" in q.sql]
    joined = {query.name for query in spanned if re.search(r"\bj\.job_id = (?!ANY\b)", query.sql)}
    assert {query.name for query in spanned} > joined
    assert joined == LOCKED_BEFORE


def test_every_query_of_the_hot_files_is_looked_at_or_named_as_cold() -> None:
    hot_files = {
        "suppressions.sql",
        "jobs.sql",
        "record.sql",
        "leases.sql",
        "inbox.sql",
        "links.sql",
        "timeline.sql",
        "changes.sql",
        "dispatch.sql",
        "attachments.sql",
        "outbox.sql",
    }
    named = {query.name for query in load_queries().all() if query.source in hot_files}
    assert named == set(QUEUE_CASES) | set(GENERAL_CASES) | COLD


def test_the_search_for_bad_plans_finds_them() -> None:
    scan = Plan("Seq Scan", "email_job_p20260101", loops=1.0)
    small = Plan("Seq Scan", "worker", loops=1.0)
    assert astray(Plan("Nested Loop", plans=[scan, small])) == ["Seq Scan email_job_p20260101"]
    assert astray(Plan("Hash Join", plans=[small])) == ["Hash Join"]
    assert (
        read_for_nothing(Plan("Nested Loop", plans=[Plan("Index Scan", loops=100, filtered=600)])) == 60_000
    )
