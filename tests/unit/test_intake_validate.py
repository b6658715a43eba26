"""What validation takes, what it makes of it, and where it points when it refuses."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest

from posthouse.compose.header_text import refuse_breaks
from posthouse.compose.headers import check_headers
from posthouse.config import DEVELOPMENT, settings_from
from posthouse.domain.address import parse_mailbox
from posthouse.domain.errors import Forbidden, InvalidHeader, InvalidInput, Misconfigured, MissingVariables
from posthouse.domain.ids import ApiKeyId, RelayAccount, TemplateId
from posthouse.domain.message import Addressing, Mailbox
from posthouse.domain.stream import Stream
from posthouse.intake.mail import KnownTemplate, NewMail, OwnContent, TemplateChoice
from posthouse.intake.plain_json import check_json
from posthouse.intake.policy import StreamPolicy, policies
from posthouse.intake.posted import PostedEmail, fingerprint
from posthouse.intake.validate import MAX_VARIABLES_BYTES, Rules, validate
from posthouse.storage.keys import ApiKey, read_secret

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SHOP = StreamPolicy(
    frozenset({"shop.example", "help.example"}),
    timedelta(hours=24),
    shows_other_recipients=True,
    simulated=True,
)
NEWS = StreamPolicy(
    frozenset({"news.shop.example"}), timedelta(days=30), shows_other_recipients=False, simulated=False
)
RULES = Rules({Stream.TRANSACTIONAL: SHOP, Stream.MARKETING: NEWS}, 50, check_headers, refuse_breaks)
KEY = ApiKey(ApiKeyId(UUID(int=1)), "test", None, frozenset(), NOW)
PLAIN: Mapping[str, object] = {
    "from": "a@shop.example",
    "to": "jane@inbox.test",
    "subject": "Hi",
    "text": "Hello",
}
SHOWN = {RelayAccount("sim-smtp"): True, RelayAccount("sim-sendgrid"): False}
TEMPLATE = KnownTemplate(TemplateId(7), frozenset({"name"}))


def posted(**fields: object) -> PostedEmail:
    """PLAIN with other fields; `sender` for `from`, None to leave one out."""
    merged = {**PLAIN, **fields}
    if "sender" in merged:
        merged["from"] = merged.pop("sender")
    body = {name: value for name, value in merged.items() if value is not None}
    return msgspec.json.decode(msgspec.json.encode(body), type=PostedEmail)


def checked(email: PostedEmail, *, key: ApiKey = KEY, template: KnownTemplate | None = None) -> NewMail:
    return validate(email, template, key=key, rules=RULES, now=NOW)


def mail(**fields: object) -> NewMail:
    return checked(posted(**fields))


def refused(**fields: object) -> InvalidInput | Forbidden:
    with pytest.raises((InvalidInput, Forbidden)) as raised:
        mail(**fields)
    assert isinstance(raised.value, InvalidInput | Forbidden)
    return raised.value


def test_the_plain_case_stores_no_more_than_it_must() -> None:
    made = mail()
    assert made.stream is Stream.TRANSACTIONAL
    assert made.sender == "a@shop.example"
    assert [(r.address, r.key) for r in made.recipients] == [("jane@inbox.test", "jane@inbox.test")]
    assert made.addressing is None
    assert made.body == OwnContent(None, "Hello")
    assert made.scheduled_at is None
    assert made.expires_at == NOW + timedelta(hours=24)
    assert not made.expiry_given
    assert made.tags == ()
    assert made.metadata is None
    assert made.tracked


def test_every_recipient_is_one_job_and_each_address_is_one_recipient() -> None:
    made = mail(
        to=["Jane <Jane@Inbox.test>", "bob@inbox.test"],
        cc="jane@inbox.test",
        bcc=["eve@inbox.test", "BOB@inbox.test"],
        reply_to="Help <help@shop.example>",
    )
    assert [r.address for r in made.recipients] == ["Jane@inbox.test", "bob@inbox.test", "eve@inbox.test"]
    assert made.addressing == Addressing(
        to=(Mailbox("Jane@inbox.test", "Jane"), Mailbox("bob@inbox.test")),
        cc=(Mailbox("jane@inbox.test"),),
        reply_to=(Mailbox("help@shop.example", "Help"),),
    )


def test_a_name_is_kept_for_the_header() -> None:
    assert mail(to="Jane <jane@inbox.test>").addressing == Addressing((Mailbox("jane@inbox.test", "Jane"),))


def test_the_sender_reads_back() -> None:
    made = mail(sender='"Shop, the" <a@SHOP.example>')
    assert parse_mailbox(made.sender) == Mailbox("a@shop.example", "Shop, the")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"to": []}, "/to"),
        ({"to": ""}, "/to"),
        ({"to": ["a@b.test", "nobody"]}, "/to/1"),
        ({"to": ["a@b.test"] * 51}, "/to"),
        ({"to": "a@b.test", "cc": ["a@b.test"] * 25, "bcc": ["a@b.test"] * 25}, "/to"),
        ({"cc": "x"}, "/cc"),
        ({"bcc": ["x@y.test\r\nBcc: z@y.test"]}, "/bcc/0"),
        ({"reply_to": ["a@b.test"] * 51}, "/reply_to"),
        ({"to": "=?utf-8?q?a=0D=0A?= <a@b.test>"}, "/to"),
        ({"sender": "nobody"}, "/from"),
        ({"subject": None}, "/subject"),
        ({"subject": "a\r\nBcc: x@evil.test"}, "/subject"),
        ({"subject": "=?utf-8?q?hi=0A?=Bcc: x@evil.test"}, "/subject"),  # CVE-2024-6923
        ({"subject": "a\x00"}, "/subject"),
        ({"text": None}, "/text"),
        ({"text": "a\x00"}, "/text"),
        ({"html": "a\x00"}, "/html"),
        ({"stream": "bulk"}, "/stream"),
        ({"headers": {"Bcc": "x@evil.test"}}, "/headers/Bcc"),
        ({"headers": {"X-A": "b\r\nBcc: x@evil.test"}}, "/headers/X-A"),
        ({"headers": {"X-A": "\x00"}}, "/headers"),
        ({"metadata": {"a": "\x00"}}, "/metadata"),
        ({"metadata": {"\x00": "a"}}, "/metadata"),
        ({"scheduled_at": "2026-06-01T00:00:00Z"}, "/scheduled_at"),
        ({"scheduled_at": "9999-12-31T23:59:59-14:00"}, "/scheduled_at"),
        ({"expires_at": "2026-05-01T12:00:00Z"}, "/expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "/expires_at"),
        ({"expires_at": "2026-05-08T12:00:01Z"}, "/expires_at"),
        ({"scheduled_at": "2026-05-02T00:00:00Z", "expires_at": "2026-05-01T13:00:00Z"}, "/expires_at"),
    ],
)
def test_points_to_the_field_at_fault(fields: dict[str, object], pointer: str) -> None:
    assert refused(**fields).pointer == pointer


def test_a_key_sends_from_its_domains_that_are_also_the_streams() -> None:
    narrow = ApiKey(KEY.api_key_id, "n", None, frozenset({"help.example", "other.example"}), NOW)
    assert checked(posted(sender="a@help.example"), key=narrow).sender == "a@help.example"
    for sender in ("a@shop.example", "a@other.example", "a@sub.help.example"):
        with pytest.raises(Forbidden, match=r"may from: help\.example") as raised:
            checked(posted(sender=sender), key=narrow)
        assert raised.value.code == "from_domain_not_allowed"


def test_a_key_of_one_stream_sends_no_other() -> None:
    news = ApiKey(KEY.api_key_id, "n", Stream.MARKETING, frozenset(), NOW)
    email = posted(sender="a@news.shop.example", to="a@gmail.com")
    assert checked(email, key=news).stream is Stream.MARKETING
    with pytest.raises(Forbidden) as raised:
        checked(posted(stream="transactional"), key=news)
    assert raised.value.code == "stream_not_allowed"


def test_a_real_relay_is_not_asked_to_mail_reserved_domains() -> None:
    error = refused(stream="marketing", sender="a@news.shop.example", to="jane@example.com")
    assert (error.code, error.pointer) == ("reserved_domain", "/to")


@pytest.mark.parametrize(
    "domain",
    ["example.com", "a.example.net", "example.org", "a.test", "a.example", "sandbox.invalid", "a.localhost"],
)
def test_reserved_domains_are_for_simulators_and_test_keys(domain: str) -> None:
    email = posted(stream="marketing", sender="a@news.shop.example", to=[f"a@{domain}"])
    with pytest.raises(InvalidInput) as raised:
        checked(email)
    assert (raised.value.code, raised.value.pointer) == ("reserved_domain", "/to/0")
    assert "ph_test_" in raised.value.message
    assert checked(email, key=replace(KEY, sandbox=True)).sandbox


def test_a_relay_that_cannot_show_others_gets_one_recipient_a_mail() -> None:
    fields = {"stream": "marketing", "sender": "a@news.shop.example"}
    assert refused(**fields, to=["a@gmail.com", "b@gmail.com"]).code == "recipients_not_shown"
    assert refused(**fields, to="a@gmail.com", bcc="b@gmail.com").code == "recipients_not_shown"
    assert len(mail(**fields, to=["a@gmail.com", "A@GMAIL.com"]).recipients) == 1


def test_times() -> None:
    tokyo = datetime(2026, 5, 2, 9, tzinfo=timezone(timedelta(hours=9)))
    made = mail(scheduled_at=tokyo.isoformat(), expires_at="2026-05-02T01:00:00Z")
    assert made.scheduled_at == datetime(2026, 5, 2, tzinfo=UTC)
    assert made.scheduled_at.tzinfo is UTC
    assert made.expires_at == datetime(2026, 5, 2, 1, tzinfo=UTC)
    assert made.expiry_given
    assert mail(scheduled_at="2026-05-31T12:00:00Z").expires_at == NOW + timedelta(days=31)
    for past in ("2026-05-01T12:00:00Z", "0001-01-01T00:00:00+14:00"):
        assert mail(scheduled_at=past).scheduled_at is None


def test_no_job_lives_longer_than_a_week_after_it_is_due() -> None:
    made = mail(stream="marketing", sender="a@news.shop.example", to="a@gmail.com")
    assert made.expires_at == NOW + timedelta(days=7)


def template_mail(variables: object) -> NewMail:
    email = posted(subject=None, text=None, template={"key": "t", "version": 3, "variables": variables})
    return checked(email, template=TEMPLATE)


def test_a_template_is_chosen_with_its_variables() -> None:
    made = template_mail({"name": "Jané", "n": [1, {"a": None}]})
    assert made.subject is None
    assert isinstance(made.body, TemplateChoice)
    assert (made.body.template_id, made.body.version) == (TemplateId(7), 3)
    assert msgspec.json.decode(made.body.variables) == {"name": "Jané", "n": [1, {"a": None}]}


def test_missing_variables_are_named() -> None:
    with pytest.raises(MissingVariables, match="name") as raised:
        template_mail({"nam": "x"})
    assert raised.value.names == ("name",)


@pytest.mark.parametrize(
    "variables",
    [
        [],
        "text",
        None,
        {"name": "\x00"},
        {"\x00": 1, "name": ""},
        {"name": "x" * MAX_VARIABLES_BYTES},
        {"name": functools.reduce(lambda inner, _: [inner], range(40), list[object]())},
    ],
)
def test_variables_that_nobody_can_hold_are_refused(variables: object) -> None:
    with pytest.raises(InvalidInput) as raised:
        template_mail(variables)
    assert raised.value.pointer == "/template/variables"


def test_a_template_and_a_body_are_one_too_many() -> None:
    email = posted(template={"key": "t"})
    with pytest.raises(InvalidInput, match="not both"):
        checked(email, template=KnownTemplate(TemplateId(7), frozenset()))


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "a\\"])
def test_a_backslash_is_no_nul(text: str) -> None:
    assert msgspec.json.decode(check_json([text], "")) == [text]


def test_a_nul_behind_backslashes_is_one() -> None:
    for text in ("\\\x00", "\\\\\x00", "u0000\x00"):
        with pytest.raises(InvalidInput):
            check_json({text: 1}, "")


def test_half_a_character_is_refused_wherever_it_comes_from() -> None:
    with pytest.raises(InvalidInput):
        check_json({"a": "\ud800"}, "")


def test_depth_is_counted_not_guessed() -> None:
    value: object = []
    for _ in range(32):
        value = {"a": value}
    assert check_json(value, "")
    with pytest.raises(InvalidInput):
        check_json([value], "")


def test_headers_are_refused_as_the_writer_of_headers_says() -> None:
    with pytest.raises(InvalidHeader):
        mail(headers={"DKIM-Signature": "v=1"})
    assert mail(headers={"X-Order": "17"}).headers == (("X-Order", "17"),)


def test_the_fingerprint_sees_what_is_meant_not_how_it_is_written() -> None:
    one = (
        b'{"from":"a@b.c","to":"d@e.f","metadata":{"x":"1","y":"2"},'
        b'"template":{"key":"t","variables":{"b":1,"a":2}}}'
    )
    same = (
        b'{"to":"d@e.f", "template":{"variables":{"a":2,  "b":1},"key":"t"},'
        b'"cc":[],"from":"a@b.c","metadata":{"y":"2","x":"1"}}'
    )
    prints = [fingerprint(msgspec.json.decode(body, type=PostedEmail)) for body in (one, same)]
    assert prints[0] == prints[1]
    other = msgspec.json.decode(one.replace(b'"a":2', b'"a":3'), type=PostedEmail)
    assert fingerprint(other) != prints[0]


def test_policies_come_from_the_settings() -> None:
    made = policies(settings_from(tomllib.loads(DEVELOPMENT), "test"), shows_other_recipients=SHOWN)
    assert made[Stream.TRANSACTIONAL].from_domains == {"shop.example"}
    assert made[Stream.TRANSACTIONAL].shows_other_recipients
    assert not made[Stream.MARKETING].shows_other_recipients
    assert made[Stream.MARKETING].simulated


def test_a_from_domain_that_is_none_stops_the_start() -> None:
    table = tomllib.loads(DEVELOPMENT.replace('["shop.example"]', '["shop example"]'))
    with pytest.raises(Misconfigured, match="shop example"):
        policies(settings_from(table, "test"), shows_other_recipients=SHOWN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ph_live_",
        "ph_live_" + "a" * 42,
        "ph_live_" + "a" * 44,
        "ph_best_" + "a" * 43,
        "ph_live_" + "é" * 43,
    ],
)
def test_what_cannot_be_a_key_needs_no_database(text: str) -> None:
    assert read_secret(text) is None
    assert read_secret("ph_live_" + "aB3_-" * 8 + "abc") is not None
