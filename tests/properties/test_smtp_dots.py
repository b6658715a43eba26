"""Whatever a mail says, a server that follows RFC 5321 section 4.5.2 reads one mail, byte for byte."""

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.domain.ids import JobId
from posthouse.domain.message import RawMail
from posthouse.relays.base import RejectedMessage
from posthouse.relays.smtp_wire import Extensions, Ready, extensions_of, prepare
from posthouse.replies.reply import Reply

ALL = Extensions(pipelining=True, size=0, eight_bit=True, smtputf8=True)
PIECES = st.sampled_from([b".", b"..", b"\r\n", b"\r\n.", b"a", b"\r", b"\n", b"\0", b" ", b"\xff", b".\r\n"])


def read_as_server(wire: bytes) -> tuple[bytes, bytes]:
    """The content and what is left after its end."""
    content = b""
    rest = wire
    while True:
        line, end, rest = rest.partition(b"\r\n")
        assert end, "the content has an end"
        if line == b".":
            return content, rest
        content += line.removeprefix(b".") + end


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=12).map(b"".join))
def test_one_mail_in_one_mail_out(data: bytes) -> None:
    prepared = prepare(0, RawMail(JobId(UUID(int=1)), 1, "", "a@example.org", data, False), ALL, 10_000)
    clean = b"\0" not in data and not set(data.replace(b"\r\n", b"")) & set(b"\r\n")
    assert isinstance(prepared, Ready) is clean
    if isinstance(prepared, Ready):
        content, rest = read_as_server(prepared.body + b".\r\n" + b"MAIL FROM:<>\r\n")
        assert content == data + (b"" if data.endswith(b"\r\n") else b"\r\n")
        assert rest == b"MAIL FROM:<>\r\n"


@settings(max_examples=400, deadline=None)
@given(
    st.text(st.characters() | st.sampled_from(list(' \r\n<>@"\\,;:.')), max_size=30),
    st.text(st.characters() | st.sampled_from(list(' \r\n<>@"\\,;:.')), max_size=30),
)
def test_an_envelope_is_two_commands_or_refused(sender: str, recipient: str) -> None:
    raw = RawMail(JobId(UUID(int=1)), 1, f"x@{sender}", f"{recipient}@example.org", b"a\r\n", False)
    prepared = prepare(0, raw, ALL, 10_000)
    if isinstance(prepared, RejectedMessage):
        return
    wire = prepared.mail + prepared.rcpt
    assert wire.count(b"\r\n") == wire.count(b"\r") == wire.count(b"\n") == 2
    assert wire.count(b"<") == wire.count(b">") == 2
    assert prepared.rcpt == f"RCPT TO:<{raw.recipient}>\r\n".encode()
    assert prepared.mail.split(b" ")[1] == f"FROM:<{raw.return_path}>".encode()
    assert set(prepared.mail.split(b" ")[2:]) <= {b"SIZE=3", b"SIZE=3\r\n", b"SMTPUTF8\r\n"}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=6))
def test_any_answer_to_ehlo_is_read(lines: list[bytes]) -> None:
    offered = extensions_of(Reply(250, tuple(b"250-" + line for line in lines)))
    assert offered.size is None or offered.size >= 0
