"""What kind of mail it is, where no report for programs says so.

A bounce needs two signs of different sorts, one of them in its text: anybody may write "user unknown", and
robots write about other things as well. What answers for a person is no bounce, whatever its words (RFC
3834).
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Final

from posthouse.ingest.bounces.mime import Head
from posthouse.ingest.bounces.normal import normal
from posthouse.ingest.bounces.quoted import replies_in
from posthouse.ingest.bounces.report import Kind
from posthouse.replies.bounce_notices import Place, Said, Says, statements
from posthouse.replies.bounce_rules import by_words, phrases_in

_MAX_HEADER: Final = 500
_FIRST_LINES: Final = 600  # characters
#: Fields that only automatic answers have.
_AUTOMATIC: Final = (
    "x-autoreply", "x-autorespond", "x-autoreply-from", "x-autoresponder", "x-vacation", "x-mail-autoreply",
    "x-apple-action",
)  # fmt: skip
_AUTOMATIC_PRECEDENCE: Final = ("auto_reply", "autoreply")
_FAILED: Final[Said] = (Says.FAILED, True)
_MAY_HAVE_FAILED: Final[Said] = (Says.FAILED, False)
_DELAYED: Final[Said] = (Says.DELAYED, True)
_GAVE_UP: Final[Said] = (Says.GAVE_UP, True)
_REPLIES: Final[Said] = (Says.AUTO_REPLY, True)
_MAY_REPLY: Final[Said] = (Says.AUTO_REPLY, False)
_MODERATES: Final[Said] = (Says.OTHER, True)
_ANSWERS: Final = ("re:", "fw:", "fwd:", "aw:", "sv:", "wg:", "tr:", "rv:", "回复", "答复", "转发")


def reports(head: Head, words: str) -> bool:
    """Whether a mail says something about delivery: then fields of a report in its text are meant."""
    return kind_of_text(head, words) in (Kind.BOUNCE, Kind.DELAYED)


def kind_of_text(head: Head, words: str) -> Kind:
    """`words` is what the reporter says, without the returned mail."""
    signs = _signs(head, words)
    if not signs.daemon and _answers_for_person(head, signs):
        return Kind.AUTO_REPLY
    if _MODERATES in signs.text and _FAILED not in signs.text:
        return Kind.OTHER
    if _says_delayed(signs):
        return Kind.DELAYED if signs.daemon or not signs.answer else Kind.OTHER
    if _says_failed(signs):
        return Kind.BOUNCE
    if _REPLIES in signs.subject or (_is_automatic(head, signs) and _MAY_REPLY in signs.text):
        return Kind.AUTO_REPLY
    return Kind.OTHER


@dataclass(frozen=True, slots=True)
class _Signs:
    subject: Set[Said]
    text: Set[Said]
    daemon: bool  # a mail system sent it, by its own account
    null_path: bool
    answer: bool  # a person answers or forwards
    to_many: bool  # a newsletter
    words: str

    def begins_as_a_report(self) -> bool:
        """Whether the subject says so, or the first lines of what did not go to many; the rest is quoted."""
        return _MAY_HAVE_FAILED in self.subject or (
            not self.to_many and _FAILED in statements(Place.TEXT, self.words[:_FIRST_LINES])
        )

    def has_diagnosis(self) -> bool:
        """Whether a reply is quoted, or a reason told."""
        return self.quotes_a_reply() or by_words(phrases_in(self.words), "") is not None

    def quotes_a_reply(self) -> bool:
        return next(replies_in(self.words), None) is not None


def _signs(head: Head, words: str) -> _Signs:
    subject, text = normal(head.get("subject")[:_MAX_HEADER]), normal(words)
    return _Signs(
        subject=statements(Place.SUBJECT, subject),
        text=statements(Place.TEXT, text),
        daemon=_is_daemon(head),
        null_path=any(head.get(name).replace(" ", "").endswith("<>") for name in ("return-path", "from")),
        answer="in-reply-to" in head or subject.startswith(_ANSWERS),
        to_many="list-unsubscribe" in head,
        words=f"{subject} {text}",
    )


def _is_daemon(head: Head) -> bool:
    sender = f"{head.get('from')} {head.get('sender')}"[:_MAX_HEADER].lower()
    return _MAY_HAVE_FAILED in statements(Place.SENDER, " ".join(sender.split())) or (
        "delivery-status" in head.get("content-type").lower()
    )


def _answers_for_person(head: Head, signs: _Signs) -> bool:
    """By subject or header; but servers call their reports automatic, too."""
    if _REPLIES in signs.subject or any(name in head for name in _AUTOMATIC):
        return True
    submitted = head.get("auto-submitted").strip().lower()
    precedence = head.get("precedence").strip().lower().replace("-", "_")
    marked = submitted.startswith(("auto-replied", "auto_replied")) or precedence in _AUTOMATIC_PRECEDENCE
    return marked and _FAILED not in signs.text


def _is_automatic(head: Head, signs: _Signs) -> bool:
    """Whether no person sent it; a newsletter says so too."""
    return signs.null_path or head.get("precedence").strip().lower() in ("bulk", "junk")


def _says_delayed(signs: _Signs) -> bool:
    return _GAVE_UP not in signs.text and (_DELAYED in signs.subject or _DELAYED in signs.text)


def _says_failed(signs: _Signs) -> bool:
    if _FAILED in signs.text:
        return signs.daemon or signs.null_path or (not signs.answer and signs.begins_as_a_report())
    if signs.daemon:
        return _MAY_HAVE_FAILED in signs.text or signs.has_diagnosis()
    if signs.null_path and (_MAY_HAVE_FAILED in signs.text or signs.quotes_a_reply()):
        return True
    said_in_subject = _MAY_HAVE_FAILED in signs.subject and not signs.answer and not signs.to_many
    return said_in_subject and signs.has_diagnosis()
