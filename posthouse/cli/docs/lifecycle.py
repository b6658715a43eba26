"""The table of the lifecycle as a page shows it: a row for each event, a column for states that are alike."""

from collections.abc import Iterator
from typing import Final, assert_never

from posthouse.cli.docs.marked import between
from posthouse.domain.job import Status
from posthouse.domain.lifecycle import TABLE, Move, Signal

BEGIN: Final = "<!-- begin: made from posthouse/domain/lifecycle.py by `python -m posthouse.cli.docs` -->\n"


def with_table(page: str) -> str:
    """The page with the table of today between its marks. Raises ValueError when it has none."""
    return between(page, BEGIN, table())


def table() -> str:
    columns = list(_columns())
    head = " | ".join(", ".join(states) for states in columns)
    lines = [f"| event | {head} |", "|---" * (len(columns) + 1) + "|"]
    for signal in Signal:
        cells = [_words(TABLE[states[0]][signal]) for states in columns]
        lines.append(f"| {signal.value} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _columns() -> Iterator[list[Status]]:
    """States in the order of the table; those with equal rows share a column."""
    shared: list[list[Status]] = []
    for status in TABLE:
        alike = next((states for states in shared if TABLE[states[0]] == TABLE[status]), None)
        if alike is None:
            shared.append([status])
        else:
            alike.append(status)
    yield from shared


def _words(move: Move) -> str:
    match move:
        case Move.STAY:
            return ""
        case Move.RETRY:
            return "PENDING, later"
        case Move.RETRY_SOFT:
            return "PENDING, by the schedule"
        case Move.SENT_IF_IN_DOUBT:
            return "SENT, if in doubt"
        case (
            Move.SENT
            | Move.DELIVERED
            | Move.BOUNCED
            | Move.FAILED
            | Move.UNKNOWN
            | Move.SUPPRESSED
            | Move.CANCELLED
            | Move.EXPIRED
        ):
            return move.name
        case _:
            assert_never(move)
