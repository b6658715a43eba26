"""RFC 6901 pointers to what msgspec found wrong: it says so in words only."""

import re
from collections.abc import Sequence

_PLACE = re.compile(r"`\$([^`]*)`$")
_FIELD = re.compile(r"field `([^`]*)`")

#: Stands for the key of a mapping, of which msgspec does not say which it was.
ANY = "*"


def steps_of(message: str) -> list[str]:
    """The way to the value, and to the field that is missing or unknown; empty where nothing is said."""
    place, field = _PLACE.search(message), _FIELD.search(message)
    way = "" if place is None else place[1].replace("[...]", f".{ANY}")
    steps = [step for step in re.split(r"[.\[\]]+", way) if step]
    return steps if field is None else [*steps, field[1]]


def pointer_of(steps: Sequence[str]) -> str:
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
