"""The laws of the way back: what every reader of a relay's callbacks must do.

A test module of an adapter writes a harness (a reader, and a relay's side that can sign) and subclasses the
suite:

    class TestSendGrid(EventLaws):
        @pytest.fixture
        def harness(self) -> EventHarness:
            return SendGridHarness()
"""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

import msgspec
import pytest

from posthouse.clock import ManualClock
from posthouse.domain.errors import InvalidInput
from posthouse.domain.event import BounceClass, Event, EventType, Origin
from posthouse.domain.ids import JobId, own_event_id, uuid7
from posthouse.relays.base import CallbackReader, RawCallback, Unplaced

RECIPIENT = "ann@example.org"


class EventHarness(Protocol):
    """A reader, and the relay whose callbacks it reads."""

    reader: CallbackReader
    clock: ManualClock
    #: Every documented word, and what it means.
    words: Mapping[str, tuple[EventType, BounceClass | None]]
    #: How old a callback may be that the relay repeats; None where nothing signs the time.
    repeats_for: timedelta | None
    #: Whether one callback may bring several events.
    batches: bool

    def entry(self, word: str, *, job_id: JobId | None, attempt: int = 1, serial: int = 1) -> bytes:
        """One event; without a job, of mail that is not ours."""
        ...

    def dirty_entry(self, word: str, job_id: JobId) -> bytes:
        """The same with NULs and half surrogate pairs in its texts, as the relay may escape them."""
        ...

    def bad_entries(self) -> Sequence[bytes]:
        """Values that stand where an event should, and are none."""
        ...

    def unreadable(self) -> Sequence[bytes]:
        """Bodies that hold no events at all."""
        ...

    def callback(self, entries: Sequence[bytes]) -> RawCallback:
        """Signed now. One entry, where callbacks bring no more."""
        ...

    def signed(self, body: bytes) -> RawCallback: ...

    def forgeries(self, genuine: RawCallback) -> Sequence[RawCallback]:
        """Each breaks another part of the signature."""
        ...


def a_job(harness: EventHarness, number: int = 1) -> JobId:
    return JobId(uuid7(int(harness.clock.now().timestamp() * 1000) - 60_000, number))


def read_one(harness: EventHarness, entry: bytes) -> Event:
    events, unplaced = harness.reader.parse(harness.callback([entry]))
    assert unplaced == []
    [event] = events
    return event


class EventLaws:
    """Every reader passes these."""

    @pytest.fixture
    def harness(self) -> EventHarness:
        raise NotImplementedError("the adapter's test module brings its harness")

    def test_every_documented_word_has_its_meaning(self, harness: EventHarness) -> None:
        job_id = a_job(harness)
        assert harness.words
        for word, meaning in harness.words.items():
            event = read_one(harness, harness.entry(word, job_id=job_id, attempt=3))
            assert (event.type, event.bounce) == meaning, word
            assert (event.job_id, event.attempt, event.origin) == (job_id, 3, Origin.RELAY)
            assert (event.relay, event.recipient) == (harness.reader.account, RECIPIENT)

    def test_an_unheard_word_is_kept_as_unknown(self, harness: EventHarness) -> None:
        event = read_one(harness, harness.entry("teleported", job_id=a_job(harness)))
        assert event.type is EventType.UNKNOWN
        assert event.bounce is None
        assert event.raw is not None
        assert b"teleported" in event.raw

    def test_a_bounce_always_has_its_class(self, harness: EventHarness) -> None:
        for kind, bounce in harness.words.values():
            assert (kind is EventType.BOUNCED) == (bounce is not None)

    def test_the_relays_acceptance_is_our_own_fact(self, harness: EventHarness) -> None:
        job_id = a_job(harness)
        for word, (kind, _) in harness.words.items():
            event = read_one(harness, harness.entry(word, job_id=job_id, attempt=2))
            ours = own_event_id(job_id, 2, EventType.SENT.value)
            assert (event.event_id == ours) == (kind is EventType.SENT), word

    def test_a_repeated_event_keeps_its_id(self, harness: EventHarness) -> None:
        job_id = a_job(harness)
        for word in harness.words:
            entry = harness.entry(word, job_id=job_id)
            first = read_one(harness, entry)
            harness.clock.advance(3600)
            assert read_one(harness, entry).event_id == first.event_id

    def test_two_events_have_two_ids(self, harness: EventHarness) -> None:
        job_id = a_job(harness)
        for word, (kind, _) in harness.words.items():
            if kind is EventType.SENT:
                continue
            one = read_one(harness, harness.entry(word, job_id=job_id, serial=1))
            other = read_one(harness, harness.entry(word, job_id=job_id, serial=2))
            assert one.event_id != other.event_id, word

    def test_mail_that_is_not_ours_is_unplaced_with_its_address(self, harness: EventHarness) -> None:
        for word, (kind, bounce) in harness.words.items():
            entry = harness.entry(word, job_id=None)
            events, unplaced = harness.reader.parse(harness.callback([entry]))
            assert events == []
            [stray] = unplaced
            assert (stray.recipient, stray.type, stray.bounce) == (RECIPIENT, kind, bounce)
            assert word.partition(":")[0].encode() in stray.raw

    def test_one_bad_entry_never_costs_the_good(self, harness: EventHarness) -> None:
        word = next(iter(harness.words))
        good = [harness.entry(word, job_id=a_job(harness, n), serial=n) for n in (1, 2)]
        bad = harness.bad_entries()
        assert bad
        for entry in bad:
            if not harness.batches:
                events, [stray] = harness.reader.parse(harness.callback([entry]))
                assert (events, stray.type) == ([], EventType.UNKNOWN), entry
                continue
            events, unplaced = harness.reader.parse(harness.callback([good[0], entry, good[1]]))
            assert [event.job_id for event in events] == [a_job(harness, 1), a_job(harness, 2)], entry
            assert len(unplaced) == 1, entry

    def test_what_is_no_body_is_refused(self, harness: EventHarness) -> None:
        for body in harness.unreadable():
            with pytest.raises(InvalidInput):
                harness.reader.parse(harness.signed(body))

    def test_texts_can_be_stored(self, harness: EventHarness) -> None:
        for word in harness.words:
            event = read_one(harness, harness.dirty_entry(word, a_job(harness)))
            for text in texts_of(event):
                assert "\0" not in text
                text.encode("utf-8")

    def test_no_event_is_older_than_its_job_or_ahead_of_us(self, harness: EventHarness) -> None:
        job_id = a_job(harness)
        made = harness.clock.now() - timedelta(seconds=60)
        for word in harness.words:
            event = read_one(harness, harness.entry(word, job_id=job_id))
            assert made <= event.occurred_at <= harness.clock.now()
            assert event.occurred_at.tzinfo is not None

    def test_a_genuine_callback_passes(self, harness: EventHarness) -> None:
        word = next(iter(harness.words))
        assert harness.reader.verify(harness.callback([harness.entry(word, job_id=a_job(harness))]))

    def test_a_forged_callback_does_not(self, harness: EventHarness) -> None:
        word = next(iter(harness.words))
        genuine = harness.callback([harness.entry(word, job_id=a_job(harness))])
        forgeries = harness.forgeries(genuine)
        assert forgeries
        for forged in forgeries:
            assert harness.reader.verify(forged) is False, forged

    def test_a_repetition_passes_until_the_relay_has_given_up(self, harness: EventHarness) -> None:
        if harness.repeats_for is None:
            return
        genuine = harness.callback([])
        harness.clock.advance(harness.repeats_for.total_seconds())
        assert harness.reader.verify(genuine)
        harness.clock.advance(harness.repeats_for.total_seconds())
        assert harness.reader.verify(genuine) is False


def texts_of(event: Event | Unplaced) -> list[str]:
    values = msgspec.structs.astuple(event) if isinstance(event, Event) else dataclasses.astuple(event)
    return [value for value in values if isinstance(value, str)]
