"""Pages by hand with a table in them that is made from code, between marks."""

from typing import Final

END: Final = "<!-- end -->\n"


def between(page: str, begin: str, made: str) -> str:
    """The page with what was made between its marks. Raises ValueError when it has none."""
    before, begun, rest = page.partition(begin)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"the page has no marks: {begin.strip()}")
    return f"{before}{begin}{made}{END}{after}"
