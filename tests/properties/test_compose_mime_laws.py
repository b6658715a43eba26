"""Bytes against the standard library's reader: what went in comes out, and nothing beside it."""

from compose_kit import rendered
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mimecheck import header_names, mailboxes_of, parse, text_of, violations
from msgspec.structs import replace

from posthouse.compose.header_text import one_line
from posthouse.compose.headers import check_headers
from posthouse.compose.mime import to_raw
from posthouse.domain.errors import InvalidHeader
from posthouse.domain.message import Addressing, Attachment, Mailbox

_any = st.text(max_size=120)
_hostile = st.text('\r\n\0 \t:=?qQbBuUtTfF8-0AaDd_\ud800é,;<>"\\@.', max_size=60)
_visible = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=120)
_USUAL = ["From", "To", "Subject", "Date", "Message-ID", "X-Posthouse-Id", "MIME-Version"]
_CONTENT = ["Content-Type", "Content-Transfer-Encoding"]


@given(_any | _hostile, _any | _hostile)
@settings(max_examples=300, deadline=None)
@example("=?utf-8?q?hi=0A?=Bcc: x@evil.test", "")
@example("a\r\n b", "=?utf-8?b?Cg==?=")
def test_no_header_comes_from_a_value(subject: str, value: str) -> None:
    try:
        subject = one_line(subject, "The subject")
        check_headers((("X-Mine", value),))
    except InvalidHeader:
        return
    data = to_raw(replace(rendered(subject=subject), headers=(("X-Mine", value),))).data
    assert header_names(data) == [*_USUAL, "X-Mine", *_CONTENT]
    message = parse(data)
    assert message["Subject"] == subject
    assert sorted(message.keys()) == sorted([*_USUAL, "X-Mine", *_CONTENT])


@given(_any | _hostile)
@settings(max_examples=300, deadline=None)
def test_the_serialiser_itself_refuses_what_it_was_not_meant_to_get(subject: str) -> None:
    try:
        data = to_raw(rendered(subject=subject)).data
    except InvalidHeader:
        return
    assert header_names(data) == [*_USUAL, *_CONTENT]
    assert b"\x00" not in data


@given(_visible)
@settings(max_examples=300, deadline=None)
def test_subjects_come_back(subject: str) -> None:
    subject = subject.strip()
    message = parse(to_raw(rendered(subject=subject)).data)
    assert message["Subject"] == subject


@given(st.lists(_visible.map(str.strip), max_size=5))
@settings(max_examples=200, deadline=None)
def test_names_come_back(names: list[str]) -> None:
    to = tuple(Mailbox(f"a{n}@inbox.test", name) for n, name in enumerate(names))
    message = parse(to_raw(replace(rendered(), addressing=Addressing(to=to))).data)
    if to:
        assert mailboxes_of(message, "To") == list(to)


_lines = st.lists(
    st.one_of(
        _any, st.just("."), st.just("From x"), st.text("a", min_size=950, max_size=1100), st.just("a ")
    ),
    max_size=4,
).map("\n".join)


@given(_lines, st.none() | _lines)
@settings(max_examples=300, deadline=None)
def test_bodies_come_back(text: str, html: str | None) -> None:
    data = to_raw(rendered(text=text, html=html)).data
    assert violations(data) == []
    message = parse(data)
    for kind, body in (("plain", text), ("html", html)):
        if body is not None:
            expected = body.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
            found = text_of(message, kind)
            assert found in (expected, expected + "\n")  # a mail that is one part ends in a line end


@given(_visible.map(str.strip).filter(bool), st.binary(max_size=300), st.text(max_size=20))
@example("<>", b"", "")
@settings(max_examples=200, deadline=None)
def test_attachments_come_back(name: str, content: bytes, content_type: str) -> None:
    attachment = Attachment(name, content_type, content)
    (part,) = parse(to_raw(replace(rendered(), attachments=(attachment,))).data).iter_attachments()
    # Not get_filename(), which takes the brackets off a file called "<>".
    assert part["content-disposition"].params["filename"] == name
    assert part.get_payload(decode=True) == content
