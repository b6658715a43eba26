"""What goes on the wire: nothing that was not meant."""

from uuid import UUID

import pytest

from posthouse.domain.ids import JobId
from posthouse.domain.message import RawMail
from posthouse.relays.base import RejectedMessage
from posthouse.relays.smtp_wire import Extensions, Ready, extensions_of, prepare, stuffed
from posthouse.replies.reply import ReplyReader

ALL = Extensions(pipelining=True, size=10_000, eight_bit=True, smtputf8=True)
DATA = b"Subject: hi\r\n\r\nhello\r\n"


def mail(
    recipient: str = "ann@example.org", sender: str = "b@example.net", data: bytes = DATA, utf8: bool = False
) -> RawMail:
    return RawMail(JobId(UUID(int=1)), 1, sender, recipient, data, utf8)


def ready(raw: RawMail, offered: Extensions = ALL) -> Ready:
    prepared = prepare(3, raw, offered, 20_000)
    assert isinstance(prepared, Ready), prepared
    return prepared


def refusal(raw: RawMail, offered: Extensions = ALL) -> str:
    prepared = prepare(3, raw, offered, 20_000)
    assert isinstance(prepared, RejectedMessage), prepared
    return prepared.reply


def offers(*lines: str) -> Extensions:
    words = ["mx.example", *lines]
    raw = "".join(f"250-{line}\r\n" for line in words[:-1]) + f"250 {words[-1]}\r\n"
    [reply] = ReplyReader().feed(raw.encode())
    return extensions_of(reply)


def test_commands() -> None:
    prepared = ready(mail())
    assert prepared.ticket == 3
    assert prepared.mail == b"MAIL FROM:<b@example.net> SIZE=22\r\n"
    assert prepared.rcpt == b"RCPT TO:<ann@example.org>\r\n"
    assert prepared.body == DATA


def test_the_null_sender() -> None:
    assert ready(mail(sender="")).mail == b"MAIL FROM:<> SIZE=22\r\n"


def test_parameters_only_where_offered() -> None:
    eight_bit = mail(data="Subject: hi\r\n\r\nGrüße\r\n".encode())
    assert ready(eight_bit).mail == b"MAIL FROM:<b@example.net> SIZE=24 BODY=8BITMIME\r\n"
    assert ready(mail(), Extensions()).mail == b"MAIL FROM:<b@example.net>\r\n"
    assert ready(eight_bit, ALL.without_parameters()).mail == b"MAIL FROM:<b@example.net>\r\n"
    assert "8BITMIME" in refusal(eight_bit, Extensions())


def test_smtputf8_only_where_offered() -> None:
    for raw in (mail("åsa@example.org"), mail(sender="åsa@example.net"), mail("a@дом.рф"), mail(utf8=True)):
        assert ready(raw).mail.endswith(b" SMTPUTF8\r\n")
        assert "SMTPUTF8" in refusal(raw, Extensions(eight_bit=True))
    assert ready(mail("åsa@example.org")).rcpt == "RCPT TO:<åsa@example.org>\r\n".encode()


def test_size_is_refused_here() -> None:
    assert "10000" in refusal(mail(data=DATA + b"x" * 10_000))
    assert "20000" in refusal(mail(data=DATA + b"x" * 20_000), Extensions(size=0))
    ready(mail(data=DATA + b"x" * 15_000), Extensions(size=0))


@pytest.mark.parametrize(
    "address",
    [
        "ann",
        "@example.org",
        "ann@",
        "ann@exa mple.org",
        "a b@example.org",
        '"a b"@example.org',
        "ann@example.org>",
        "<ann@example.org",
        "ann@example.org> NOTIFY=NEVER",
        "ann@example.org\r\nRSET",
        "ann@example.org\n",
        "ann\r@example.org",
        "ann\0@example.org",
        "ann\x7f@example.org",
        "ann\x85@example.org",
        "ann\u2028@example.org",
        "ann\u3000@example.org",
        "ann\ud800@example.org",
        "@relay:ann@example.org",
        "ann,bob@example.org",
        "ann@example.org,bob@example.org",
        "ann@[127.0.0.1",
        "a" * 65 + "@example.org",
        "a@" + "b" * 260,
    ],
)
def test_addresses_that_smtp_cannot_carry(address: str) -> None:
    assert "address" in refusal(mail(recipient=address))
    assert "address" in refusal(mail(sender=address))


@pytest.mark.parametrize(
    "address",
    ["a@b", "o'brien+tag=1@example.org", "{x}|y~z@example.org", "a@[192.0.2.1]", "a@[IPv6:2001:db8::1]"],
)
def test_odd_addresses_that_it_can(address: str) -> None:
    assert ready(mail(recipient=address)).rcpt == f"RCPT TO:<{address}>\r\n".encode()


#: Every end of data that some server has taken for one (CVE-2023-51764, -51765, -51766, CVE-2024-27938).
SMUGGLED = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r.\n",
    b"\r\n\0.\r\n",
    b"\0\r\n.\r\n",
    b"\r\r\n.\r\n",
    b"\r\n.\r\r\n",
]


@pytest.mark.parametrize("end", SMUGGLED, ids=repr)
def test_no_other_end_of_data(end: bytes) -> None:
    reason = refusal(mail(data=b"a" + end + b"MAIL FROM:<x@example.org>\r\n"))
    assert ("NUL" if b"\0" in end else "CR or LF") in reason


def test_the_true_end_of_data_is_made_transparent() -> None:
    assert ready(mail(data=b"a\r\n.\r\nb\r\n")).body == b"a\r\n..\r\nb\r\n"


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b".", b"..\r\n"),
        (b".\r\n", b"..\r\n"),
        (b"..\r\n", b"...\r\n"),
        (b"a", b"a\r\n"),
        (b"a\r\n.b\r\n..c", b"a\r\n..b\r\n...c\r\n"),
        (b"", b"\r\n"),
        (b"\r\n.\r\n.\r\n", b"\r\n..\r\n..\r\n"),
    ],
)
def test_stuffing(data: bytes, body: bytes) -> None:
    assert stuffed(data) == body


def test_extensions() -> None:
    offered = offers(
        "PIPELINING", "size 1000", "8BitMime", "STARTTLS", "AUTH plain LOGIN", "AUTH=CRAM-MD5", "SMTPUTF8"
    )
    assert offered == Extensions(
        pipelining=True,
        size=1000,
        eight_bit=True,
        smtputf8=True,
        starttls=True,
        auth=frozenset({"PLAIN", "LOGIN", "CRAM-MD5"}),
    )


@pytest.mark.parametrize("words", ["SIZE", "SIZE 0", "SIZE x", "SIZE -1", "SIZE ²", "SIZE " + "9" * 500])
def test_a_size_without_meaning_is_no_limit(words: str) -> None:
    assert offers(words).size == 0


def test_a_server_that_only_greets_offers_nothing() -> None:
    [reply] = ReplyReader().feed(b"250 PIPELINING\r\n")
    assert extensions_of(reply) == Extensions()
