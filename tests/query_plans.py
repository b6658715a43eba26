"""Plans of named queries as PostgreSQL makes them, and what is wrong with one."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from posthouse.storage.db import PoolKind, open_pool
from posthouse.storage.sql import Queries, Query, load_queries

_TABLES: Final = (
    "email_job",
    "email_event",
    "email_content",
    "email_attachment",
    "email_term",
    "email_suppression",
    "link",
    "relay_inbox",
    "webhook_event",
    "webhook_message",
    "webhook_delivery",
    "webhook_attempt",
    "dispatch",
)
_BAD_JOINS: Final = frozenset({"Hash Join", "Merge Join"})

_NODE: Final = {
    "node": "Node Type",
    "relation": "Relation Name",
    "rows": "Actual Rows",
    "loops": "Actual Loops",
    "filtered": "Rows Removed by Filter",
    "unjoined": "Rows Removed by Join Filter",
    "plans": "Plans",
}
_TIMES: Final = {"plan": "Plan", "planning": "Planning Time", "execution": "Execution Time"}


class Plan(msgspec.Struct, rename=_NODE):
    """A node of EXPLAIN's JSON and the nodes under it."""

    node: str
    relation: str = ""
    rows: float = 0  # in each loop
    loops: float = 0
    filtered: float = 0  # rows that were read for nothing, in each loop
    unjoined: float = 0
    plans: list["Plan"] = []

    def nodes(self) -> Iterator["Plan"]:
        yield self
        for plan in self.plans:
            yield from plan.nodes()


class Explained(msgspec.Struct, rename=_TIMES):
    plan: Plan
    planning: float  # ms
    execution: float


class RolledBack(Exception):
    """Ends the transaction in which a statement was looked at."""


async def explained_query(
    dsn: str, kind: PoolKind, name: str, arguments: Sequence[object], *, after: str = ""
) -> Explained:
    """A query executed once, as a pool's connection plans it (`after` another one ran), and undone."""
    queries = load_queries()
    values = ", ".join(_literal(value) for value in arguments)
    execute = f"EXECUTE looked_at({values})" if values else "EXECUTE looked_at"
    query = Query("explain", "", f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {execute}", "a test")
    db = await open_pool(dsn, kind, Queries((query,)), max_size=1)
    raw = b""
    try:
        with suppress(RolledBack):
            async with db.transaction() as tx:
                if after:
                    await tx.script(queries[after])
                await tx.script(f"PREPARE looked_at AS {queries[name]}")
                raw = await tx.value(bytes, "explain")
                raise RolledBack
    finally:
        await db.close()
    (explained,) = msgspec.json.decode(raw, type=list[Explained])
    return explained


def _literal(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case list():
            return "'{" + ",".join(_element(one).replace("'", "''") for one in value) + "}'"
        case _:
            return "'" + _plain(value).replace("'", "''") + "'"


def _element(value: object) -> str:
    return "NULL" if value is None else '"' + _plain(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(value: object) -> str:
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)


def _hot(relation: str) -> bool:
    return relation.startswith(_TABLES)


def astray(plan: Plan) -> list[str]:
    """What no hot statement may do: read a table from end to end, or build a join of one."""
    return [
        f"{node.node} {node.relation}".rstrip()
        for node in plan.nodes()
        if (node.node == "Seq Scan" and _hot(node.relation)) or node.node in _BAD_JOINS
    ]


def read_for_nothing(plan: Plan) -> float:
    """Rows that were read and thrown away: a range that is read for each row of a set shows here."""
    read = [node for node in plan.nodes() if node.node != "CTE Scan"]
    return sum((node.filtered + node.unjoined) * max(1.0, node.loops) for node in read)


def days_looked_at(plan: Plan) -> set[str]:
    """Days of the partitions that were read, as they stand in their names."""
    return _days(node for node in plan.nodes() if node.loops > 0)


def days_found_in(plan: Plan) -> set[str]:
    """Days of the partitions of which a row was read."""
    return _days(node for node in plan.nodes() if node.rows > 0)


def _days(nodes: Iterable[Plan]) -> set[str]:
    parts = (node.relation.rpartition("_p") for node in nodes if _hot(node.relation))
    return {day for _, partition, day in parts if partition}
