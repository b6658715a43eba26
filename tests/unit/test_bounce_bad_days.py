"""Mails that were made to hurt, or that nobody meant to make. Each gets an answer, and soon."""

import sys
from collections.abc import Callable
from types import FrameType

import pytest
from bounce_mails import RETURNED, US, failed, mail, parts, report

from posthouse.ingest.bounce_mail import classify
from posthouse.ingest.bounces import mime, words
from posthouse.ingest.bounces.mime import Part, read_head, read_mail
from posthouse.ingest.bounces.report import Kind
from posthouse.replies.bounce_rules import Action, Reason

ANN = "ann@example.net"


def count(part: Part) -> int:
    return 1 + sum(map(count, part.parts))


def test_ten_thousand_parts() -> None:
    many = [("text/plain", f"part {n}") for n in range(10_000)]
    raw = parts(("text/plain", f"<{ANN}>: 550 user unknown"), *many, kind='multipart/mixed; boundary="b1"')
    assert count(read_mail(raw)) <= mime.MAX_PARTS + 1
    assert classify(raw).recipients[0].action is Action.SUPPRESS


def test_parts_in_parts_without_end() -> None:
    raw = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(10_000)
    )
    part, depth = read_mail(raw), 0
    while part.parts:
        part, depth = part.parts[0], depth + 1
    assert depth <= mime.MAX_DEPTH
    assert classify(raw).kind is Kind.OTHER


def test_a_boundary_that_never_comes() -> None:
    raw = parts(("text/plain", f"<{ANN}>: 550 user unknown"), kind='multipart/mixed; boundary="other"')
    assert classify(raw).recipients[0].address == ANN


@pytest.mark.parametrize("boundary", ["", '""', " ", "b1\x00", "b" * 10_000, "(.*)*"])
def test_odd_boundaries(boundary: str) -> None:
    raw = parts(("text/plain", f"<{ANN}>: 550 user unknown"), kind=f"multipart/mixed; boundary={boundary}")
    assert classify(raw).kind in (Kind.BOUNCE, Kind.OTHER)


def test_a_header_that_never_ends() -> None:
    raw = b"From: MAILER-DAEMON@mx.example.org\n" + b"X-A: b\n" * 200_000
    head, _ = read_head(raw)
    assert sum(len(values) for values in head.fields.values()) <= mime.MAX_FIELDS + 1
    assert classify(raw).kind is Kind.OTHER


REPORT_WITHOUT_FOLDS = b"""\x20\x20
Received: from mx.example.org
(2001:db8::1) by mx.example.net
with SMTP; Mon, 5 Jan 2026 10:00:00 +0000
From: postmaster@mx.example.org
Subject: Undeliverable: Offer
Content-Type: multipart/report; report-type=delivery-status;
boundary="b1"
To: shop@us.example

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.org

Final-Recipient: rfc822; ann@customer.example
Action: failed
Status: 5.1.1

--b1--
"""


def test_folded_lines_that_lost_their_spaces() -> None:
    (found,) = classify(REPORT_WITHOUT_FOLDS).recipients
    assert (found.address, found.action) == ("ann@customer.example", Action.SUPPRESS)


def test_a_blank_line_that_got_lost_ends_the_header() -> None:
    head, body = read_head(
        b"Received: from a\nSubject: Returned mail\nUser unknown\nTo: ann@customer.example\n"
    )
    assert "to" not in head
    assert body.startswith(b"User unknown")


def test_one_field_that_never_ends() -> None:
    head, _ = read_head(b"Subject: a\n" + b" folded\n" * 100_000)
    assert len(head.get("subject")) < 2 * mime.MAX_VALUE


def test_a_megabyte_of_text_before_the_returned_mail() -> None:
    text = (
        f"This is the mail system at host mx.example.org.\n\n<{ANN}>: 550 5.1.1 user unknown\n"
        + "x" * 1_000_000
    )
    assert classify(mail(text)).recipients[0].action is Action.SUPPRESS


def test_a_megabyte_of_returned_mail() -> None:
    raw = report(failed(ANN, "552 mailbox full")).replace(b"<eve@example.net>", b"user unknown " * 100_000)
    assert classify(raw).recipients[0].reason is Reason.MAILBOX_FULL


@pytest.mark.parametrize(
    "marker",
    [
        "--- Below this line is a copy of the message.",
        "------ This is a copy of the message, including all the headers. ------",
        "   ----- Original message -----",
        "   ----- Unsent message follows -----",
        "--- 元のメール ---",
        "Original message headers:",
        "-------- Returned Mail --------",
        "",  # nothing but its header tells that it begins
    ],
)
def test_the_returned_mail_is_never_the_diagnosis(marker: str) -> None:
    notice = f"This is the mail system at host mx.example.org.\n\n<{ANN}>: the mailbox is full\n\n"
    text = f"{notice}{marker}\n\n{RETURNED}"
    [one] = classify(mail(text)).recipients
    assert (one.address, one.reason, one.action) == (ANN, Reason.MAILBOX_FULL, Action.RETRY)


def test_a_returned_mail_alone_is_no_diagnosis() -> None:
    raw = parts(
        ("text/plain", f"Your message could not be delivered to {ANN}."),
        ("message/rfc822", RETURNED),
        kind='multipart/report; report-type=delivery-status; boundary="b1"',
    )
    [one] = classify(raw).recipients
    assert (one.reason, one.action) == (Reason.UNKNOWN, Action.RETRY)


def test_a_subject_that_is_quoted_is_no_diagnosis() -> None:
    text = f"Your message\n\n  To: {ANN}\n  Subject: user unknown\n\ndid not reach the recipient."
    [one] = classify(mail(text)).recipients
    assert one.action is Action.RETRY


def test_words_in_addresses_are_names() -> None:
    [one] = classify(
        report(failed("user.unknown@spam.example", "550 user.unknown@spam.example said no"))
    ).recipients
    assert one.reason is Reason.UNKNOWN


@pytest.mark.parametrize(
    "charset", ["utf-16", "utf-7", "idna", "punycode", "hex", "no-such", "\x00", "utf-8; x", "x" * 999]
)
def test_wrong_character_sets(charset: str) -> None:
    text = f"This is the mail system at host mx.example.org.\n\n<{ANN}>: usuário não existe\n"
    raw = mail(text, content_type=f"text/plain; charset={charset}")
    assert classify(raw).kind in (Kind.BOUNCE, Kind.OTHER)


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x-uuencode", "8bit"])
def test_transfer_encodings_that_lie(encoding: str) -> None:
    raw = mail(f"<{ANN}>: 550 5.1.1 user unknown ====\n=ZZ\n", content_transfer_encoding=encoding)
    assert classify(raw).kind in (Kind.BOUNCE, Kind.OTHER)


def test_nuls_and_control_characters_do_not_come_out() -> None:
    raw = report(failed(ANN, "550 \x1b[31m user\x00 unknown\x07\u2028"))
    [one] = classify(raw).recipients
    assert one.action is Action.SUPPRESS
    assert one.diagnostic.isprintable()


def test_a_forged_report_is_read_and_its_ids_prove_nothing() -> None:
    """Whether it is about a mail of ours is for the signed address that it came to."""
    forged = report(*(failed(f"victim{n}@example.net", "550 user unknown") for n in range(1_000)))
    found = classify(forged)
    assert 0 < len(found.recipients) <= 200
    assert found.original.message_id == "<m1@shop.example>"


@pytest.mark.parametrize(
    "reference",
    ["&#" + "9" * 5_000 + ";", "&#x" + "f" * 5_000 + ";", "&" * 5_000, "<" * 5_000, "<style>" * 500],
)
def test_html_that_hurts(reference: str) -> None:
    raw = mail(f"<p>{reference}</p>", content_type="text/html")
    assert classify(raw).kind in (Kind.BOUNCE, Kind.OTHER)


def test_texts_are_cut() -> None:
    assert len(words.text_of(b"a" * 10_000_000, "utf-8")) == words.MAX_CHARACTERS


# ---- never more work than its length -----------------------------------------------------------------------

GROWING: dict[str, Callable[[int], bytes]] = {
    "at signs": lambda n: mail("@" * n),
    "addresses": lambda n: mail(f"<{ANN}>: 550 user unknown\n" * (n // 40)),
    "letters": lambda n: mail("a" * n),
    "angle brackets": lambda n: mail("<" * n, content_type="text/html"),
    "tags": lambda n: mail("<p" * (n // 2), content_type="text/html"),
    "styles": lambda n: mail("<style><p>" * (n // 10), content_type="text/html"),
    "spaces": lambda n: mail(" " * n + "x"),
    "colons": lambda n: mail("a:\n" * (n // 3)),
    "codes": lambda n: mail("550 5.1.1 " * (n // 10)),
    "phrases": lambda n: mail("user " * (n // 5)),
    "returned": lambda n: mail("-----original message" * (n // 21)),
    "header lines": lambda n: mail("Received: x\nx\n" * (n // 14)),
    "encoded words": lambda n: mail("", subject="=?utf-8?q?a?= " * (n // 14)),
    "boundaries": lambda n: parts(("text/plain", "\n--b" * (n // 4)), kind="multipart/mixed; boundary=b1"),
    "status fields": lambda n: report("Final-Recipient: x\n" * (n // 19)),
    "parameters": lambda n: mail("", content_type="text/plain;" + "a=b;" * (n // 4)),
    "unfolded": lambda n: b"X-Spam: a\n" + (b"b\n" * 19 + b"X-Spam: c\n") * (n // 48),
    "folded": lambda n: f"To: {US}\nSubject: a\n".encode() + b" b\n" * (n // 3),
}


def steps(raw: bytes) -> int:
    """Calls, of Python's and of C's functions, that an answer takes."""
    counted = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        classify(raw)
    finally:
        sys.setprofile(before)
    return counted


@pytest.mark.parametrize("what", GROWING)
def test_four_times_the_length_takes_at_most_five_times_the_steps(what: str) -> None:
    short, long = GROWING[what](8_000), GROWING[what](32_000)
    classify(short)
    assert steps(long) <= 5 * steps(short)
