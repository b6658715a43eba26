"""Whatever comes to a bounce address gets an answer that keeps the rules; noise suppresses nobody."""

import msgspec
from bounce_mails import RETURNED, failed, mail, report
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.domain.event import BounceClass
from posthouse.ingest.bounce_mail import classify
from posthouse.ingest.bounces.addresses import find_addresses, without_addresses
from posthouse.ingest.bounces.mime import read_mail
from posthouse.ingest.bounces.original import cut
from posthouse.ingest.bounces.report import Kind, Report
from posthouse.ingest.bounces.words import decoded_words, text_of, text_of_html
from posthouse.replies.bounce_rules import Action

BASES = [
    report(failed("ann@example.net", "550 5.1.1 user unknown")),
    report(failed("ann@example.net", "552 mailbox full"), failed("bob@example.com", "550 no such user")),
    mail(f"This is the mail system at host mx.example.org.\n\n<ann@example.net>: user unknown\n\n{RETURNED}"),
    mail("I am away.", sender="ann@example.net", subject="Out of office"),
]
CHUNKS = [
    b"\n", b"\n\n", b"\r", b"--b1", b"--b1--", b"\x00", b"\xff\xfe", b"=?utf-8?b?", b"<", b">", b"@", b": ",
    b"Content-Type: message/delivery-status\n\n", b"Content-Type: multipart/mixed; boundary=b1\n",
    b"Content-Transfer-Encoding: base64\n", b"Action: delayed\n", b"Status: 5.1.1\n", b"Final-Recipient: ",
    b"charset=utf-16", b"\x1b$B", b"user unknown",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    raw = draw(st.sampled_from(BASES))
    for _ in range(draw(st.integers(1, 8))):
        start = draw(st.integers(0, len(raw)))
        end = draw(st.integers(start, min(len(raw), start + 60)))
        raw = raw[:start] + draw(st.sampled_from(CHUNKS) | st.binary(max_size=8)) + raw[end:]
    return raw


def keeps_the_rules(found: Report) -> None:
    assert msgspec.json.decode(msgspec.json.encode(found), type=Report) == found
    suppressed = [one for one in found.recipients if one.action is Action.SUPPRESS]
    assert not suppressed or found.kind in (Kind.BOUNCE, Kind.COMPLAINT)
    assert all(one.bounce in (BounceClass.HARD, None) for one in suppressed)
    assert found.kind is not Kind.OTHER or not found.recipients
    assert all(one.address.isprintable() for one in found.recipients)
    assert all(one.diagnostic.isprintable() and len(one.diagnostic) <= 500 for one in found.recipients)
    assert len({one.address.lower() for one in found.recipients}) == len(found.recipients)


@settings(max_examples=150)
@given(mutated())
def test_broken_reports_are_answered(raw: bytes) -> None:
    keeps_the_rules(classify(raw))


@settings(max_examples=100)
@given(st.binary(max_size=2_000))
def test_random_bytes_are_answered(raw: bytes) -> None:
    keeps_the_rules(classify(raw))


@settings(max_examples=100)
@given(st.text(max_size=300))
def test_random_texts_from_people_suppress_nobody(text: str) -> None:
    raw = mail(
        text, sender="Ann <ann@example.net>", subject="Re: Your order", in_reply_to="<m1@shop.example>"
    )
    assert not [one for one in classify(raw).recipients if one.action is Action.SUPPRESS]


@given(st.text(max_size=500))
def test_addresses_are_found_where_they_stand(text: str) -> None:
    for found in find_addresses(text):
        assert text[found.start : found.end] == found.address
    assert len(without_addresses(text)) <= len(text)


@given(st.text(alphabet="a:>\n -RecivdFromDate<@.", max_size=400))
def test_what_is_cut_off_and_what_stays_are_the_whole(text: str) -> None:
    kept, tail = cut(text)
    assert kept + tail == text


@given(
    st.binary(max_size=300),
    st.sampled_from(["", "utf-8", "iso-2022-jp", "utf-16", "big5", "no-such", "hex", "\x00"]),
)
def test_bytes_become_text(raw: bytes, charset: str) -> None:
    assert "\x00" not in text_of(raw, charset)
    decoded_words(raw)
    text_of_html(text_of(raw, charset))


@given(st.binary(max_size=500))
def test_every_mail_is_a_tree(raw: bytes) -> None:
    read_mail(raw).text()
