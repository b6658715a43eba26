"""The table of reasons why mail comes back, as a page shows it."""

from typing import Final

from posthouse.cli.docs.marked import between
from posthouse.replies.bounce_rules import REASONS

BEGIN: Final = (
    "<!-- begin: made from posthouse/replies/bounce_rules.toml by `python -m posthouse.cli.docs` -->\n"
)


def with_table(page: str) -> str:
    """The page with the reasons of today between its marks. Raises ValueError when it has none."""
    return between(page, BEGIN, table())


def table() -> str:
    rows = [
        f"| `{reason.value}` | {found.bounce or ''} | {found.action} | {found.means} |"
        for reason, found in REASONS.items()
    ]
    return "\n".join(["| reason | class | action | what it means |", "|---|---|---|---|", *rows]) + "\n"
