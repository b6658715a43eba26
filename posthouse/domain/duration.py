"""Durations as the configuration writes them: a number and one unit."""

import re
from datetime import timedelta
from typing import Final

_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}  # milliseconds
_FORM = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def is_duration(text: str) -> bool:
    return _FORM.fullmatch(text) is not None


def parse_duration(text: str) -> timedelta:
    """ "250ms", "10s", "5m", "24h", "45d" -> timedelta. Raises ValueError."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a duration: write a number and a unit, like 250ms, 10s, 5m, 24h, 45d"
        )
    return timedelta(milliseconds=float(match[1]) * _UNITS[match[2]])


def format_duration(value: timedelta) -> str:
    """In the largest unit in which it is a whole number: 90 minutes are "90m"."""
    milliseconds = round(value.total_seconds() * 1000)
    for name, unit in _UNITS.items():
        if milliseconds >= unit and milliseconds % unit == 0:
            return f"{milliseconds // unit}{name}"
    return f"{milliseconds}ms"
