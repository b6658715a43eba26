"""The traceparent header: what is well-formed is kept whole, what is not is nothing, whatever it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.trace import Trace, new_trace, read_trace, traceparent_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def hexadecimal(length: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=length, max_size=length)


@given(hexadecimal(32), hexadecimal(16), hexadecimal(2))
def test_a_trace_is_read_as_it_was_written(trace_id: str, span: str, flags: str) -> None:
    found = read_trace(f"00-{trace_id}-{span}-{flags}".encode())
    if set(trace_id) == {"0"} or set(span) == {"0"}:
        assert found is None
    else:
        assert found == Trace(trace_id, flags)


@given(st.binary(max_size=80))
def test_whatever_bytes_come_they_are_a_trace_or_nothing(sent: bytes) -> None:
    found = read_trace(sent)
    assert found is None or re.fullmatch(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", sent)


@given(hexadecimal(32).filter(lambda text: set(text) != {"0"}), hexadecimal(2))
def test_what_we_pass_on_is_the_trace_with_a_span_of_ours(trace_id: str, flags: str) -> None:
    trace = Trace(trace_id, flags)
    one, other = traceparent_of(trace), traceparent_of(trace)
    assert one != other
    assert read_trace(one.encode()) == trace


@pytest.mark.parametrize(
    "malformed",
    [
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}",
        f"cc-{TRACE}-{SPAN}-01.more",
    ],
)
def test_what_is_malformed_is_ignored(malformed: str) -> None:
    assert read_trace(malformed.encode()) is None


def test_a_later_version_may_say_more() -> None:
    assert read_trace(f"cc-{TRACE}-{SPAN}-01-what-is-to-come".encode()) == Trace(TRACE, "01")


def test_a_new_trace_can_be_passed_on() -> None:
    trace = new_trace()
    assert read_trace(traceparent_of(trace).encode()) == trace
