"""Ids of events are the name-based UUIDs of RFC 9562: anybody can make them again, in any language."""

from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from posthouse.domain.ids import JobId, foreign_event_id, own_event_id

_NAMESPACE = UUID("6f0b1f3e-53a1-5d5c-9c0a-3d1f6f6b7a11")
_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.uuids(), st.integers(0, 2**31), _TEXT)
def test_our_own(job_id: UUID, attempt: int, name: str) -> None:
    expected = uuid5(_NAMESPACE, f"{job_id.int:x}:{attempt}:{name}")
    assert own_event_id(JobId(job_id), attempt, name) == expected


@given(_TEXT, _TEXT)
def test_a_relays(relay: str, theirs: str) -> None:
    assert foreign_event_id(relay, theirs) == uuid5(_NAMESPACE, f"{relay}:{theirs}")
