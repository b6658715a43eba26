"""Replies are read the same however the network cuts them, and nothing a server says is a crash."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthouse.replies.classify import ReplyClass, Stage, Verdict, classify
from posthouse.replies.reply import MAX_LINE_BYTES, MAX_REPLY_BYTES, MAX_TEXT, Reply, ReplyReader

WORDS = st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b""))


@st.composite
def replies(draw: st.DrawFn) -> tuple[bytes, Reply]:
    code = draw(st.integers(200, 599))
    words = draw(st.lists(WORDS, min_size=1, max_size=4))
    lines = [b"%d-%b" % (code, word) for word in words[:-1]] + [b"%d %b" % (code, words[-1])]
    return b"".join(line + b"\r\n" for line in lines), Reply(code, tuple(lines))


@settings(max_examples=150, deadline=None)
@given(st.lists(replies(), min_size=1, max_size=5), st.data())
def test_cuts_do_not_matter(sent: list[tuple[bytes, Reply]], data: st.DataObject) -> None:
    stream = b"".join(raw for raw, _ in sent)
    reader, read, left = ReplyReader(), list[Reply](), stream
    while left:
        size = data.draw(st.integers(1, len(left)))
        read += reader.feed(left[:size])
        left = left[size:]
    assert read == [reply for _, reply in sent]
    assert not reader.pending


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=6))
@example([b"250 ok\r\n", b"\xff\xfe\r\n"])
@example([b"250-a\r\n251 b\r\n"])
@example([b"999 no\r\n"])
@example([b"150 no\r\n"])
@example([b"25\r\n"])
@example([b"250ok\r\n"])
def test_any_bytes_are_replies_or_a_typed_error(chunks: list[bytes]) -> None:
    reader = ReplyReader()
    for reply in [reply for chunk in chunks for reply in reader.feed(chunk)]:
        assert 200 <= reply.code < 600
        assert len(reply.text) <= MAX_TEXT
        assert all(
            sign.isprintable() or sign == "\N{REPLACEMENT CHARACTER}"
            for sign in reply.text
            if ord(sign) < 160
        )


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(Stage),
    st.integers(-5, 1200),
    st.none() | st.text(max_size=12) | st.from_regex(r"[245]\.\d{1,3}\.\d{1,3}", fullmatch=True),
    st.text(max_size=80),
)
def test_every_reply_has_a_meaning(stage: Stage, code: int, enhanced: str | None, text: str) -> None:
    verdict = classify(stage, code, enhanced, text)
    assert isinstance(verdict, Verdict)
    assert verdict.rule
    accepted = code == 354 if stage is Stage.DATA else 200 <= code < 300
    assert (verdict.reply_class is ReplyClass.ACCEPTED) is accepted


@pytest.mark.parametrize(
    "flood",
    [
        b"x" * 10_000,
        b"250-" + b"a" * 9_000 + b"\r\n",
        b"250-a\r\n" * 20_000,
        (b"250-" + b"a" * 4_000 + b"\r\n") * 20,
    ],
    ids=["no line end", "long line", "many lines", "many long lines"],
)
def test_a_flood_is_cut_off(flood: bytes) -> None:
    reader = ReplyReader()
    read = [reader.feed(flood[start : start + 1_000]) for start in range(0, len(flood), 1_000)]
    assert not any(read)
    assert reader.fault is not None
    assert reader._kept <= MAX_REPLY_BYTES + MAX_LINE_BYTES


def test_what_was_said_before_a_fault_counts_and_nothing_after_it_does() -> None:
    reader = ReplyReader()
    assert [reply.code for reply in reader.feed(b"250 ok\r\n221 bye\r\nGET / HTTP/1.1\r\n250 ok\r\n")] == [
        250,
        221,
    ]
    assert reader.fault is not None
    assert reader.feed(b"250 ok\r\n") == []


def test_the_enhanced_code_and_the_words() -> None:
    [reply] = ReplyReader().feed(
        b"550-5.1.1 The email account that you tried\r\n550-5.1.1 to reach\r\n550 5.1.1 does not exist\r\n"
    )
    assert reply.enhanced == "5.1.1"
    assert reply.text == "The email account that you tried to reach does not exist"
    assert str(reply) == "550 5.1.1 The email account that you tried to reach does not exist"


@pytest.mark.parametrize(
    ("line", "enhanced", "text"),
    [
        (b"250", None, ""),
        (b"250 2.0.0", "2.0.0", ""),
        (b"550 5.1.1: no", "5.1.1", "no"),
        (
            b"550 sorry, no mailbox here by that name (#5.1.1)",
            "5.1.1",
            "sorry, no mailbox here by that name (#5.1.1)",
        ),
        (b"550 5.1.1234 no", None, "5.1.1234 no"),
        (b"550 3.1.1 no", None, "3.1.1 no"),
        (b"550 \x00\x1b[31mred\x7f", None, "[31mred"),
        ("550 5.1.1 Grüße".encode(), "5.1.1", "Grüße"),
        (b"550 5.1.1 Gr\xfc\xdfe", "5.1.1", "Gr\ufffd\ufffde"),
    ],
)
def test_odd_lines(line: bytes, enhanced: str | None, text: str) -> None:
    [reply] = ReplyReader().feed(line + b"\n")
    assert (reply.enhanced, reply.text) == (enhanced, text)
