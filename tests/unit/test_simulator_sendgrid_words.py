"""The words in which the simulated SendGrid refuses, and the JSON of its events."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.simulator.course import Step
from posthouse.simulator.events import EventKind
from posthouse.simulator.providers import DEFAULT_TABLE, Providers
from posthouse.simulator.sendgrid_events import Named, event_id, payload
from posthouse.simulator.sendgrid_schema import BadRequestError, parse_mail_send

GOOD: dict[str, object] = {
    "personalizations": [{"to": [{"email": "ann@example.net"}], "custom_args": {"k": "v"}}],
    "from": {"email": "news@shop.example"},
    "subject": "Hi",
    "content": [{"type": "text/plain", "value": "a"}, {"type": "text/html", "value": "b"}],
}
TO = [{"email": "ann@example.net"}]


def fields(body: bytes) -> list[str | None]:
    with pytest.raises(BadRequestError) as caught:
        parse_mail_send(body)
    assert all(error.message for error in caught.value.errors)
    return [error.field for error in caught.value.errors]


def test_a_good_request_is_read() -> None:
    mail = parse_mail_send(msgspec.json.encode(GOOD | {"send_at": 1, "asm": {"group_id": 1}}))
    assert (mail.text(), mail.html()) == ("a", "b")
    assert mail.personalizations[0].custom_args == {"k": "v"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"personalizations": []}, "personalizations"),
        ({"personalizations": [{"to": []}]}, "personalizations.0.to"),
        ({"personalizations": [{"to": [{"email": "no address"}]}]}, "personalizations.0.to.0.email"),
        ({"personalizations": [{"to": TO, "bcc": [{"email": "Ann@Example.NET"}]}]}, "personalizations.0"),
        ({"personalizations": [{"to": TO}] * 1001}, "personalizations"),
        ({"personalizations": [{"to": TO, "custom_args": {"n": 1}}]}, "personalizations.0.custom_args"),
        ({"from": None}, "from"),
        ({"from": {"email": "a,b@c.example"}}, "from.email"),
        ({"subject": ""}, "subject"),
        ({"content": []}, "content"),
        ({"content": [{"type": "text/html", "value": "b"}, {"type": "text/plain", "value": "a"}]}, "content"),
        ({"content": [{"type": "text/plain", "value": ""}]}, "content.0.value"),
        ({"content": [{"type": "html", "value": "b"}]}, "content.0.type"),
        ({"template_id": "d-1"}, "template_id"),
        ({"headers": {"Subject": "x"}}, "headers.Subject"),
        ({"headers": {"X-A": "a\r\nBcc: b"}}, "headers.X-A"),
        ({"headers": {"X-A": "ü"}}, "headers.X-A"),
        ({"categories": ["a"] * 2}, "categories"),
        ({"categories": ["a" * 256]}, "categories"),
        ({"custom_args": {"large": "x" * 10_000}}, "custom_args"),
        ({"reply_to": {"email": "a@b.example"}, "reply_to_list": TO}, "reply_to_list"),
        ({"reply_to": {"email": "nobody"}}, "reply_to.email"),
    ],
)
def test_a_bad_request_names_its_field(change: dict[str, object], field: str) -> None:
    assert field in fields(msgspec.json.encode(GOOD | change))


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(msgspec.json.encode)
)
@settings(max_examples=100)
def test_no_body_is_a_crash(body: bytes) -> None:
    assert fields(body)


def test_deep_nesting_is_no_crash() -> None:
    assert fields(b'{"x":' + b"[" * 100_000)


def test_reserved_names_win_over_custom_args() -> None:
    mailbox = Providers(DEFAULT_TABLE.read_bytes(), seed=1).mailbox("hard-ann@gmail.sim.test")
    step = Step(EventKind.HARD, 1.0)
    named = Named(
        "mid", {"event": "open", "email": "evil@example.com", "sg_message_id": "x", "own": "1"}, ["news"]
    )
    event = msgspec.json.decode(payload(step, mailbox, named, 1767312000.9, "id"), type=dict[str, object])
    assert event["event"] == "bounce"
    assert event["email"] == "hard-ann@gmail.sim.test"
    assert str(event["sg_message_id"]).startswith("mid.")
    assert (event["own"], event["category"], event["timestamp"]) == ("1", ["news"], 1767312000)


def test_event_ids_tell_events_apart_and_stay_the_same() -> None:
    steps = [Step(EventKind.DEFERRED, 0.0, attempt=n) for n in (1, 2)] + [Step(EventKind.DELIVERED, 0.0)]
    steps += [Step(EventKind.CLICK, 0.0, url=url) for url in ("a", "b")]
    ids = [event_id("mid", "a@b.test", step) for step in steps]
    assert len(set(ids)) == len(ids)
    assert ids == [event_id("mid", "a@b.test", step) for step in steps]
