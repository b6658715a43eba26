"""What one examination finds."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"  # look at it
    FAILED = "failed"  # mail is at risk or late: exit code 1


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    state: State
    found: str
    todo: str = ""  # empty where there is nothing to do


def ok(name: str, found: str) -> Check:
    return Check(name, State.OK, found)


def warning(name: str, found: str, todo: str) -> Check:
    return Check(name, State.WARNING, found, todo)


def failed(name: str, found: str, todo: str) -> Check:
    return Check(name, State.FAILED, found, todo)
