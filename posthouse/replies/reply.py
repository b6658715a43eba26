"""What a mail server says, read from the wire: RFC 5321 section 4.2 with RFC 2034's enhanced codes."""

import re
from typing import NamedTuple

MAX_LINE_BYTES = 8_192  # RFC 5321 section 4.5.3.1.5 says 512; servers put whole web addresses into theirs
MAX_REPLY_BYTES = 65_536
MAX_TEXT = 1_000  # characters that go on into reasons, events and logs

#: 1yz was never used by SMTP; what is not here is no reply (RFC 5321 section 4.2.1).
_CODES = {b"%d" % code: code for code in range(200, 600)}
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?![\w.])[\s:;,-]*")
_QMAIL_ENHANCED = re.compile(r"#([245]\.\d{1,3}\.\d{1,3})\b")  # at the end, in brackets
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SEPARATORS = (b" ", b"-", b"")


class MalformedReply(Exception):
    """The peer does not speak SMTP, or says more than anybody may. Its connection cannot be trusted on."""


class Reply(NamedTuple):
    """One reply; its words are read only when somebody asks for them."""

    code: int
    raw: tuple[bytes, ...]  # its lines, without their ends

    @property
    def lines(self) -> list[str]:
        """The words of each line without the code. Unprintable characters become spaces."""
        return [_words(line) for line in self.raw]

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code (RFC 3463), from the first line that has one."""
        lines = self.lines
        found = next(filter(None, map(_ENHANCED.match, lines)), None) or next(
            filter(None, map(_QMAIL_ENHANCED.search, lines)), None
        )
        return found[1] if found is not None else None

    @property
    def text(self) -> str:
        """The words without code and enhanced codes, in one line of at most `MAX_TEXT` characters."""
        lines = [_without_enhanced(line) for line in self.lines]
        return (lines[0] if len(lines) == 1 else " ".join(filter(None, lines)))[:MAX_TEXT]

    def __str__(self) -> str:
        """As a person reads it: code, enhanced code, words."""
        return " ".join(filter(None, (str(self.code), self.enhanced, self.text)))


def _words(line: bytes) -> str:
    words = line[4:].decode("utf-8", "replace")
    return (words if words.isprintable() else _UNPRINTABLE.sub(" ", words)).strip()


def _without_enhanced(line: str) -> str:
    code = _ENHANCED.match(line)
    return line[code.end() :] if code is not None else line


class ReplyReader:
    """Bytes in, whole replies out. Linear in what it is fed, and bounded in what it keeps.

    `fault` is set when the peer went wrong: what it said before that still counts, nothing after it does.
    """

    fault: MalformedReply | None = None

    def __init__(self) -> None:
        self._tail = b""
        self._lines: list[bytes] = []
        self._kept = 0

    @property
    def pending(self) -> bool:
        """Whether a reply has begun that has not ended."""
        return bool(self._tail or self._lines)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that these bytes complete, up to a fault. Never raises."""
        replies: list[Reply] = []
        try:
            self._read(data, replies)
        except MalformedReply as fault:
            self.fault, self._tail = fault, b""
        return replies

    def _read(self, data: bytes, replies: list[Reply]) -> None:
        if self.fault is not None:
            raise self.fault
        *lines, self._tail = (self._tail + data).split(b"\n")
        for line in lines:
            reply = self._line(line.rstrip(b"\r"))
            if reply is not None:
                replies.append(reply)
        if len(self._tail) > MAX_LINE_BYTES:
            raise MalformedReply("a line without an end")

    def _line(self, line: bytes) -> Reply | None:
        code = _CODES.get(line[:3])
        separator = line[3:4]
        if code is None or separator not in _SEPARATORS:
            raise MalformedReply(f"not an SMTP reply: {line[:80]!r}")
        if len(line) > MAX_LINE_BYTES:
            raise MalformedReply("a line too long")
        if self._lines or separator == b"-":
            return self._continued(code, line, last=separator != b"-")
        return Reply(code, (line,))

    def _continued(self, code: int, line: bytes, *, last: bool) -> Reply | None:
        self._lines.append(line)
        self._kept += len(line)
        if self._kept > MAX_REPLY_BYTES or len(self._lines) > MAX_REPLY_BYTES // 64:
            raise MalformedReply("a reply too long")
        if line[:3] != self._lines[0][:3]:
            raise MalformedReply("the lines of one reply have two codes")
        if not last:
            return None
        reply = Reply(code, tuple(self._lines))
        self._lines, self._kept = [], 0
        return reply
