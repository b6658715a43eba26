"""What a mail that came in says of ours: only where our signature stands in it."""

from datetime import UTC, datetime

import pytest
from bounce_mails import failed, mail, report
from hypothesis import given
from hypothesis import strategies as st
from worker_jobs import claimed_job

from posthouse.clock import ManualClock
from posthouse.domain.bounce_mail import INBOUND, INBOUND_ACCOUNT, RECEIVED_HEADER, RECIPIENT_HEADER
from posthouse.domain.event import BounceClass, EventType, Origin
from posthouse.domain.return_path import attempts_in, return_path
from posthouse.ingest.bounce_reader import BounceMails
from posthouse.relays.base import RawCallback

KEY = b"k" * 32
HELD = claimed_job(7, attempt=3).held
OURS = return_path(HELD, "bounce.shop.example", KEY)
OTHER = return_path(claimed_job(8).held, "bounce.shop.example", KEY)
CAME_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)

HARD = failed("ann@example.net", "550 5.1.1 user unknown", "5.1.1")
SOFT = failed("bob@example.net", "452 4.2.2 mailbox full", "4.2.2")


def came(body: bytes, to: str = OURS) -> RawCallback:
    headers = {RECIPIENT_HEADER: to, RECEIVED_HEADER: CAME_AT.isoformat()}
    return RawCallback(INBOUND, INBOUND_ACCOUNT, headers, body)


@pytest.fixture
def reader() -> BounceMails:
    return BounceMails(KEY, ManualClock())


def test_a_bounce_to_a_signed_return_path_is_an_event_of_its_attempt(reader: BounceMails) -> None:
    [event], unplaced = reader.parse(came(report(HARD)))
    assert unplaced == []
    assert (event.job_id, event.attempt) == (HELD.job_id, HELD.attempt)
    assert (event.type, event.bounce, event.origin) == (EventType.BOUNCED, BounceClass.HARD, Origin.RELAY)
    assert (event.smtp_code, event.enhanced_code) == (550, "5.1.1")
    assert event.reason == event.diagnostic == "550 5.1.1 user unknown"
    assert event.occurred_at == CAME_AT


def test_the_same_report_twice_is_one_event(reader: BounceMails) -> None:
    [first], _ = reader.parse(came(report(HARD)))
    [second], _ = reader.parse(came(report(HARD)))
    [other], _ = reader.parse(came(report(SOFT)))
    assert first.event_id == second.event_id != other.event_id


def test_of_several_recipients_the_mildest_word_counts(reader: BounceMails) -> None:
    [event], _ = reader.parse(came(report(HARD, SOFT)))
    assert event.bounce is BounceClass.SOFT


def test_a_report_to_another_address_counts_by_the_return_path_that_it_quotes(reader: BounceMails) -> None:
    quoting = report(HARD).replace(b"b+0123@bounce.shop.example", OURS.encode())
    [event], _ = reader.parse(came(quoting, to="postmaster@bounce.shop.example"))
    assert event.job_id == HELD.job_id


@pytest.mark.parametrize("to", ["postmaster@bounce.shop.example", "", "b+00@bounce.shop.example"])
def test_a_report_without_our_signature_suppresses_nobody(reader: BounceMails, to: str) -> None:
    events, [stray] = reader.parse(came(report(HARD), to=to))
    assert events == []
    assert stray.recipient is None


def test_a_mail_that_quotes_two_of_ours_is_about_neither(reader: BounceMails) -> None:
    both = report(HARD).replace(b"b+0123@bounce.shop.example", f"{OURS}, {OTHER}".encode())
    events, [stray] = reader.parse(came(both, to=""))
    assert (events, stray.recipient) == ([], None)


def test_a_forged_return_path_is_not_ours() -> None:
    forged = OURS.replace("b+0", "b+1", 1)
    assert attempts_in(f"Return-Path: <{forged}>".encode(), KEY) == []
    assert attempts_in(f"Return-Path: <{OURS}>".encode(), b"x" * 32) == []
    assert attempts_in(f"Return-Path: <{OURS.upper()}>".encode(), KEY) == [HELD]


def test_a_robots_answer_is_nothing_and_a_persons_is_for_a_person(reader: BounceMails) -> None:
    away = mail(
        "I am away.", sender="ann@example.net", subject="Out of office", Auto_Submitted="auto-replied"
    )
    assert reader.parse(came(away)) == ([], [])
    events, [stray] = reader.parse(came(mail("Please call me.", sender="ann@example.net", subject="Order")))
    assert (events, stray.type) == ([], EventType.UNKNOWN)


def test_nobody_posts_in_its_name(reader: BounceMails) -> None:
    assert not reader.verify(came(report(HARD)))


@given(st.binary(max_size=2000), st.text(max_size=100))
def test_whatever_comes_has_an_answer(body: bytes, to: str) -> None:
    events, unplaced = BounceMails(KEY, ManualClock()).parse(came(body, to))
    assert events == []
    assert all(stray.recipient is None for stray in unplaced)
