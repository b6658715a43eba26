"""The returned mail: where it begins in a text, and what its header says.

It is cut off before a text is read. Whoever wrote it wrote it to a reader, and its words about errors are
not a server's.
"""

import re
from typing import Final

from posthouse.ingest.bounces.addresses import one_address
from posthouse.ingest.bounces.mime import Head, read_head
from posthouse.ingest.bounces.report import Original
from posthouse.replies.bounce_notices import RETURNED

_QUOTE: Final = "> \t|"
_DECORATION: Final = " \t-=*_>#[(~+|."
_MAX_RULE: Final = 100  # characters of a line of dashes
_TRIES: Final = 8
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{1,60}):(\s|$)?")
#: Fields that stand in the header of a mail and in no list of what went wrong.
_TELLING: Final = frozenset(
    {
        "received", "return-path", "mime-version", "x-mailer", "dkim-signature", "content-type", "reply-to",
        "content-transfer-encoding", "delivered-to", "in-reply-to", "references", "list-unsubscribe",
        "domainkey-signature", "user-agent", "precedence", "x-mimeole", "authentication-results",
        "x-priority", "x-originating-ip",
    }
)  # fmt: skip
_WEAKLY_TELLING: Final = frozenset({"message-id", "from", "date", "sender"})
_MAX_TAIL: Final = 65_536


def cut(text: str) -> tuple[str, str]:
    """What the reporter says, and what it returns."""
    place = min(_at_marker(text), _at_header(text))
    return text[:place], text[place : place + _MAX_TAIL]


def _at_marker(text: str) -> int:
    """The first line that begins with a marker, and has something before it."""
    lowered = text.replace("\u0130", "I").lower()  # the one letter that grows when it is made small
    found = (_line_with(lowered, marker) for marker in RETURNED)
    return min((place for place in found if place >= 0), default=len(text))


def _line_with(text: str, marker: str) -> int:
    place = text.find(marker)
    for _ in range(_TRIES):
        if place < 0:
            break
        line = text.rfind("\n", max(0, place - _MAX_RULE), place) + 1
        if line > 0 and not text[line:place].strip(_DECORATION):
            return line
        place = text.find(marker, place + 1)
    return -1


def _at_header(text: str) -> int:
    """Where a block of lines begins that can only be the header of a mail."""
    begin, telling, weak, place = -1, 0, set[str](), 0
    for line in text.splitlines(keepends=True):
        stripped = line.strip(_QUOTE + "\r\n")
        name = _field_name(stripped)
        if name:
            begin = place if begin < 0 else begin
            telling += name in _TELLING
            if name in _WEAKLY_TELLING:
                weak.add(name)
            if telling >= 2 or (telling == 1 and len(weak) >= 2):
                return begin
        elif not line[:1].isspace() or not stripped:
            begin, telling, weak = -1, 0, set[str]()
        place += len(line)
    return len(text)


def _field_name(line: str) -> str:
    """The name of the header field that a line is, in lower case; "" for another line."""
    found = _FIELD.match(line)
    if found is None:
        return ""
    name = found[1].lower()
    return name if found[2] is not None or name in _TELLING | _WEAKLY_TELLING else ""


def header_in(tail: str) -> Head:
    """The header of the returned mail in what was cut off: the first lines that are one."""
    lines = [line.lstrip(_QUOTE) if line[:1] in ">|" else line for line in tail.splitlines()]
    start = next((n for n, line in enumerate(lines[:60]) if _begins(line)), None)
    if start is None:
        return Head({})
    lines[start] = lines[start].lstrip()
    head, _ = read_head("\n".join(lines[start:]).encode("utf-8", "replace"))
    return head


def _begins(line: str) -> bool:
    return _field_name(line.strip()) in _TELLING | _WEAKLY_TELLING | {"to", "subject"}


def original_of(head: Head, envelope_id: str) -> Original:
    """How the mail is found again."""
    return Original(
        message_id=_id(head.get("message-id")),
        posthouse_id=_id(head.get("x-posthouse-id")),
        envelope_id=_id(envelope_id),
        feedback_id=_id(head.get("feedback-id")),
        recipient=one_address(head.get("to")),
    )


def _id(value: str) -> str:
    """Without what no identifier has; it may go into a log line."""
    kept = value.strip()[:300]
    return kept if kept.isprintable() else ""
