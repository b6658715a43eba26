"""Two spans hold all ids of a set, and leave out the widest gap between them."""

from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from posthouse.domain.ids import uuid7
from posthouse.storage.spans import EVERYTHING, Spans, spans_of

_DAY_MS = 86_400_000
_IDS = st.lists(
    st.builds(uuid7, st.integers(0, 60 * _DAY_MS), st.integers(0, 2**74 - 1)), min_size=1, max_size=40
)


def within(one: UUID, spans: Spans) -> bool:
    return spans.low <= one <= spans.high or spans.other_low <= one <= spans.other_high


@given(_IDS)
def test_every_id_is_within(ids: list[UUID]) -> None:
    spans = spans_of(ids)
    assert all(within(one, spans) for one in ids)
    assert all(within(one, EVERYTHING) for one in ids)


@given(_IDS)
def test_the_ends_are_ids_of_the_set_and_the_widest_gap_is_left_out(ids: list[UUID]) -> None:
    spans = spans_of(ids)
    assert spans.low == min(ids)
    if max(ids).int - min(ids).int < _DAY_MS << 80:
        assert spans.high == max(ids)
        return
    assert {spans.high, spans.other_low, spans.other_high} <= set(ids)
    assert spans.other_high == max(ids)
    widest = max(b.int - a.int for a, b in pairwise(sorted(ids)))
    assert spans.other_low.int - spans.high.int == widest


def test_of_nothing_there_is_nothing() -> None:
    assert not within(UUID(int=1), spans_of([]))
