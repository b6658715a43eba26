"""Machines are marked, people are not: agents as they are seen in the wild."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from posthouse.domain.errors import InvalidInput
from posthouse.domain.event import Event, EventType, Origin
from posthouse.domain.ids import EventId, JobId, RelayAccount, own_event_id, uuid7
from posthouse.ingest.machines import Act, Verdict, judge
from posthouse.ingest.normalize import Normalized, Refused, normalize
from posthouse.relays.base import RawCallback, Unplaced

AGENTS = msgspec.toml.decode(
    (Path(__file__).parent / "ingest_agents.toml").read_bytes(), type=dict[str, list[str]]
)
BROWSERS, MAIL_CLIENTS, MACHINES = (AGENTS[kind] for kind in ("browsers", "mail_clients", "machines"))


@pytest.mark.parametrize("agent", BROWSERS + MAIL_CLIENTS)
def test_a_person_opens(agent: str) -> None:
    assert judge(Act.OPEN, user_agent=agent, seconds_since_sent=60).verdict is Verdict.NO


@pytest.mark.parametrize("agent", BROWSERS)
def test_a_person_clicks(agent: str) -> None:
    assert judge(Act.CLICK, user_agent=agent, seconds_since_sent=60).verdict is Verdict.NO


@pytest.mark.parametrize("act", list(Act))
@pytest.mark.parametrize("agent", MACHINES)
def test_a_machine_is_one(agent: str, act: Act) -> None:
    judgement = judge(act, user_agent=agent)
    assert judgement.is_machine, judgement
    assert judgement.reason


def test_apples_prefetch_is_marked_and_its_people_are_not() -> None:
    assert judge(Act.OPEN, user_agent="Mozilla/5.0").is_machine
    assert not judge(Act.CLICK, user_agent="Mozilla/5.0").is_machine
    assert not judge(Act.OPEN, user_agent="Mozilla/5.0 (Windows NT 10.0)").is_machine


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(0.2, Verdict.YES), (3.0, Verdict.LIKELY), (60.0, Verdict.NO), (None, Verdict.NO)],
)
def test_a_click_needs_time_to_read(seconds: float | None, verdict: Verdict) -> None:
    judgement = judge(Act.CLICK, user_agent=BROWSERS[0], seconds_since_sent=seconds)
    assert judgement.verdict is verdict
    assert judge(Act.OPEN, user_agent=BROWSERS[0], seconds_since_sent=seconds).verdict is Verdict.NO


@pytest.mark.parametrize("method", ["HEAD", "head", "OPTIONS"])
def test_a_question_about_a_link_is_no_click(method: str) -> None:
    assert judge(Act.CLICK, user_agent=BROWSERS[0], method=method).is_machine


@pytest.mark.parametrize(
    ("referrer", "verdict"),
    [
        ("https://eur01.safelinks.protection.outlook.com/?url=x", Verdict.LIKELY),
        ("https://urldefense.com/v3/__x", Verdict.LIKELY),
        ("https://protect-eu.mimecast.com/s/x", Verdict.LIKELY),
        ("https://safelinks.protection.outlook.com.evil.example/", Verdict.NO),
        ("https://evil.example/?urldefense.com", Verdict.NO),
        ("https://urldefense.com@evil.example/", Verdict.NO),
        ("https://noturldefense.com/", Verdict.NO),
        ("urldefense.com", Verdict.NO),
        ("", Verdict.NO),
        ("\0://[" * 1000, Verdict.NO),
    ],
)
def test_link_checkers_leave_a_trace_that_proves_little(referrer: str, verdict: Verdict) -> None:
    assert judge(Act.CLICK, user_agent=BROWSERS[0], referrer=referrer).verdict is verdict


def test_no_agent_at_all() -> None:
    assert judge(Act.CLICK, user_agent="").verdict is Verdict.YES
    assert judge(Act.OPEN, user_agent="").verdict is Verdict.LIKELY
    assert judge(Act.OPEN, user_agent=None).verdict is Verdict.NO
    assert judge(Act.CLICK, user_agent=None).verdict is Verdict.NO


def test_a_huge_agent_is_judged_at_once() -> None:
    assert judge(Act.OPEN, user_agent="Mozilla/5.0 (compatible " * 1_000_000).verdict in Verdict


class Read:
    """A reader that has read already."""

    relay = "sendgrid"
    account = RelayAccount("sg")

    def __init__(self, events: Sequence[Event] | None) -> None:
        self.events = events

    def verify(self, callback: RawCallback) -> bool:
        return True

    def parse(self, callback: RawCallback) -> tuple[list[Event], list[Unplaced]]:
        if self.events is None:
            raise InvalidInput("the body is not a JSON array")
        return list(self.events), [Unplaced(None, EventType.UNKNOWN, None, b"5")]


CALLBACK = RawCallback("sendgrid", RelayAccount("sg"), {}, b"")
JOB = JobId(uuid7(1_772_323_200_000, 1))
OPENED = Event(
    job_id=JOB,
    event_id=EventId(own_event_id(JOB, 1, "opened")),
    attempt=1,
    type=EventType.OPENED,
    origin=Origin.RELAY,
    occurred_at=datetime(2026, 3, 1, tzinfo=UTC),
)


def test_a_relays_opens_and_clicks_are_judged_too() -> None:
    person = replace(OPENED, user_agent=BROWSERS[0])
    scanner = replace(OPENED, type=EventType.CLICKED, user_agent="Barracuda")
    told = replace(OPENED, user_agent=BROWSERS[0], machine=True)
    other = replace(OPENED, type=EventType.DELIVERED, user_agent="curl/8")
    result = normalize(CALLBACK, Read([person, scanner, told, other]))
    assert isinstance(result, Normalized)
    assert [event.machine for event in result.events] == [False, True, True, False]
    assert len(result.unplaced) == 1


def test_what_cannot_be_read_is_refused_with_the_reason() -> None:
    assert normalize(CALLBACK, Read(None)) == Refused("the body is not a JSON array")
