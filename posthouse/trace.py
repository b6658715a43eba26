"""W3C trace context: the trace that a request belongs to, by the `traceparent` header."""

import os
import re
from typing import NamedTuple

_FORM = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16


class Trace(NamedTuple):
    """A trace, as hexadecimal, and whether the caller records it (the flags)."""

    trace_id: str
    flags: str


def read_trace(traceparent: bytes) -> Trace | None:
    """None for what is malformed, which the specification says to ignore. Versions to come may add fields."""
    found = _FORM.fullmatch(traceparent)
    if found is None or found["version"] == b"ff" or (found["version"] == b"00" and found["more"]):
        return None
    if found["trace"] == _NO_TRACE or found["span"] == _NO_SPAN:
        return None
    return Trace(found["trace"].decode("ascii"), found["flags"].decode("ascii"))


def new_trace() -> Trace:
    """For a request that came without one; nobody records it."""
    return Trace(os.urandom(16).hex(), "00")


def traceparent_of(trace: Trace) -> str:
    """Our place in the trace, as a header: its own span, not the caller's."""
    return f"00-{trace.trace_id}-{os.urandom(8).hex()}-{trace.flags}"
