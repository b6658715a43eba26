"""The parts of a report, by what they are for: words for people, fields for programs, the returned mail."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from posthouse.ingest.bounces.mime import Head, Part, read_head, read_mail
from posthouse.ingest.bounces.notice import without_quoted_lines
from posthouse.ingest.bounces.original import cut, header_in
from posthouse.ingest.bounces.words import MAX_CHARACTERS, text_of_html

_STATUS: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_RETURNED: Final = frozenset(
    {
        "message/rfc822", "message/global", "message/partial", "message/news", "message/external-body",
        "text/rfc822-headers", "text/rfc822-header", "text/rfc822",
        "message/rfc822-headers", "message/global-headers",
    }
)  # fmt: skip
_LEAST_WORDS: Final = 20  # characters; a shorter text part says nothing, and the page beside it is read


@dataclass(slots=True)
class Pieces:
    """What was found. `words` is what the reporter says, with nothing of the returned mail in it.

    `subject` is the report's own: some say why in it alone.
    """

    head: Head
    subject: str
    words: str = ""
    status: list[str] = field(default_factory=list)
    feedback: str = ""
    returned: Head = field(default_factory=lambda: Head({}))


def gather(mail: Part) -> Pieces:
    """All that is read of a mail."""
    mail = _unwrapped(mail)
    pieces = Pieces(mail.head, mail.head.get("subject"))
    texts: list[str] = []
    pages: list[str] = []
    for part in _leaves(mail):
        if part is not mail and "received" in part.head and "from" in part.head:
            _keep(pieces, part.head)  # a mail that was put in without a type
            continue
        match part.content_type:
            case kind if kind in _STATUS:
                pieces.status.append(part.text())
            case "message/feedback-report":
                pieces.feedback = pieces.feedback or part.text()
            case "message/disposition-notification":
                pass  # the recipient's program did something with the mail, so it arrived
            case kind if kind in _RETURNED:
                _keep(pieces, _head_of(part))
            case "text/html":
                pages.append(part.text())
            case kind if kind.startswith(("text/", "multipart/")):
                texts.append(part.text())
            case _:
                pass
    plain = "\n\n".join(texts)
    if len(plain.strip()) < _LEAST_WORDS and pages:
        plain = "\n\n".join([plain, *map(text_of_html, pages)])
    _read_words(pieces, plain[:MAX_CHARACTERS])
    return pieces


def _unwrapped(mail: Part) -> Part:
    """The report inside, where a scanner on its way packed it up whole: same sender, same subject."""
    for part in mail.parts:
        if part.content_type == "message/rfc822":
            inner = read_mail(part.content())
            if inner.content_type == "multipart/report" and _heads_alike(mail.head, inner.head):
                return inner
    return mail


def _heads_alike(one: Head, other: Head) -> bool:
    return all(one.get(name) == other.get(name) != "" for name in ("from", "subject"))


def _leaves(part: Part) -> Iterator[Part]:
    """Parts without parts, in order. A multipart whose boundary is missing is a text."""
    if not part.parts:
        yield part
    for inner in part.parts:
        yield from _leaves(inner)


def _read_words(pieces: Pieces, text: str) -> None:
    words, tail = cut(text)
    if tail:
        _keep(pieces, header_in(tail))
    pieces.words = without_quoted_lines(words)


def _keep(pieces: Pieces, returned: Head) -> None:
    """The first header of a returned mail counts."""
    if not pieces.returned.fields:
        pieces.returned = returned


def _head_of(part: Part) -> Head:
    head, _ = read_head(part.content().lstrip())
    return head
