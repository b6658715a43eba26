"""The server's side of SMTP, fed in pieces: where the network cuts must not matter."""

import asyncio
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.simulator.faults import Fault
from posthouse.simulator.smtp_auth import AuthDialogue
from posthouse.simulator.smtp_protocol import SmtpConnection
from posthouse.simulator.smtp_syntax import unstuffed


class Wire(asyncio.Transport):
    """A transport that remembers what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Desk:
    """Takes everything, at once."""

    account = "a"
    max_message_bytes = 10_000
    offers_starttls = False
    password: str | None = None

    def __init__(self) -> None:
        self.taken: list[tuple[str, tuple[str, ...], bytes]] = []

    def joined(self, connection: SmtpConnection) -> None: ...

    def left(self, connection: SmtpConnection) -> None: ...

    def fault(self) -> Fault | None:
        return None

    def ask(self, address: str) -> str | None:
        return "550 5.1.1 no" if address.startswith("no") else None

    def take(self, sender: str, recipients: list[str], body: bytes, connection: SmtpConnection) -> None:
        self.taken.append((sender, tuple(recipients), body))
        connection.taken(f"250 2.0.0 Ok: queued as {len(self.taken)}")

    def start_tls(self, connection: SmtpConnection) -> None: ...


def fed(pieces: list[bytes]) -> tuple[list[tuple[str, tuple[str, ...], bytes]], bytes, bool]:
    desk, wire = Desk(), Wire()
    connection = SmtpConnection(desk)
    connection.connection_made(wire)
    for piece in pieces:
        if not wire.closed:
            connection.data_received(piece)
    return desk.taken, wire.written, wire.closed


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def envelope(n: int) -> bytes:
    return b"MAIL FROM:<s%d@a.test>\r\nRCPT TO:<no@a.test>\r\nRCPT TO:<r@a.test>\r\nDATA\r\n" % n


_LINES = st.lists(st.sampled_from([b"", b".", b"..", b"text", b".text", b"x" * 300]), max_size=5)
_PLACES = st.lists(st.integers(0, 4000), max_size=25)


@given(st.lists(_LINES, min_size=1, max_size=4), _PLACES)
@settings(max_examples=150)
def test_mails_come_out_as_they_went_in_however_they_are_cut(
    mails: list[list[bytes]], places: list[int]
) -> None:
    dialogue = b"EHLO x\r\n"
    for n, lines in enumerate(mails):
        stuffed = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)
        dialogue += envelope(n) + stuffed + b".\r\n"
    taken, written, closed = fed(cut(dialogue + b"QUIT\r\n", places))
    expected = [b"".join(line + b"\r\n" for line in lines) for lines in mails]
    assert [body for _, _, body in taken] == expected
    assert {recipients for _, recipients, _ in taken} == {("r@a.test",)}
    assert [sender for sender, _, _ in taken] == [f"s{n}@a.test" for n in range(len(mails))]
    assert written.endswith(b"221 2.0.0 Bye\r\n")
    assert closed


@given(
    st.lists(
        st.sampled_from([b"EHLO x", b"DATA", b"\r", b"\n", b"\r\n", b".", envelope(1), b"\0", b"RSET", b"x"])
    ),
    _PLACES,
)
@settings(max_examples=150)
def test_any_dialogue_is_the_same_however_it_is_cut(words: list[bytes], places: list[int]) -> None:
    data = b"".join(words)
    assert fed(cut(data, places)) == fed([data])


@given(_PLACES)
@settings(max_examples=30)
def test_a_body_too_large_is_skipped_to_its_very_end(places: list[int]) -> None:
    large = b"y" * 20_000 + b"\r\n.."
    dialogue = b"EHLO x\r\n" + envelope(1) + large + b"\r\n.\r\n" + envelope(2) + b"ok\r\n.\r\n"
    taken, written, _ = fed(cut(dialogue, [place * 5 for place in places]))
    assert [body for _, _, body in taken] == [b"ok\r\n"]
    assert written.count(b"552 5.3.4") == 1


@given(st.binary(max_size=300), st.binary(max_size=300))
@settings(max_examples=100)
def test_nothing_said_in_auth_gets_in_without_the_password(first: bytes, second: bytes) -> None:
    dialogue = AuthDialogue("user", "password")
    replies = [dialogue.begin(first)]
    while not dialogue.over:
        replies.append(dialogue.answer(second))
    assert not dialogue.succeeded
    assert all(reply[:3] in ("334", "501", "504", "535") for reply in replies)


def test_dots_are_taken_off_once() -> None:
    assert unstuffed(b"..\r\n...\r\na..\r\n") == b".\r\n..\r\na..\r\n"
