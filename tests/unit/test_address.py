"""The one parser of addresses: what it takes, what it refuses, what it makes of both."""

import time

import pytest

from posthouse.domain.address import (
    MAX_MAILBOX_CHARS,
    domain_of,
    format_mailbox,
    is_reserved,
    key_of,
    normalise,
    parse_domain,
    parse_mailbox,
)
from posthouse.domain.errors import InvalidAddress
from posthouse.domain.message import Mailbox


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("jane@example.org", Mailbox("jane@example.org")),
        ("  jane@example.org ", Mailbox("jane@example.org")),
        ("<jane@example.org>", Mailbox("jane@example.org")),
        ("Jane Doe <jane@example.org>", Mailbox("jane@example.org", "Jane Doe")),
        ("J. R. Doe <jane@example.org>", Mailbox("jane@example.org", "J. R. Doe")),
        ("Jürgen Ñandú <j@example.org>", Mailbox("j@example.org", "Jürgen Ñandú")),
        ('"Doe, Jane" <jane@example.org>', Mailbox("jane@example.org", "Doe, Jane")),
        ('"a <b@c.org>" <jane@example.org>', Mailbox("jane@example.org", "a <b@c.org>")),
        (r'"say \"hi\" \\ now" <jane@example.org>', Mailbox("jane@example.org", r'say "hi" \ now')),
        ('"Jane" "Doe" <jane@example.org>', Mailbox("jane@example.org", "Jane Doe")),
        ("Jane+Tag@EXAMPLE.Org", Mailbox("Jane+Tag@example.org")),
        ("POSTMASTER@example.org", Mailbox("POSTMASTER@example.org")),  # as given, though RFC 2142 folds it
        ("jane@münchen.de", Mailbox("jane@xn--mnchen-3ya.de")),
        ("jane@XN--MNCHEN-3YA.de", Mailbox("jane@xn--mnchen-3ya.de")),
        ("用户@例子.公司", Mailbox("用户@xn--fsqu00a.xn--55qx5d")),
        ("e\u0301ric@example.org", Mailbox("\u00e9ric@example.org")),
        ("jane@sandbox.invalid", Mailbox("jane@sandbox.invalid")),
        ("jane@inbox.test", Mailbox("jane@inbox.test")),
    ],
)
def test_takes(text: str, mailbox: Mailbox) -> None:
    assert parse_mailbox(text) == mailbox


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "jane",
        "@example.org",
        "jane@",
        "jane@@example.org",
        "jane@localhost",  # no full domain
        "jane@example",
        "jane@1.2.3.4",
        "jane@[192.0.2.1]",
        "jane@[IPv6:2001:db8::1]",
        "jane@-example.org",
        "jane@exa_mple.org",
        "jane@example..org",
        "jane@example.org.",
        ".jane@example.org",
        "jane.@example.org",
        "ja..ne@example.org",
        "ja ne@example.org",
        '"ja ne"@example.org',
        '"jane"@example.org',
        '"a@b.org> "@example.org',  # one parser's local part is another's whole address
        "a@b.org,c@d.org",
        "a@b.org;c@d.org",
        "a@b.org c@d.org",
        "Friends: a@b.org, c@d.org;",
        "Friends:;",
        "@relay.org:jane@example.org",
        "<@relay.org,@other.org:jane@example.org>",
        "jane@example.org (comment)",
        "jane(comment)@example.org",
        "jane@(comment)example.org",
        "Jane (comment) <jane@example.org>",
        "Doe, Jane <jane@example.org>",
        "jane@example.org <jane@example.org>",
        "Jane <jane@example.org> <eve@evil.org>",
        "Jane <jane@example.org>, Eve <eve@evil.org>",
        "Jane <jane@example.org",
        "jane@example.org>",
        "Jane <>",
        '"Jane <jane@example.org>',
        # CVE-2023-27043: a parser that stops at the bracket sees another address than one that does not
        "alice@example.org]<bob@example.com>",
        "alice@example.org)<bob@example.com>",
        "alice@example.org(<bob@example.com>",
        "alice@example.org<<bob@example.com>",
        "alice@example.org><bob@example.com>",
        "alice@example.org@<bob@example.com>",
        "alice@example.org,<bob@example.com>",
        "alice@example.org;<bob@example.com>",
        "alice@example.org:<bob@example.com>",
        "alice@example.org.<bob@example.com>",
        'alice@example.org"<bob@example.com>',
        "alice@example.org[<bob@example.com>",
        "jane@example.org\r\nBcc: eve@evil.org",
        "jane@example.org\n",
        "Jane\r\n <jane@example.org>",
        "jane@example.org\x00",
        "ja\x00ne@example.org",
        "Jane\x7f <jane@example.org>",
        "Jane\u2028 <jane@example.org>",
        "Jane\u202e <jane@example.org>",  # turns the text that follows around
        "Jane\ud800 <jane@example.org>",
        "jane\udfff@example.org",
        "jane@ex\u0131mple.\u2024org",
        "x" * 65 + "@example.org",
        "\u00e9" * 33 + "@example.org",  # 66 octets
        "jane@" + "a" * 64 + ".org",
        "jane@" + "a.b" * 100 + ".org",
        "n" * 257 + " <jane@example.org>",
        "n" * MAX_MAILBOX_CHARS + "@example.org",
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_mailbox(text)


def test_spellings_of_one_address_have_one_key() -> None:
    spellings = ("Jane.Doe+x@MÜNCHEN.de", "jane.doe+X@xn--mnchen-3ya.de", "J <JANE.DOE+X@mu\u0308nchen.DE>")
    assert {normalise(s) for s in spellings} == {"jane.doe+x@xn--mnchen-3ya.de"}


def test_dots_and_tags_make_different_keys() -> None:
    assert len({normalise(s) for s in ("janedoe@a.org", "jane.doe@a.org", "janedoe+x@a.org")}) == 3


def test_key_of_a_read_mailbox_is_that_of_its_address() -> None:
    box = parse_mailbox("Jane <ÉRIC@example.org>")
    assert key_of(box) == normalise(box.address) == "éric@example.org"


@pytest.mark.parametrize(
    ("mailbox", "text"),
    [
        (Mailbox("a@b.org"), "a@b.org"),
        (Mailbox("a@b.org", "Jane Doe"), "Jane Doe <a@b.org>"),
        (Mailbox("a@b.org", "Doe, Jane"), '"Doe, Jane" <a@b.org>'),
        (Mailbox("a@b.org", 'x"\\'), '"x\\"\\\\" <a@b.org>'),
        (Mailbox("a@b.org", "two  spaces"), '"two  spaces" <a@b.org>'),
    ],
)
def test_formatted_text_reads_back(mailbox: Mailbox, text: str) -> None:
    assert format_mailbox(mailbox) == text
    assert parse_mailbox(text) == mailbox


@pytest.mark.parametrize(
    ("domain", "reserved"),
    [
        ("example.com", True),
        ("mail.EXAMPLE.net", True),
        ("a.test", True),
        ("shop.example", True),
        ("sandbox.invalid", True),
        ("x.localhost", True),
        ("example.com.", True),
        ("example.co", False),
        ("notexample.com", False),
        ("test.org", False),
        ("gmail.com", False),
    ],
)
def test_reserved_domains(domain: str, reserved: bool) -> None:
    assert is_reserved(domain) is reserved


def test_a_domain_is_read_as_addresses_have_it() -> None:
    assert parse_domain("MÜNCHEN.de") == domain_of(parse_mailbox("a@münchen.de")) == "xn--mnchen-3ya.de"
    with pytest.raises(InvalidAddress):
        parse_domain("evil.org> <x@shop.example")


@pytest.mark.parametrize("unit", ["(", '"', "\\", "<", "@", ",", " ", "a.", '"\\', "\u0301", "xn--"])
def test_a_megabyte_is_refused_at_once(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    start = time.process_time()
    for hostile in (text, f'"{text}" <a@b.org>', f"a@{text}.org", f"{text}@b.org"):
        with pytest.raises(InvalidAddress):
            parse_mailbox(hostile)
    assert time.process_time() - start < 0.2
