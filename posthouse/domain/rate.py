"""Rates as the configuration writes them: so many in a second, a minute or an hour."""

import re
from typing import Final

_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_FORM = re.compile(r"([1-9][0-9]{0,8})/([smh])")


class Rate:
    """A class of its own kind, so that msgspec asks us how to read it: of a Struct it would want a table."""

    __slots__ = ("count", "unit")

    def __init__(self, count: int, unit: str) -> None:
        self.count = count
        self.unit = unit

    def __str__(self) -> str:
        return f"{self.count}/{self.unit}"

    @property
    def per_second(self) -> float:
        return self.count / _SECONDS[self.unit]


def parse_rate(text: str) -> Rate:
    """ "100/s", "1000/m", "5000/h" -> Rate. Raises ValueError."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a rate: write a whole number and a unit, like 100/s, 1000/m, 5000/h"
        )
    return Rate(int(match[1]), match[2])
