"""What the sandbox reads off an address, and what it tells of it."""

import string
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_jobs import NOON, claimed_job, rendered

from posthouse.clock import ManualClock
from posthouse.domain.errors import InvalidInput, NotNow
from posthouse.domain.event import BounceClass, EventType
from posthouse.domain.ids import RelayAccount
from posthouse.domain.message import Rendered
from posthouse.domain.sandbox import Ending, ending_of
from posthouse.ingest.normalize import Normalized, Refused, normalize
from posthouse.relays.base import OutcomeUnknown, RawCallback, RejectedMessage
from posthouse.relays.sandbox import SandboxCallbacks, SandboxRelay

GOOD = {
    "job_id": "019c0000-0000-7000-8000-000000000001",
    "attempt": 1,
    "recipient": "bounced@sandbox.invalid",
    "event": "bounced",
    "occurred_at": "2026-01-01T12:00:00Z",
    "bounce": "hard",
}
FIELDS = [*GOOD, "diagnostic", "smtp_code", "url"]
JSON: st.SearchStrategy[object] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(alphabet=string.printable + "\0\u2028é")
    | st.sampled_from(([], {}, [1], "9999-12-31T23:59:59+14:00", 1e300))
)


def entry(name: str, value: object) -> bytes:
    """A body as the sandbox writes it, with one field that it would not."""
    return msgspec.json.encode([{**GOOD, name: value}])


@pytest.mark.parametrize(
    ("address", "ending"),
    [
        *((f"{ending}@sandbox.invalid", ending) for ending in Ending),
        *((f"{ending}+a+b@sandbox.invalid", ending) for ending in Ending),
        ("Soft-Bounced+Order@Sandbox.INVALID", Ending.SOFT_BOUNCED),
        ("ann@sandbox.invalid", Ending.DELIVERED),
        ("bouncedx@sandbox.invalid", Ending.DELIVERED),
        ("+bounced@sandbox.invalid", Ending.DELIVERED),
        # A real address is never what a test bounces.
        ("bounced@gmail.com", Ending.DELIVERED),
        ("complained+x@not-sandbox.invalid", Ending.DELIVERED),
        ("bounced@sandbox.invalid.com", Ending.DELIVERED),
    ],
)
def test_the_local_part_says_what_happens(address: str, ending: Ending) -> None:
    assert ending_of(address) is ending


class Inbox:
    def __init__(self) -> None:
        self.callbacks: list[RawCallback] = []
        self.away = False

    async def append(self, callbacks: object) -> None:
        if self.away:
            raise NotNow("The database is not available.")
        assert isinstance(callbacks, list)
        self.callbacks += callbacks

    def read(self) -> Normalized:
        found = [normalize(callback, SandboxCallbacks()) for callback in self.callbacks]
        [normalized] = [one for one in found if isinstance(one, Normalized)]
        return normalized


def mail_to(address: str) -> Rendered:
    return rendered(msgspec.structs.replace(claimed_job(1), to_address=address))


@pytest.mark.parametrize(
    "address", [f"{ending}@{domain}" for ending in Ending for domain in ("gmail.com", "shop.example")]
)
async def test_only_its_own_addresses_can_come_to_harm(address: str) -> None:
    inbox = Inbox()
    await SandboxRelay(inbox.append, ManualClock(NOON)).send_many([mail_to(address)], lambda: True)
    assert [event.type for event in inbox.read().events] == [EventType.DELIVERED]


async def test_events_name_their_mail_and_keep_their_ids_when_they_are_read_again() -> None:
    inbox = Inbox()
    mail = mail_to("clicked@sandbox.invalid")
    await SandboxRelay(inbox.append, ManualClock(NOON)).send_many([mail], lambda: True)
    events = inbox.read().events
    assert [event.type for event in events] == [EventType.DELIVERED, EventType.OPENED, EventType.CLICKED]
    assert {(event.job_id, event.attempt, event.relay) for event in events} == {(mail.job_id, 1, "sandbox")}
    assert NOON < events[0].occurred_at < events[1].occurred_at < events[2].occurred_at
    assert not any(event.machine for event in events), "a person opens and clicks"
    assert [event.event_id for event in inbox.read().events] == [event.event_id for event in events]
    assert len({event.event_id for event in events}) == 3


@pytest.mark.parametrize(
    ("address", "bounce"),
    [
        ("bounced@sandbox.invalid", BounceClass.HARD),
        ("soft-bounced@sandbox.invalid", BounceClass.SOFT),
    ],
)
async def test_bounces_say_their_class_and_why(address: str, bounce: BounceClass) -> None:
    inbox = Inbox()
    await SandboxRelay(inbox.append, ManualClock(NOON)).send_many([mail_to(address)], lambda: True)
    [event] = inbox.read().events
    assert (event.type, event.bounce, event.recipient) == (EventType.BOUNCED, bounce, address)
    assert event.diagnostic


async def test_what_could_not_be_told_is_in_doubt_and_what_was_refused_is_not() -> None:
    inbox = Inbox()
    inbox.away = True
    mails = [mail_to("delivered@sandbox.invalid"), mail_to("rejected@sandbox.invalid")]
    first, second = await SandboxRelay(inbox.append, ManualClock(NOON)).send_many(mails, lambda: True)
    assert isinstance(first, OutcomeUnknown)
    assert isinstance(second, RejectedMessage)
    assert second.reply


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'[{"event": "bounced"}]', b"\xff", b"["])
def test_what_the_sandbox_did_not_write_is_refused(body: bytes) -> None:
    callback = RawCallback("sandbox", RelayAccount("sandbox"), {}, body)
    assert isinstance(normalize(callback, SandboxCallbacks()), Refused)
    with pytest.raises(InvalidInput):
        SandboxCallbacks().parse(callback)
    assert not SandboxCallbacks().verify(callback)


@given(st.binary() | st.sampled_from(FIELDS).flatmap(lambda name: st.builds(entry, st.just(name), JSON)))
def test_no_body_is_more_than_refused(body: bytes) -> None:
    callback = RawCallback("sandbox", RelayAccount("sandbox"), {}, body)
    assert isinstance(normalize(callback, SandboxCallbacks()), Normalized | Refused)


@given(st.sampled_from(Ending), st.text(alphabet=string.ascii_letters + string.digits + "._-+"))
def test_a_label_changes_nothing(ending: Ending, label: str) -> None:
    assert ending_of(f"{ending}+{label}@sandbox.invalid") is ending


def test_every_address_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/sandbox.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert {row.split("`")[1].partition("+")[0] for row in rows} == {ending.value for ending in Ending}
